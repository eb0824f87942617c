"""Errors as the user sees them: one line that says what, one that says what helps, and never a traceback.

``Error: …`` is podman's prefix, which scripts look for. With ``ROOTLESS_DEBUG=1`` the traceback is printed too.
"""

from __future__ import annotations

import errno
import os
import sys

from rootless.errors import RootlessError, place
from storage.errors import StorageError

INTERRUPTED = 128 + 2
BROKEN_PIPE = 128 + 13
ENGINE_ERROR = 125

LONGEST_LINE = 4000
"""Characters of one line: what the user typed may be longer, and says less."""

_HINTS = {
    errno.ENOSPC: "free some space: rootless system prune removes what is not used",
    errno.EDQUOT: "free some space: rootless system prune removes what is not used",
    errno.EROFS: "the file system is read-only; --root and --runroot choose other directories",
    errno.EMFILE: "raise the limit of open files: ulimit -n",
    errno.ENFILE: "the machine has too many open files",
    errno.ENOMEM: "the machine is out of memory",
    errno.EAGAIN: "the user has too many processes: ulimit -u",
}


def report(error: BaseException) -> int:
    """Print ``error`` on stderr; returns the exit code of the program."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        _drop_output()  # whoever read it has gone
        return BROKEN_PIPE
    if os.environ.get("ROOTLESS_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    message, hint = describe(error)
    print_error(message, hint, error.excerpt if isinstance(error, RootlessError) else ())
    return error.exit_code if isinstance(error, (RootlessError, StorageError)) else ENGINE_ERROR


def describe(error: BaseException) -> tuple[str, str]:
    """What ``error`` says to the user, and the hint, which may be empty."""
    if isinstance(error, (RootlessError, StorageError)):
        return error.message, error.hint
    if isinstance(error, OSError) and error.strerror:
        return _of_system(error), _HINTS.get(error.errno or 0, "")
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith(("rootless", "storage")):
        return f"cannot load the Python package {error.name}", "install the program again with its dependencies"
    if isinstance(error, MemoryError):
        return "out of memory", _HINTS[errno.ENOMEM]
    return (
        f"internal error: {type(error).__name__}: {error} ({place(error)})",
        "this is a fault of the program; ROOTLESS_DEBUG=1 prints where it happened",
    )


def of_output(error: OSError) -> Exception:
    """What a failed write to standard output is reported as; a reader who has gone is no error to speak of."""
    if isinstance(error, BrokenPipeError):
        return error
    _drop_output()
    return RootlessError(f"cannot write to standard output: {error.strerror}")


def _drop_output() -> None:
    """What is still buffered must not fail a second time."""
    os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), 1)


def print_error(message: str, hint: str = "", excerpt: tuple[str, ...] = ()) -> None:
    """Print a message, lines of the user's file and a hint, if there are any, on stderr.

    Nothing of it can move the cursor or change the terminal.
    """
    print_line(f"Error: {message}")
    for line in excerpt:
        print_line(line)
    if hint:
        print_line(f"hint: {hint}")


def print_line(text: str) -> None:
    """Print one line on stderr, with everything that is not printable escaped."""
    if not text.isprintable():
        text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    if len(text) > LONGEST_LINE:
        text = f"{text[: LONGEST_LINE - 200]}…{text[-200:]}"
    data = (text + "\n").encode("utf-8", "backslashreplace")
    for write in (sys.stdout.flush, lambda: os.write(2, data)):
        try:
            write()
        except OSError:
            pass  # nobody listens; the exit code still tells


def _of_system(error: OSError) -> str:
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    return f"cannot use {' and '.join(names)}: {error.strerror}" if names else f"{error.strerror}"
