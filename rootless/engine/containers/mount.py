"""``mount`` and ``unmount``: a container's root file system for programs of the host, inside ``rootless unshare``.

A mount belongs to the mount namespace of whoever makes it, and ends with that. What is mounted is read from the
kernel, never stored.
"""

from __future__ import annotations

import os

from rootless.engine import events
from rootless.engine.containers.known import known
from rootless.engine.containers.removal import take_lock
from rootless.engine.containers.status import ALIVE, status
from rootless.errors import NotFoundError, RootlessError
from rootless.init.ops import Site
from rootless.init.rootfs import Rootfs
from rootless.linux.libc import MNT_DETACH, umount
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.engine.context import Engine
    from storage.drivers.base import RootfsMount


def check_namespace(command: str) -> None:
    """Refuse to work outside of a user namespace of the user's. Raises RootlessError."""
    if os.geteuid() != 0:
        raise RootlessError(
            f'cannot run command "rootless {command}" in rootless mode, must execute `rootless unshare` first',
            f"rootless unshare sh -c 'rootless {command} CONTAINER && …'",
        )


def mount(engine: Engine, name: str) -> str:
    """Mount a container that does not run; the path of its root. One that is mounted already stays so."""
    container_id = engine.store.containers.find(name)
    container = known(engine, container_id)
    rootfs = container.rootfs
    merged = rootfs["merged"]
    if status(engine, container_id).state in ALIVE:
        raise RootlessError(
            f"cannot mount container {name}: it runs, and its mounts are its own", "use rootless cp or rootless exec"
        )
    if rootfs["kind"] == "directory":
        return merged
    if merged in mount_points():
        return merged
    lock = take_lock(engine, container_id)
    if lock is None:
        raise NotFoundError(f"no container with name or ID {name!r} found: no such container")
    with lock:
        mount_here(rootfs)
    events.note(engine, "container", "mount", container_id, container.record)
    return merged


def unmount(engine: Engine, name: str, *, force: bool) -> None:
    """Take the mount away. ``force``: also while it is in use. Raises RootlessError if there is none."""
    container_id = engine.store.containers.find(name)
    container = known(engine, container_id)
    merged = container.rootfs["merged"]
    if container.rootfs["kind"] == "directory":
        return
    if merged not in mount_points():
        raise RootlessError(f"cannot unmount container {name}: it is not mounted here")
    unmount_here(merged, f"container {name}", force=force)
    events.note(engine, "container", "unmount", container_id, container.record)


def mounted(engine: Engine) -> list[tuple[str, str, str]]:
    """(id, name, path) of the containers that are mounted in this mount namespace."""
    points = mount_points()
    found = []
    for container_id, record in engine.store.containers.list():
        path = f"{engine.store.containers.path(container_id)}/merged"
        if path in points:
            found.append((container_id, str(record["name"]), path))
    return found


def everything(engine: Engine) -> list[str]:
    """The names of all containers that can be mounted: those that do not run."""
    found = []
    for container_id, record in engine.store.containers.list():
        try:
            if status(engine, container_id).state not in ALIVE:
                found.append(str(record["name"]))
        except StorageError:
            continue
    return found


def mount_here(description: RootfsMount) -> None:
    """Mount a root file system in this mount namespace, at its ``merged``. Raises RootlessError."""
    if description["kind"] == "fuse-overlayfs":
        from rootless.init.fuse import mount_fuse

        mount_fuse(description, description.get("helper", ""), False)
    else:
        root = Rootfs(description)
        root.reach()
        root.open(Site())
        os.close(root.attach())


def unmount_here(path: str, what: str, *, force: bool) -> None:
    """Take away the mount at ``path``, of ``what``. ``force``: also while it is in use. Raises RootlessError."""
    try:
        umount(path, MNT_DETACH if force else 0)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise RootlessError(f"cannot unmount {what}: {reason}", "leave its directories, or use --force") from None


def mount_points() -> set[str]:
    """Where something is mounted here (proc(5), mountinfo, whose field 5 has blanks and the like in octal)."""
    with open("/proc/self/mountinfo", "rb") as lines:
        return {os.fsdecode(_plain(line.split(b" ", 5)[4])) for line in lines}


def _plain(text: bytes) -> bytes:
    parts = text.split(b"\\")
    return parts[0] + b"".join(bytes((int(part[:3], 8),)) + part[3:] for part in parts[1:])
