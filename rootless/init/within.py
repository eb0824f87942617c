"""The mounts of a build's step: what a path leads to in a tree of others, and files that are in memory alone.

Such a tree (a build context, the files of another image, what earlier steps left in a cache) may hold any links. A path
in it is found by openat2(2) as if the tree were the root, once, and what was found is mounted by descriptor: no change
of the tree can make it another (CVE-2024-1753, CVE-2024-11218, CVE-2024-23651).
"""

from __future__ import annotations

import errno
import os

from rootless.errors import RootlessError
from rootless.init.ops import TYPE, Site, attach, open_target
from rootless.init.rootfs import new_overlay
from rootless.linux.libc import MS_PRIVATE, umount
from rootless.linux.mountapi import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    mount_setattr,
    move_mount,
    new_mount,
    open_tree,
)
from rootless.linux.path import O_PATH, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    Owner = tuple[int, int, int]
    """User, group and mode."""

_DIRECTORY = 0o040000
_OPEN = O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class Within:
    """What ``path`` leads to in a tree, mounted at ``target``.

    The tree is one directory of the host, or the overlay of several, topmost first, with changes in ``upper`` (empty:
    there are none). ``place`` is an empty directory of the container's, outside of its root, for an overlay to be
    mounted on until the path is found. ``owner`` is given to what was found, if any. ``label``: the SELinux label of
    the files of an overlay, if they are to have one.
    """

    __slots__ = (
        "_held", "_place", "attributes", "label", "lower", "owner", "path", "place", "target", "upper", "what", "work",
    )  # fmt: skip

    def __init__(
        self,
        what: str,
        lower: list[str],
        path: str,
        target: str,
        *,
        attributes: int,
        upper: str = "",
        work: str = "",
        place: str = "",
        owner: Owner | None = None,
    ) -> None:
        self.what = what
        self.lower = lower
        self.path = path
        self.target = target
        self.attributes = attributes
        self.upper = upper
        self.work = work
        self.place = place
        self.owner = owner
        self.label = ""
        self._held: list[int] = []
        self._place = -1

    def describe(self) -> str:
        """``mount src of the build context on /src: ro``."""
        flags = "ro" if self.attributes & MOUNT_ATTR_RDONLY else "changes are thrown away" if self.upper else ""
        return f"mount {self.path} of {self.what} on {self.target}: {flags}"

    def open(self, site: Site) -> None:
        """Take the directories while the process still reaches what is the caller's."""
        try:
            for path in [*self.lower, *([self.upper, self.work] if self.upper else [])]:
                self._held.append(os.open(path, _OPEN))
            if self.place:
                self._place = os.open(self.place, _OPEN)
        except OSError as error:
            raise self._failure(error) from error

    def apply(self, site: Site) -> None:
        """Find the path and mount it."""
        try:
            mount, is_directory = self._take()
            mount_setattr(mount, self.attributes, propagation=MS_PRIVATE, recursive=True)
        except OSError as error:
            raise self._failure(error) from error
        target = open_target(site, self.target, is_directory)
        attach(mount, target, self.target)
        os.close(mount)

    def _take(self) -> tuple[int, bool]:
        """A detached mount of what the path leads to, and whether it is a directory."""
        root, overlay = self._held[0], -1
        if self.upper or len(self.lower) > 1:
            root = overlay = self._overlay()
        try:
            found = openat2(root, self.path or ".", O_PATH)
            if self.owner:
                _give(found, self.owner)
            is_directory = os.fstat(found).st_mode & TYPE == _DIRECTORY
            mount = open_tree(found, recursive=is_directory)
            os.close(found)
        finally:
            if overlay >= 0:
                umount(f"/proc/self/fd/{overlay}")
                os.close(overlay)
        for fd in self._held:
            os.close(fd)
        return mount, is_directory

    def _overlay(self) -> int:
        """The overlay, attached on the place: the kernel copies only what is attached."""
        names = [f"/proc/self/fd/{fd}" for fd in self._held]
        count = len(self.lower)
        upper, work = names[count:] if self.upper else ("", "")
        options = ["userxattr", *([f"context={self.label}"] if self.label else [])]
        mount = new_overlay(names[:count], upper, work, options)
        move_mount(mount, self._place, self.place)
        os.close(self._place)
        return mount

    def _failure(self, error: OSError) -> RootlessError:
        reason = os.strerror(error.errno or errno.EINVAL)
        return RootlessError(f"cannot mount {self.path or '/'} of {self.what} on {self.target}: {reason}")


class Content:
    """A read-only file of ``data`` at ``target``, in a file system in memory: nothing of it is on a disk.

    ``label``: its SELinux label, if it is to have one.
    """

    __slots__ = ("_place", "data", "label", "owner", "place", "target")

    def __init__(self, data: bytes, target: str, owner: Owner, place: str) -> None:
        self.data = data
        self.target = target
        self.owner = owner
        self.place = place
        self.label = ""
        self._place = -1

    def describe(self) -> str:
        """``file of 12 bytes on /run/secrets/key: ro``."""
        return f"file of {len(self.data)} bytes on {self.target}: ro"

    def open(self, site: Site) -> None:
        """Take the place where the file system is mounted until the file is found in it."""
        self._place = os.open(self.place, _OPEN)

    def apply(self, site: Site) -> None:
        """Make the file and mount it."""
        options: list[tuple[str, str | None]] = [("mode", "700"), ("size", str(max(len(self.data), 1) + (1 << 16)))]
        options += [("context", self.label)] if self.label else []
        memory = new_mount("tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
        try:
            move_mount(memory, self._place, self.place)
            file = os.open("file", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=memory)
            view = memoryview(self.data)
            while view:
                view = view[os.write(file, view) :]
            _give(file, self.owner)
            mount = open_tree(file)
            os.close(file)
            umount(f"/proc/self/fd/{memory}")
            attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV
            mount_setattr(mount, attributes, propagation=MS_PRIVATE)
        except OSError as error:
            reason = os.strerror(error.errno or errno.EINVAL)
            raise RootlessError(f"cannot mount a file on {self.target}: {reason}") from error
        target = open_target(site, self.target, False)
        attach(mount, target, self.target)
        for fd in (memory, self._place, mount):
            os.close(fd)


def _give(fd: int, owner: Owner) -> None:
    """Owner and mode. With a single id everything belongs to the one that there is."""
    uid, gid, mode = owner
    found = os.fstat(fd)
    path = f"/proc/self/fd/{fd}"
    if (found.st_uid, found.st_gid) != (uid, gid):
        try:
            os.chown(path, uid, gid)
        except OSError as error:
            if error.errno != errno.EINVAL:  # an id that the container does not have
                raise
    os.chmod(path, mode)
