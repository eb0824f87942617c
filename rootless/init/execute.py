"""The last call: the program, sought in the container's PATH."""

from __future__ import annotations

import errno
import os

from rootless.errors import RootlessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_CANNOT_INVOKE, _NOT_FOUND = 126, 127
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ABSENT = (errno.ENOENT, errno.ENOTDIR)


def check(arguments: list[bytes], environment: dict[bytes, bytes]) -> None:
    """Find out early what :func:`execute` would say, as far as that can be seen. Raises ``RootlessError`` like it."""
    name = os.fsdecode(arguments[0])
    found = [path for path in _candidates(name, environment) if os.path.lexists(path)] if name else []
    if not found:
        raise _not_found(name)
    if not any(os.access(path, os.X_OK, effective_ids=True) and not os.path.isdir(path) for path in found):
        raise _cannot_invoke(name, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def execute(arguments: list[bytes], environment: dict[bytes, bytes]) -> NoReturn:
    """Replace the process by the program ``arguments[0]``. Raises ``RootlessError`` with exit code 126 or 127."""
    name = os.fsdecode(arguments[0])
    if not name:
        raise _not_found(name)
    denied = False
    for path in _candidates(name, environment):
        try:
            os.execve(path, arguments, environment)
        except OSError as error:
            if error.errno in _ABSENT:
                _check_interpreter(name, path)
                continue
            if error.errno == errno.EACCES:
                denied = True
                continue
            raise _cannot_invoke(name, error) from None
    if denied:
        raise _cannot_invoke(name, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    raise _not_found(name)


def _not_found(name: str) -> RootlessError:
    if not name:
        return RootlessError("cannot execute ``: the command is empty", exit_code=_NOT_FOUND)
    where = "" if "/" in name else " in $PATH"
    return RootlessError(
        f"executable file `{name}` not found{where}: No such file or directory", exit_code=_NOT_FOUND
    )


def _candidates(name: str, environment: dict[bytes, bytes]) -> list[str]:
    if name.startswith("/"):
        return [name]
    here = os.getcwd()
    if "/" in name:
        return [f"{here}/{name}"]
    path = os.fsdecode(environment.get(b"PATH", b"")) or _DEFAULT_PATH
    return [f"{part if part.startswith('/') else f'{here}/{part}'}/{name}" for part in path.split(":")]


def _check_interpreter(name: str, path: str) -> None:
    """ENOENT for a file that exists means that its interpreter or loader does not."""
    try:
        os.stat(path)
    except OSError:
        return
    raise RootlessError(
        f"cannot execute `{name}`: No such file or directory",
        hint="the file is there, but its interpreter or dynamic loader is not",
        exit_code=_NOT_FOUND,
    )


def _cannot_invoke(name: str, error: OSError) -> RootlessError:
    hint = ""
    if error.errno == errno.ENOEXEC:
        hint = "it may be for another architecture, or a script without a #! line"
    return RootlessError(f"cannot execute `{name}`: {error.strerror}", hint=hint, exit_code=_CANNOT_INVOKE)
