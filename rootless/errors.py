"""The errors that a user may meet.

::

    RootlessError                 exit code 125: the engine could not do it
    ├── UsageError                125: the command line is wrong
    ├── NotFoundError             125: no such container, image, volume, …
    ├── InUseError                2:   the object is needed by another, or running
    ├── CannotInvokeError         126: the command is there but cannot be invoked
    └── CommandNotFoundError      127: the command is not there

``storage.errors.StorageError`` has the same ``message`` and ``hint``; the CLI prints both kinds as
``Error: message`` and ``hint: hint`` on stderr (podman's prefix, which scripts look for).
"""

from __future__ import annotations


class RootlessError(Exception):
    """Something the user asked for cannot be done.

    ``message`` is one line without prefix or full stop; ``hint`` names the command or setting that mends it
    (empty: there is none); ``exit_code`` is the process's exit code. ``excerpt`` are lines of the user's own file,
    shown between the two.
    """

    exit_code = 125
    excerpt: tuple[str, ...] = ()

    def __init__(self, message: str, hint: str = "", exit_code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if exit_code is not None:
            self.exit_code = exit_code


class UsageError(RootlessError):
    """The command line is not well-formed."""


class NotFoundError(RootlessError):
    """A named object does not exist."""


class InUseError(RootlessError):
    """The object is in use and was not forced away."""

    exit_code = 2


class CannotInvokeError(RootlessError):
    """The container's command exists but cannot be executed."""

    exit_code = 126


class CommandNotFoundError(RootlessError):
    """The container's command does not exist."""

    exit_code = 127


def place(error: BaseException) -> str:
    """Where an exception was raised, as ``file.py:line``; for a defect whose traceback the user does not see."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    if frame is None:
        return "nowhere"
    return f"{frame.tb_frame.f_code.co_filename.rpartition('/')[2]}:{frame.tb_lineno}"
