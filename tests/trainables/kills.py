"""Kills a process between any two of its calls to the file system."""

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

_CALLS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree", "shutil.copyfile")


def killed_at_every_call(work: Callable[[], Any], prepare: Callable[[], Any]) -> Iterator[int]:
    """Run `work` in a forked process that dies before its first call, then before its second, and so on.

    `prepare` runs before each. The number of the call is yielded after each kill; the last run is not killed.
    """
    number = 0
    while True:
        number += 1
        prepare()
        process = os.fork()
        if process == 0:
            _die_at(number)
            try:
                work()
            except BaseException:
                os._exit(2)
            os._exit(0)
        _, status = os.waitpid(process, 0)
        yield number
        if (code := os.waitstatus_to_exitcode(status)) != 9:
            assert code == 0
            return


def _die_at(number: int) -> None:
    seen = 0

    def count(event: str, _: Any) -> None:
        nonlocal seen
        if event in _CALLS:
            seen += 1
            if seen == number:
                os._exit(9)

    sys.addaudithook(count)
