"""What Ray, libraries and workers have to say goes into the run's log instead of between our lines."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

_STDOUT, _STDERR = 1, 2

_WARNINGS = "py.warnings"
"""The logger that Python sends captured warnings to."""

_worker_log = logging.getLogger("raysearch.worker")


def capture_warnings() -> None:
    """Send the warnings of libraries to a logger that writes nowhere until `logging_to` gives it a file.

    They name places in code that the user did not write; what the user should know is said in sentences of ours.
    """
    logging.captureWarnings(True)
    logger = logging.getLogger(_WARNINGS)
    logger.propagate = False
    logger.addHandler(logging.NullHandler())


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Write Ray's own lines, what workers print, the warnings of libraries and the tracebacks of trials to a file."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in ("ray", "raysearch", _WARNINGS)]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
        handler.close()


def log_workers() -> None:
    """What workers print is logged instead of printed; for a Ray that was started with `log_to_driver`."""
    from ray._private.ray_logging import global_worker_stdstream_dispatcher as dispatcher

    dispatcher.remove_handler("ray_print_logs")
    dispatcher.remove_handler(_worker_log.name)
    dispatcher.add_handler(_worker_log.name, _log_batch)


def _log_batch(batch: dict[str, Any]) -> None:
    """Log a batch of lines as Ray hands them over: of one process, with its name where it is an actor's."""
    if batch.get("pid") == "autoscaler":
        return  # the state of the nodes, a screenful every five seconds
    who = batch.get("actor_name") or f"process {batch.get('pid')} on {batch.get('ip')}"
    for line in batch.get("lines", ()):
        _worker_log.info("%s: %s", who, line)


@contextmanager
def output_diverted(log: Path) -> Iterator[TextIO]:
    """All that this process and those it starts write to stdout and stderr, from C++ too, is appended to a file.

    Yields:
        Where stdout led before.
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
            yield sys.stdout  # something has taken it over already
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
