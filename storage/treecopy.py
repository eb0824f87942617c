"""Copying trees inside a user namespace: owners, modes, times, attributes, holes and hard links are kept.

File data is shared (reflink) where the file system can, else copied in the kernel. Used to flatten layers for the copy
driver and to give a layer the owners of another id map.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Container

from storage import remembered
from storage import sys as calls
from storage.archive.tree import remove
from storage.archive.xattrs import OPAQUE, Shift, is_steering, shifted_acl
from storage.metadata import attributes, own, own_entry
from storage.ownership import OwnersWriter

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_COPY_STEP = 1 << 30
_CAPABILITY = "security.capability"
_ACLS = ("system.posix_acl_access", "system.posix_acl_default")


def unshifted(uid: int, gid: int) -> tuple[int, int, bool]:
    """The shift that keeps every owner."""
    return uid, gid, True


class TreeCopy:
    """Copies trees into one destination.

    ``flatten``: whiteouts and opaque directories act on what the destination already has, and are not copied; else
    they are copied as they are. ``owners`` records entries whose owner had no place and that are not ``known`` to it
    already. ``capability_root``: the id, as seen here, of the root user for whom file capabilities shall hold.
    """

    def __init__(
        self,
        *,
        flatten: bool,
        shift: Shift = unshifted,
        owners: OwnersWriter | None = None,
        known: Container[str] = (),
        capability_root: int = 0,
    ) -> None:
        self._flatten = flatten
        self._shift = shift
        self._owners = owners
        self._known = known
        self._capability_root = capability_root
        self._links: dict[tuple[int, int], str] = {}
        self._root = -1
        self._reflinks = True

    def copy(self, source: str, target: str) -> None:
        """Copy the directory ``source`` into the existing directory ``target``. Raises OSError."""
        self._links.clear()  # hard links do not cross layers
        source_fd = os.open(source, _OPEN_DIRECTORY)
        try:
            self._root = os.open(target, _OPEN_DIRECTORY)
            try:
                self._directory(source_fd, self._root, "")
            finally:
                os.close(self._root)
        finally:
            os.close(source_fd)

    def _directory(self, source: int, target: int, path: str) -> None:
        """Copy the content of one directory, then its metadata (whose times the content would change)."""
        if self._flatten and path and self._is_opaque(source):
            for name in os.listdir(target):
                remove(target, name)
        for name in os.listdir(source):
            self._entry(source, target, name, f"{path}/{name}" if path else name)
        self._metadata(source, target, os.fstat(source), path)

    @staticmethod
    def _is_opaque(fd: int) -> bool:
        try:
            return os.getxattr(fd, OPAQUE) == b"y"
        except OSError:
            return False

    def _entry(self, source: int, target: int, name: str, path: str) -> None:
        status = os.lstat(name, dir_fd=source)
        mode = status.st_mode
        if self._flatten and self._cleared(target, name, mode):
            return
        if stat.S_ISDIR(mode):
            self._subdirectory(source, target, name, path)
            return
        inode = (status.st_dev, status.st_ino)
        if status.st_nlink > 1:
            if inode in self._links:
                first = self._links[inode]
                os.link(first, name, src_dir_fd=self._root, dst_dir_fd=target, follow_symlinks=False)
                if self._owners is not None:
                    self._owners.link(os.fsencode(path), os.fsencode(first))
                return
            self._links[inode] = path
        if stat.S_ISREG(mode):
            self._file(source, target, name, path, status)
        elif stat.S_ISLNK(mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            self._unopened_metadata(target, name, status, path)
        elif stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):  # a character device is a whiteout: no other is ever made
            os.mknod(name, stat.S_IFMT(mode) | 0o600, 0, dir_fd=target)
            self._unopened_metadata(target, name, status, path)

    def _cleared(self, target: int, name: str, mode: int) -> bool:
        """Make room for an upper layer's entry; True if it was a whiteout, of which nothing else remains."""
        try:
            existing = os.lstat(name, dir_fd=target).st_mode
        except FileNotFoundError:
            return stat.S_ISCHR(mode)
        if not (stat.S_ISDIR(mode) and stat.S_ISDIR(existing)):
            remove(target, name)
        return stat.S_ISCHR(mode)

    def _subdirectory(self, source: int, target: int, name: str, path: str) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=target)
        except FileExistsError:
            pass
        source_fd = os.open(name, _OPEN_DIRECTORY, dir_fd=source)
        try:
            target_fd = os.open(name, _OPEN_DIRECTORY, dir_fd=target)
            try:
                self._directory(source_fd, target_fd, path)
            finally:
                os.close(target_fd)
        finally:
            os.close(source_fd)

    def _file(self, source: int, target: int, name: str, path: str, status: os.stat_result) -> None:
        source_fd = os.open(name, _READ, dir_fd=source)
        try:
            target_fd = os.open(name, _CREATE, 0o600, dir_fd=target)
            try:
                if status.st_size:
                    self._data(source_fd, target_fd, status)
                self._metadata(source_fd, target_fd, status, path)
            finally:
                os.close(target_fd)
        finally:
            os.close(source_fd)

    def _data(self, source: int, target: int, status: os.stat_result) -> None:
        if self._reflinks:
            self._reflinks = calls.clone_file(target, source)
            if self._reflinks:
                return
        if status.st_blocks * 512 >= status.st_size:
            self._range(source, target, 0, status.st_size)
            return
        position = 0
        while position < status.st_size:
            try:
                start = os.lseek(source, position, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # only a hole is left
                    break
                raise
            position = os.lseek(source, start, os.SEEK_HOLE)
            self._range(source, target, start, position)
        os.ftruncate(target, status.st_size)

    @staticmethod
    def _range(source: int, target: int, start: int, end: int) -> None:
        while start < end:
            try:
                step = os.copy_file_range(source, target, min(end - start, _COPY_STEP), start, start)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                    raise
                step = os.pwrite(target, os.pread(source, min(end - start, 1 << 20), start), start)
            if not step:  # the source shrank: a layer never does
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            start += step

    # Metadata.

    def _owner(self, status: os.stat_result, path: str) -> tuple[int, int]:
        uid, gid, true = self._shift(status.st_uid, status.st_gid)
        if not true and self._owners is not None and path not in self._known:
            mode = stat.S_IMODE(status.st_mode)
            self._owners.record(os.fsencode(path), status.st_uid, status.st_gid, mode)
        return uid, gid

    def _metadata(self, source: int, target: int, status: os.stat_result, path: str) -> None:
        uid, gid = self._owner(status, path)
        own(target, uid, gid)
        for name in attributes(source):
            kept = name == remembered.ATTRIBUTE or (name == OPAQUE and not self._flatten)
            if is_steering(os.fsencode(name)) and not kept:
                continue
            os.setxattr(target, name, self._attribute(name, os.getxattr(source, name)))
        os.fchmod(target, stat.S_IMODE(status.st_mode))
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))

    def _unopened_metadata(self, target: int, name: str, status: os.stat_result, path: str) -> None:
        uid, gid = self._owner(status, path)
        own_entry(target, name, uid, gid)
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=target)
        times = (status.st_atime_ns, status.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)

    def _attribute(self, name: str, value: bytes) -> bytes:
        """The value for the copy: ids inside it move as owners do."""
        if name == _CAPABILITY and self._capability_root and len(value) == 20:
            # Revision 3 of the same capabilities, which names the root user it holds for (capabilities(7)).
            magic = int.from_bytes(value[:4], "little") & 0x00FFFFFF | 0x03000000
            return magic.to_bytes(4, "little") + value[4:] + self._capability_root.to_bytes(4, "little")
        if name in _ACLS:
            return shifted_acl(value, self._shift)
        return value
