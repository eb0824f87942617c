"""Bind mounts that show other owners than are stored (MOUNT_ATTR_IDMAP in mount_setattr(2)).

Only who has power over the file system itself may make one, so they are taken by the caller before it forks: by root of
the machine, or by root of the user namespace in which the file system was mounted.
"""

from __future__ import annotations

import errno
import os

from rootless.errors import RootlessError
from rootless.idmaps import IdMap
from rootless.init.ops import Bind
from rootless.linux.libc import PR_SET_PDEATHSIG, prctl
from rootless.linux.mountapi import map_ids
from rootless.linux.signals import SIGKILL
from rootless.userns import unshare_user, write_maps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from rootless.init.ops import Operation

_HINT = "only root may, for a file system that supports it; the option :U changes the owners of the files instead"


def take(operations: list[Operation]) -> None:
    """Take the mounts with an id map, as descriptors that the container's processes inherit."""
    for operation in operations:
        if isinstance(operation, Bind) and operation.idmap:
            _take(operation, IdMap(*operation.idmap, ""))


def let_go(operations: list[Operation]) -> None:
    """Close the caller's own descriptors of them."""
    for operation in operations:
        if isinstance(operation, Bind) and operation.idmap and operation.mount >= 0:
            os.close(operation.mount)
            operation.mount = -1


def _take(operation: Bind, idmap: IdMap) -> None:
    try:
        operation.take()
        users = user_namespace(idmap)
        try:
            map_ids(operation.mount, users, recursive=operation.map_all)
        finally:
            os.close(users)
    except RootlessError as error:
        if isinstance(error.__cause__, PermissionError):
            raise _refusal(operation, errno.EPERM) from None
        raise
    except OSError as error:
        raise _refusal(operation, error.errno or errno.EINVAL) from None


def _refusal(operation: Bind, number: int) -> RootlessError:
    return RootlessError(f"cannot mount {operation.source} with an id map: {os.strerror(number)}", _HINT)


def user_namespace(idmap: IdMap) -> int:
    """A descriptor of a new user namespace with the map, in which no process is."""
    ready, told = os.pipe()
    wait, go = os.pipe()
    child = os.fork()
    if child == 0:
        _be_in_it(told, wait, (ready, go))
    os.close(told)
    os.close(wait)
    try:
        if not os.read(ready, 1):
            raise OSError(errno.EPERM, "unshare")
        write_maps(child, idmap)
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(ready)
        os.close(go)
        os.waitpid(child, 0)


def _be_in_it(told: int, wait: int, unused: tuple[int, int]) -> NoReturn:
    try:
        for fd in unused:
            os.close(fd)
        prctl(PR_SET_PDEATHSIG, SIGKILL)
        unshare_user()
        os.write(told, b"r")
        os.read(wait, 1)
    finally:
        os._exit(0)
