"""The family of errors that a user can cause, and the exit code each one ends in."""

from trainables.errors import Fault, InputError

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_WRONG_INPUT = 2

__all__ = ["EXIT_DONE", "EXIT_FAILED", "EXIT_WRONG_INPUT", "Fault", "InputError", "WorkError"]


class WorkError(RuntimeError):
    """The input was right, the work ran, and it failed; the message says where the details lie."""
