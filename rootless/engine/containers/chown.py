"""The volume option ``U``: the source belongs to the container's user from now on, with all that is in it."""

from __future__ import annotations

import os

from rootless.errors import RootlessError
from rootless.linux.path import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rootless.engine.containers.container import Container
    from rootless.engine.context import Engine
    from storage.images import Image

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def give(engine: Engine, container: Container, image: Image | None, paths: Iterable[tuple[str, str]]) -> None:
    """Change the owner of each tree to the ids that the container's user has on the host.

    A tree is a directory of the host, or a path below it on which no link is followed.
    """
    from rootless.userns import run_in_userns

    uid, gid = _user(engine, container, image)
    host_uid, host_gid = container.idmap.host_uid(uid), container.idmap.host_gid(gid)
    if host_uid is None or host_gid is None:
        raise RootlessError(f"cannot give a volume to {uid}:{gid}: the ids are not in the container's id map")
    trees = list(paths)

    def change() -> bytes:
        for path, beneath in trees:
            parent, name = _parent(path, beneath)
            try:
                _change(parent, name, uid, gid)
            finally:
                os.close(parent)
        return b""

    try:
        run_in_userns(change, container.idmap)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise RootlessError(f"cannot change the owner of a volume{where}: {error.strerror}") from None


def _parent(path: str, beneath: str) -> tuple[int, str]:
    """The directory of a tree, opened, and the tree's name in it."""
    if not beneath:
        return os.open(os.path.dirname(path) or "/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), os.path.basename(path)
    above, _, name = beneath.strip("/").rpartition("/")
    top = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return openat2(top, above or ".", os.O_PATH | os.O_DIRECTORY, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS), name
    finally:
        os.close(top)


def _change(parent: int, name: str, uid: int, gid: int) -> None:
    found = os.lstat(name, dir_fd=parent)
    if found.st_mode & 0o170000 == 0o040000:
        fd = os.open(name, _OPEN, dir_fd=parent)
        try:
            for child in os.listdir(fd):
                _change(fd, child, uid, gid)
        finally:
            os.close(fd)
    if (found.st_uid, found.st_gid) != (uid, gid):
        os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)


def _user(engine: Engine, container: Container, image: Image | None) -> tuple[int, int]:
    """The container's user as numbers; a name is looked up in the files of the image."""
    text = container.extras["user"]
    user, _, group = text.partition(":")
    if not user:
        return 0, 0
    roots = [engine.layers.path(diff_id) for diff_id in reversed(image.diff_ids)] if image is not None else []
    roots = roots or [container.rootfs["merged"]]
    account = _find(roots, "etc/passwd", user) if not (user.isdigit() and group.isdigit()) else None
    if not user.isdigit() and account is None:
        raise RootlessError(f"cannot find the user {user[:80]!r} in the container's /etc/passwd", exit_code=126)
    uid = int(user) if user.isdigit() else int(account[2]) if account else 0
    if not group:
        return uid, int(account[3]) if account else 0
    if group.isdigit():
        return uid, int(group)
    entry = _find(roots, "etc/group", group)
    if entry is None:
        raise RootlessError(f"cannot find the group {group[:80]!r} in the container's /etc/group", exit_code=126)
    return uid, int(entry[2])


def _find(roots: Iterable[str], path: str, key: str) -> list[str] | None:
    """The line of passwd(5) or group(5) with that name, or that number, in the topmost layer that has the file."""
    from rootless.linux.path import open_inside

    for root in roots:
        directory = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = open_inside(directory, path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            continue
        finally:
            os.close(directory)
        try:
            if os.fstat(fd).st_mode & 0o170000 != 0o100000:
                return None
            text = os.read(fd, 1 << 20).decode("utf-8", "replace")
        finally:
            os.close(fd)
        for line in text.split("\n"):
            fields = line.split(":")
            if len(fields) > 3 and key in (fields[0], fields[2]) and fields[2].isdigit():
                return fields
        return None
    return None
