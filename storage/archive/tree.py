"""A directory that nothing leaves: names are resolved below one descriptor, as a container with that root would.

Every resolution is openat2(2) below the root without symlinks; a path that has symlinks is walked component by
component, each opened without following, ``..`` and absolute targets ending at the root. The tree is private to this
process, so that what was resolved stays true and parents can be cached.
"""

from __future__ import annotations

import errno
import os
import stat

from storage import sys as calls
from storage.archive.limits import Limits
from storage.archive.xattrs import OPAQUE
from storage.errors import StorageError, shown

_CACHED = 64
_MAX_SYMLINKS = 40  # as the kernel: path_resolution(7)
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PLAIN = calls.RESOLVE_BENEATH | calls.RESOLVE_NO_SYMLINKS | calls.RESOLVE_NO_MAGICLINKS


class Place:
    """An open directory (``fd``) and its true path below the root (``path``, empty for the root)."""

    __slots__ = ("fd", "path")

    def __init__(self, fd: int, path: bytes) -> None:
        self.fd = fd
        self.path = path

    def child(self, name: bytes) -> bytes:
        """The path of an entry in this directory."""
        return self.path + b"/" + name if self.path else name


def components(path: bytes) -> list[bytes]:
    """The names of an archive's path. Raises StorageError for ``..``, which no image needs."""
    names = [name for name in path.split(b"/") if name and name != b"."]
    if b".." in names:
        raise StorageError(f"cannot unpack {shown(os.fsdecode(path))}: the name contains '..'")
    return names


def remove(dirfd: int, name: bytes | str) -> None:
    """Remove the entry ``name`` of ``dirfd`` and everything below it, following nothing."""
    try:
        os.unlink(name, dir_fd=dirfd)
        return
    except IsADirectoryError:
        pass
    # One level each: the directory's descriptor, its parent's, its name, and the names in it that are left.
    stack: list[tuple[int, int, bytes | str, list[str]]] = []
    parent, current = dirfd, name
    try:
        while True:
            fd = os.open(current, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            stack.append((fd, parent, current, []))
            stack[-1][3].extend(os.listdir(fd))
            while stack:
                fd, parent, current, names = stack[-1]
                if (below := _unlink_all(fd, names)) is not None:
                    parent, current = fd, below
                    break
                os.rmdir(current, dir_fd=parent)
                os.close(fd)
                stack.pop()
            else:
                return
    finally:
        for fd, _, _, _ in stack:
            os.close(fd)


def _unlink_all(fd: int, names: list[str]) -> str | None:
    """Unlink ``names`` (which it empties); returns the first that is a directory."""
    while names:
        name = names.pop()
        try:
            os.unlink(name, dir_fd=fd)
        except IsADirectoryError:
            return name
    return None


class Tree:
    """The directory behind ``root_fd``. Raises StorageError for names it refuses, OSError for what the kernel does."""

    def __init__(self, root_fd: int, limits: Limits) -> None:
        self.root = Place(root_fd, b"")
        self.directories = 0
        self._steps = 0
        # Directories that entries need and no entry describes, in order; the root is there without one.
        self.implicit: dict[bytes, None] = {b"": None}
        self._limits = limits
        self._cache: dict[bytes, Place] = {}
        self.retired: list[Place] = []

    def close(self) -> None:
        """Close all descriptors but the root's."""
        self._retire_all()
        self.tidy()

    def tidy(self) -> None:
        """Close the places that left the cache; whoever still works with one must not call this."""
        for place in self.retired:
            if place is not self.root:
                os.close(place.fd)
        self.retired.clear()

    def _retire_all(self) -> None:
        self.retired.extend(self._cache.values())
        self._cache.clear()

    def place(self, path: bytes, create: bool = True) -> Place:
        """Resolve the directory ``path`` as the archive spells it; made with its parents when missing.

        The place stays open until ``tidy``. ``create=False`` raises FileNotFoundError instead.
        """
        found = self._cache.get(path)
        if found is None:
            found = self._resolve(components(path), create)
            if len(self._cache) >= _CACHED:
                self._retire_all()
            self._cache[path] = found
        return found

    def existing(self, path: bytes) -> Place | None:
        """The directory whose true path is ``path``; None if it is gone or something else is in its place now."""
        try:
            found = self.place(path, create=False)
        except (FileNotFoundError, NotADirectoryError, StorageError):
            return None
        return found if found.path == path else None

    def _resolve(self, names: list[bytes], create: bool) -> Place:
        if not names:
            return self.root
        self._check_depth(names)
        path = b"/".join(names)
        try:
            return Place(calls.openat2(self.root.fd, path, _DIRECTORY, _PLAIN), path)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            if error.errno != errno.ELOOP:  # no symlink on the way
                raise
        return self._walk(names, create)

    def _check_depth(self, names: list[bytes]) -> None:
        if len(names) > self._limits.depth:
            raise StorageError(f"cannot unpack directories deeper than {self._limits.depth}")
        if sum(map(len, names)) + len(names) > self._limits.path_bytes:
            raise StorageError(f"cannot unpack a path of more than {self._limits.path_bytes} bytes")

    def _walk(self, names: list[bytes], create: bool) -> Place:
        """Resolve component by component, expanding symlinks inside the root."""
        todo = names[::-1]
        done: list[bytes] = []
        links = 0
        fd = os.dup(self.root.fd)
        try:
            while todo:
                self._count_step()
                name = todo.pop()
                if name in (b"", b"."):
                    continue
                if name == b"..":
                    del done[-1:]
                    above = b"/".join(done) or b"."
                    fd = self._step(fd, calls.openat2(self.root.fd, above, _DIRECTORY, _PLAIN))
                    continue
                try:
                    fd = self._step(fd, os.open(name, _DIRECTORY, dir_fd=fd))
                except (FileNotFoundError, NotADirectoryError):
                    target = self._link_target(fd, name)
                    if target is not None:
                        links += 1
                        if links > _MAX_SYMLINKS:
                            raise StorageError(
                                f"cannot unpack below {shown(os.fsdecode(b'/'.join(names)))}: too many symlinks"
                            ) from None
                        if target.startswith(b"/"):
                            done.clear()
                            fd = self._step(fd, os.dup(self.root.fd))
                        todo.extend(reversed(target.split(b"/")))
                        continue
                    if not create:
                        raise
                    self._make(fd, name, b"/".join([*done, name]))
                    fd = self._step(fd, os.open(name, _DIRECTORY, dir_fd=fd))
                done.append(name)
                self._check_depth(done)
        except BaseException:
            os.close(fd)
            raise
        if not done:
            os.close(fd)
            return self.root
        return Place(fd, b"/".join(done))

    def _count_step(self) -> None:
        self._steps += 1
        if self._steps > self._limits.steps:
            raise StorageError(f"cannot unpack an archive whose links need more than {self._limits.steps} steps")

    @staticmethod
    def _step(old: int, new: int) -> int:
        os.close(old)
        return new

    @staticmethod
    def _link_target(fd: int, name: bytes) -> bytes | None:
        """The target of the symlink ``name``; None if it is no symlink."""
        try:
            return os.readlink(name, dir_fd=fd)
        except OSError:
            return None

    def _make(self, fd: int, name: bytes, path: bytes) -> None:
        """Make a directory that an entry needs but no entry describes."""
        self.count_directory()
        hidden = False
        try:
            os.mkdir(name, 0o755, dir_fd=fd)
        except FileExistsError:
            if not self.is_whiteout(fd, name):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
            os.unlink(name, dir_fd=fd)
            os.mkdir(name, 0o755, dir_fd=fd)
            hidden = True
        self.implicit[path] = None
        if hidden:
            self.make_opaque(fd, name)

    def count_directory(self) -> None:
        """Account for one more directory. Raises StorageError beyond the limit."""
        self.directories += 1
        if self.directories > self._limits.directories:
            raise StorageError(f"cannot unpack more than {self._limits.directories} directories from one layer")

    @staticmethod
    def is_whiteout(dirfd: int, name: bytes) -> bool:
        """Whether the entry hides a lower one: a character device 0:0 (no other device is ever made)."""
        return stat.S_ISCHR(os.lstat(name, dir_fd=dirfd).st_mode)

    @staticmethod
    def make_opaque(dirfd: int, name: bytes) -> None:
        """Let the directory hide what lower layers have in its place."""
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dirfd)
        try:
            os.setxattr(fd, OPAQUE, b"y")
        finally:
            os.close(fd)

    def clear(self, place: Place, name: bytes) -> None:
        """Remove the entry that stands where another is to be made."""
        mode = os.lstat(name, dir_fd=place.fd).st_mode
        remove(place.fd, name)
        if stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
            self._retire_all()  # a cached resolution may have gone through it
