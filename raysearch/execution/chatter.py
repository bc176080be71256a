"""Diverts the output of Ray, libraries and workers to the run's log."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

_STDOUT, _STDERR = 1, 2

_WARNINGS = "py.warnings"
"""Name of the logger to which Python sends captured warnings."""

_worker_log = logging.getLogger("raysearch.worker")


def capture_warnings() -> None:
    """Send the warnings of libraries to a logger that discards them until `logging_to` gives it a file.

    Such warnings refer to code that the user did not write. Messages of our own contain what the user must know.
    """
    logging.captureWarnings(True)
    logger = logging.getLogger(_WARNINGS)
    logger.propagate = False
    logger.addHandler(logging.NullHandler())


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Log Ray's own lines, output of workers, warnings of libraries and tracebacks of trials to a file."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in ("ray", "raysearch", _WARNINGS)]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate, logger.disabled = [handler], False, False  # as `fileConfig` leaves them
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
        handler.close()


def log_workers() -> None:
    """Log the output of workers instead of printing it, for a Ray that was started with `log_to_driver`."""
    from ray._private.ray_logging import global_worker_stdstream_dispatcher as dispatcher

    dispatcher.remove_handler("ray_print_logs")
    dispatcher.remove_handler(_worker_log.name)
    dispatcher.add_handler(_worker_log.name, _log_batch)


def _log_batch(batch: dict[str, Any]) -> None:
    """Log a batch of lines of one process as Ray delivers it, with the name of its actor if it has one."""
    if batch.get("pid") == "autoscaler":
        return  # the state of the nodes, a screenful every five seconds
    who = batch.get("actor_name") or f"process {batch.get('pid')} on {batch.get('ip')}"
    for line in batch.get("lines", ()):
        _worker_log.info("%s: %s", who, line)


@contextmanager
def output_diverted(log: Path) -> Iterator[TextIO]:
    """Append everything that this process and its children write to stdout and stderr, from C++ too, to a file.

    Yields:
        A stream to the former stdout.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    before = {number: os.dup(number) for number in (_STDOUT, _STDERR)}
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    for number in before:
        os.dup2(file, number)
    os.close(file)
    try:
        if not _is_stdout(sys.stdout):
            yield sys.stdout  # something else already replaced it
        else:
            with os.fdopen(os.dup(before[_STDOUT]), "w", encoding=sys.stdout.encoding, errors="replace") as stdout:
                yield stdout
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, descriptor in before.items():
            os.dup2(descriptor, number)
            os.close(descriptor)


def _is_stdout(file: TextIO) -> bool:
    try:
        return file.fileno() == _STDOUT
    except OSError:
        return False
