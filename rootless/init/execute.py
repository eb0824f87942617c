"""The last calls: the program is sought in the container's PATH, and executed."""

from __future__ import annotations

import errno
import os

from rootless.errors import RootlessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from rootless.init.airlock import Airlock

_CANNOT_INVOKE, _NOT_FOUND = 126, 127
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ABSENT = (errno.ENOENT, errno.ENOTDIR)
_TYPE, _FILE = 0o170000, 0o100000


def find(arguments: list[bytes], environment: dict[bytes, bytes]) -> str:
    """The path of the program ``arguments[0]``. Raises ``RootlessError`` with exit code 126 or 127."""
    name = os.fsdecode(arguments[0])
    denied = False
    for path in _candidates(name, environment) if name else ():
        try:
            kind = os.stat(path).st_mode & _TYPE
            if kind == _FILE and os.access(path, os.X_OK, effective_ids=True):
                return path
            denied = True
        except OSError as error:
            if error.errno == errno.EACCES:
                denied = True
            elif error.errno not in _ABSENT:
                raise refusal(name, error.errno or errno.EIO) from None
    if denied:
        raise refusal(name, errno.EACCES)
    where = "" if "/" in name else " in $PATH"
    message = f"executable file `{name}` not found{where}: No such file or directory"
    raise RootlessError(message if name else "cannot execute ``: the command is empty", exit_code=_NOT_FOUND)


def execute(path: str, arguments: list[bytes], environment: dict[bytes, bytes], airlock: Airlock | None) -> NoReturn:
    """Replace the process by the program that was found. Raises ``RootlessError`` with exit code 126 or 127.

    What goes wrong behind an airlock, that alone tells (`airlock.reported`).
    """
    name = os.fsdecode(arguments[0])
    if airlock:
        try:
            airlock.execute(path, arguments, environment)
        except OSError as error:
            raise RootlessError(
                f"cannot execute `{name}`: {error.strerror}",
                hint="the system call filter must allow execveat; or use a Python that the container cannot change",
                exit_code=_CANNOT_INVOKE,
            ) from None
    try:
        os.execve(path, arguments, environment)
    except OSError as error:
        raise refusal(name, error.errno or errno.EIO) from None


def refusal(name: str, number: int) -> RootlessError:
    """What the error ``number`` of an execve(2) means for a program that was found."""
    hint = ""
    if number in _ABSENT:
        hint = "the file is there, but its interpreter or dynamic loader is not"
    elif number == errno.ENOEXEC:
        hint = "it may be for another architecture, or a script without a #! line"
    code = _NOT_FOUND if number in _ABSENT else _CANNOT_INVOKE
    return RootlessError(f"cannot execute `{name}`: {os.strerror(number)}", hint=hint, exit_code=code)


def _candidates(name: str, environment: dict[bytes, bytes]) -> list[str]:
    if name.startswith("/"):
        return [name]
    here = os.getcwd()
    if "/" in name:
        return [f"{here}/{name}"]
    path = os.fsdecode(environment.get(b"PATH", b"")) or _DEFAULT_PATH
    return [f"{part if part.startswith('/') else f'{here}/{part}'}/{name}" for part in path.split(":")]
