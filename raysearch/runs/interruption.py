"""Ctrl-C and SIGTERM during a run: they are remembered, and raised where nothing can be lost."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupted(BaseException):
    """A signal ended the training; the exception leaves any executor at once, because all data are on disk."""


class Interruption:
    """A context manager that remembers SIGINT and SIGTERM; a second signal ends the process at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._raises = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raise `Interrupted` if a signal has been received."""
        if self.signal is not None:
            raise Interrupted

    @contextmanager
    def raised(self) -> Iterator[None]:
        """Raise `Interrupted` as soon as a signal is received, or at once if one was received before."""
        self._raises = True
        try:
            self.check()
            yield
        finally:
            self._raises = False

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = number
        if self._raises:
            raise Interrupted
