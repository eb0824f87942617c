"""The working directory of a container's program."""

from __future__ import annotations

import errno
import os

from rootless.errors import RootlessError
from rootless.linux.libc import file_system_type
from rootless.linux.path import O_PATH, open_inside

_CANNOT_INVOKE, _NOT_FOUND = 126, 127


def open_directory(root: int, path: str) -> int:
    """Open the working directory inside ``root``. Raises ``RootlessError`` with exit code 126 or 127."""
    try:
        return open_inside(root, path, O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        raise RootlessError(f'workdir "{path}" does not exist on container', exit_code=_NOT_FOUND) from None
    except OSError as error:
        leads_out = error.errno in (errno.ELOOP, errno.EXDEV)
        reason = "it leads out of the container" if leads_out else os.strerror(error.errno or errno.EIO)
        raise RootlessError(f"cannot use the working directory {path}: {reason}", exit_code=_CANNOT_INVOKE) from None


def try_directory(fd: int) -> bool:
    """Enter the directory; ``False`` where this user may not."""
    try:
        os.fchdir(fd)
    except PermissionError:
        return False
    return True


def check_served(root: int) -> None:
    """Raise ``RootlessError`` for a root whose file system is a process that has ended (fuse-overlayfs)."""
    try:
        file_system_type(root)
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            raise RootlessError(
                "cannot reach the container's files: the process that serves its root file system has ended",
                "stop the container and start it again",
            ) from None


def check_inside(path: str) -> None:
    """Refuse a working directory that is not below the root (CVE-2024-21626)."""
    try:
        outside = not os.getcwd().startswith("/")
    except OSError:
        outside = True
    if outside:
        raise RootlessError(f"cannot use the working directory {path}: it is outside", exit_code=_CANNOT_INVOKE)
