"""Placing the members of an archive into a directory that others use at the same time, and may be hostile.

Other than the unpacker of layers (``storage.archive.extract``) this one trusts nothing that it has resolved: whoever
has a part of the tree may exchange directories and links at any time. A directory is found by openat2(2) below one
descriptor, what is in it is made and changed by name without following a link, and mode, owner, times and attributes
are set by descriptor. So nothing outside can be named, whatever is swapped.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator

from storage import sys as calls
from storage.archive import tar_reader as tar
from storage.archive import xattrs as attributes
from storage.archive.limits import Limits
from storage.archive.tree import components, remove
from storage.errors import StorageError, shown
from storage.metadata import own, own_entry

_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_BENEATH = calls.RESOLVE_BENEATH | calls.RESOLVE_NO_SYMLINKS | calls.RESOLVE_NO_MAGICLINKS
_IN_ROOT = calls.RESOLVE_IN_ROOT | calls.RESOLVE_NO_MAGICLINKS
_CACHED = 32
_TRIES = 16
_MAX_TIME_NS = (1 << 62) - 1
_REFUSED = (errno.EPERM, errno.EOPNOTSUPP, errno.EACCES)


class Putter:
    """Places members below a directory.

    With ``path``, ``root`` is the root of a container and ``path`` a directory of it (absolute): links on the way are
    followed as the container would. Else ``root`` is the directory itself, and below it no link is followed.
    ``owner`` is given to everything; None leaves new files to whoever runs this, and ``keep_owners`` gives them the
    archive's. ``overwrite``: a directory may take the place of something else, and the reverse. ``devices``: skip them
    (else they are refused). The process's umask must be 0.
    """

    def __init__(
        self,
        root: int,
        path: str = "",
        *,
        owner: tuple[int, int] | None = None,
        keep_owners: bool = False,
        overwrite: bool = False,
        skip_devices: bool = False,
    ) -> None:
        self._root = root
        self._path = os.fsencode(path)
        self._resolve = _IN_ROOT if path else _BENEATH
        self._owner = owner
        self._overwrite = overwrite
        self._skip = skip_devices
        self._cache: dict[bytes, int] = {}
        self._stale = False
        self._directories: dict[bytes, tuple[int, int]] = {}
        self.keeps_owners = keep_owners
        self.skipped: set[bytes] = set()
        """Names of the devices that were left out."""
        self.unset = 0
        """Attributes that the file system or the user's rights did not take."""

    def put(self, chunks: Iterable[bytes], limits: Limits | None = None) -> None:
        """Place every member of the uncompressed archive. Raises StorageError, OSError (with the member's name)."""
        reader = tar.TarReader(chunks, limits or Limits(entries=1 << 40))
        try:
            for entry in reader:
                self._add(entry, reader)
            self._finish()
        finally:
            self._forget()

    # Directories.

    def _forget(self) -> None:
        for fd in self._cache.values():
            os.close(fd)
        self._cache.clear()
        self._stale = False

    def _full(self, path: bytes) -> bytes:
        return self._path + b"/" + path if self._path else path or b"."

    def _parent(self, path: bytes) -> int:
        """The directory ``path`` below the destination, made with what is missing above it."""
        found = self._cache.get(path)
        if found is None:
            if len(self._cache) >= _CACHED:
                self._forget()
            try:
                found = calls.openat2(self._root, self._full(path), _DIRECTORY, self._resolve)
            except FileNotFoundError:
                if not path:
                    raise
                found = self._make(path)
            self._cache[path] = found
        return found

    def _make(self, path: bytes) -> int:
        head, _, name = path.rpartition(b"/")
        above = self._parent(head)
        try:
            os.mkdir(name, 0o755, dir_fd=above)
        except FileExistsError:
            pass  # by somebody else, or a dangling link, which fails below
        else:
            self._own(above, name, None)
        return calls.openat2(self._root, self._full(path), _DIRECTORY, self._resolve)

    # Members.

    def _add(self, entry: tar.Entry, reader: tar.TarReader) -> None:
        if self._stale:
            self._forget()
        names = components(entry.name)
        if not names:
            if entry.kind != tar.DIRECTORY:
                raise StorageError("cannot unpack an archive that replaces its root by something else than a directory")
            return  # the destination stays as it is
        head, base = b"/".join(names[:-1]), names[-1]
        path = b"/".join(names)
        if entry.kind in (tar.CHARACTER, tar.BLOCK_DEVICE):
            if not self._skip:
                name = shown(os.fsdecode(path))
                raise StorageError(f"cannot make the device {name}: a user may make none", "leave it out of the copy")
            self.skipped.add(path)
            return
        if entry.kind == tar.HARDLINK and b"/".join(components(entry.linkname)) in self.skipped:
            self.skipped.add(path)
            return
        try:
            parent = self._parent(head)
            if entry.kind == tar.REGULAR:
                self._regular(parent, base, entry, reader)
            elif entry.kind == tar.DIRECTORY:
                self._directory(parent, base, path, entry)
            elif entry.kind == tar.SYMLINK:
                self._new(parent, base, lambda: os.symlink(entry.linkname, base, dir_fd=parent))
                self._own(parent, base, entry)
                self._time(parent, base, entry)
            elif entry.kind == tar.HARDLINK:
                self._hardlink(parent, base, entry)
            else:
                self._new(parent, base, lambda: os.mkfifo(base, entry.mode & 0o777, dir_fd=parent))
                self._own(parent, base, entry)
                self._time(parent, base, entry)
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fsdecode(path)) from error

    def _new(self, parent: int, base: bytes, make: Callable[[], None]) -> None:
        """Make something by ``make``, in place of what is there."""
        for _ in range(_TRIES):
            try:
                make()
                return
            except FileExistsError:
                self._clear(parent, base)
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def _clear(self, parent: int, base: bytes) -> None:
        """Remove what stands where something else than a directory is to be."""
        try:
            mode = os.lstat(base, dir_fd=parent).st_mode
        except FileNotFoundError:
            return
        if stat.S_ISDIR(mode) and not self._overwrite:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        try:
            remove(parent, base)
        except FileNotFoundError:
            return
        if not stat.S_ISREG(mode):
            self._stale = True  # what was resolved may have gone through it

    def _regular(self, parent: int, base: bytes, entry: tar.Entry, reader: tar.TarReader) -> None:
        fd = -1
        mounted = False
        for _ in range(_TRIES):
            try:
                fd = os.open(base, _NEW_FILE, 0o600, dir_fd=parent)
                break
            except FileExistsError:
                pass
            try:
                self._clear(parent, base)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                fd, mounted = _rewrite(parent, base), True  # a file that is mounted on cannot be replaced
                break
        if fd < 0:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        try:
            self._content(fd, entry, reader)
            if not mounted:
                self._attributes(fd, entry)
            time = _time_of(entry)
            os.utime(fd, ns=(time, time))
        finally:
            os.close(fd)

    @staticmethod
    def _content(fd: int, entry: tar.Entry, reader: tar.TarReader) -> None:
        if entry.sparse is None:
            for view in reader.data():
                while view:
                    view = view[os.write(fd, view) :]
            return
        segments = iter(entry.sparse)
        left = 0
        for view in reader.data():
            while view:
                if not left:
                    offset, left = next(segments)
                    os.lseek(fd, offset, os.SEEK_SET)
                written = os.write(fd, view[:left])
                left -= written
                view = view[written:]
        os.ftruncate(fd, entry.size)

    def _directory(self, parent: int, base: bytes, path: bytes, entry: tar.Entry) -> None:
        for _ in range(_TRIES):
            try:
                os.mkdir(base, 0o700, dir_fd=parent)
            except FileExistsError:
                pass
            try:
                fd = os.open(base, _OPEN_DIRECTORY, dir_fd=parent)
            except (NotADirectoryError, FileNotFoundError) as error:
                if isinstance(error, NotADirectoryError) and not self._overwrite:
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
                try:
                    os.unlink(base, dir_fd=parent)
                except FileNotFoundError:
                    pass
                continue
            try:
                self._attributes(fd, entry, mode=False)
            finally:
                os.close(fd)
            self._directories[path] = entry.mode, _time_of(entry)
            return
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def _hardlink(self, parent: int, base: bytes, entry: tar.Entry) -> None:
        names = components(entry.linkname)
        if not names:
            raise StorageError(f"cannot unpack {shown(os.fsdecode(entry.name))}: it is a hard link to nothing")
        source = calls.openat2(self._root, self._full(b"/".join(names[:-1])), _DIRECTORY, self._resolve)
        try:
            target = os.lstat(names[-1], dir_fd=source)
            if stat.S_ISDIR(target.st_mode):
                raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
            try:
                if os.path.samestat(os.lstat(base, dir_fd=parent), target):
                    return
            except FileNotFoundError:
                pass

            def make() -> None:
                os.link(names[-1], base, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)

            self._new(parent, base, make)
        finally:
            os.close(source)

    # Metadata.

    def _ids(self, entry: tar.Entry | None) -> tuple[int, int] | None:
        if self._owner is not None:
            return self._owner
        return (entry.uid, entry.gid) if self.keeps_owners and entry is not None else None

    def _own(self, parent: int, base: bytes, entry: tar.Entry | None) -> None:
        ids = self._ids(entry)
        if ids is not None:
            own_entry(parent, base, *ids)

    @staticmethod
    def _time(parent: int, base: bytes, entry: tar.Entry) -> None:
        time = _time_of(entry)
        os.utime(base, ns=(time, time), dir_fd=parent, follow_symlinks=False)

    def _attributes(self, fd: int, entry: tar.Entry, mode: bool = True) -> None:
        ids = self._ids(entry)
        if ids is not None:
            own(fd, *ids)
        if mode:
            os.fchmod(fd, entry.mode)  # after the owner, whose change clears set-id bits
        if not entry.xattrs:
            return
        real, _ = attributes.sort_out(entry.xattrs)
        for name, value in real.items():
            try:
                os.setxattr(fd, name, value)
            except OSError as error:
                if error.errno not in _REFUSED:
                    raise
                self.unset += 1

    def _finish(self) -> None:
        """Set modes and times of the directories, which had to be open for what came into them."""
        for path, (mode, time) in reversed(self._directories.items()):
            head, _, base = path.rpartition(b"/")
            try:
                fd = os.open(base, _OPEN_DIRECTORY, dir_fd=self._parent(head))
            except (FileNotFoundError, NotADirectoryError):
                continue  # replaced by a later member, or by somebody else
            try:
                os.fchmod(fd, mode)
                os.utime(fd, ns=(time, time))
            finally:
                os.close(fd)


def _rewrite(parent: int, base: bytes) -> int:
    """Open an existing regular file for writing from its beginning."""
    handle = os.open(base, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        return os.open(f"/proc/self/fd/{handle}", os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    finally:
        os.close(handle)


def _time_of(entry: tar.Entry) -> int:
    return max(-_MAX_TIME_NS, min(entry.mtime_ns, _MAX_TIME_NS))


def chunks_of(fd: int) -> Iterator[bytes]:
    """What can be read from a descriptor, to its end."""
    while chunk := os.read(fd, 1 << 20):
        yield chunk
