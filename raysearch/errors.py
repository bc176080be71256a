"""Errors that a user can cause, and their exit codes."""

from trainables.errors import Fault, InputError

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_WRONG_INPUT = 2

__all__ = ["EXIT_DONE", "EXIT_FAILED", "EXIT_WRONG_INPUT", "Fault", "InputError", "WorkError"]


class WorkError(RuntimeError):
    """The input was valid, but the work failed; the message says where to find the details."""
