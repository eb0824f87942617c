"""The id map of a Spec: the one it asks for, that of the user namespace it joins, or the caller's own."""

from __future__ import annotations

import os

from rootless import idmaps
from rootless.errors import RootlessError
from rootless.idmaps import IdMap, read
from rootless.linux import caps
from rootless.linux.libc import CLONE_NEWUSER, setns
from rootless.runtime.mounts import rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.runtime.spec import Linux

_OWN = "/proc/self/ns/user"


def of_spec(linux: Linux) -> IdMap:
    """The id map that the Spec asks for; with a user namespace but no rows the caller's default.

    Without a user namespace the container is in that of the caller, who must be its root.
    """
    uids, gids = linux.get("uidMappings") or [], linux.get("gidMappings") or []
    users = [namespace for namespace in linux.get("namespaces", []) if namespace["type"] == "user"]
    path = users[0].get("path") if users else ""
    if path and not _is_own(path):
        # Rows beside a path say what that namespace has been given; what holds is what the kernel says.
        return of_namespace(path)
    if not users or path:
        if uids or gids:
            raise RootlessError(
                "cannot use linux.uidMappings and linux.gidMappings without a user namespace",
                'add {"type": "user"} to linux.namespaces',
            )
        if not caps.effective() >> caps.CAP_SYS_ADMIN & 1:
            raise RootlessError(
                "cannot run a container without a user namespace: only root may",
                'add {"type": "user"} to linux.namespaces, or see `rootless-oci spec --rootless`',
            )
        return idmaps.own_map()
    if not uids and not gids:
        return idmaps.default_map()
    return IdMap(rows(uids, "linux.uidMappings"), rows(gids, "linux.gidMappings"))


def _is_own(path: str) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.stat(_OWN))
    except OSError:
        return False


def of_namespace(path: str) -> IdMap:
    """The map of an existing user namespace, read by a process that joins it. Raises ``RootlessError``."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            setns(fd, CLONE_NEWUSER)
            os.write(writer, read("/proc/self/uid_map") + b"|" + read("/proc/self/gid_map"))
        except OSError as error:
            os.write(writer, b"!" + os.strerror(error.errno or 0).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb", buffering=0) as file:
        answer = file.readall()
    os.waitpid(child, 0)
    uids, separator, gids = answer.partition(b"|")
    if not separator:
        reason = answer[1:].decode() or "the process that joined it has ended"
        raise RootlessError(
            f"cannot join the namespace {path}: {reason}", "it must be a user namespace of the caller's own"
        )
    return IdMap(_rows(uids), _rows(gids), "joined")


def _rows(text: bytes) -> list[tuple[int, int, int]]:
    numbers = [int(word) for word in text.split()]
    return [(numbers[at], numbers[at + 1], numbers[at + 2]) for at in range(0, len(numbers), 3)]
