"""Unpack a layer's entries into one directory, in the form that overlay file systems mount.

Order and meaning are those of an image layer (OCI image-spec, layer.md): a later entry replaces an earlier one of its
name, a directory keeps its content if a directory replaces it, ``.wh.NAME`` hides NAME of the layers below (never the
layer's own), ``.wh..wh..opq`` hides all of them. Hidden names become character devices 0:0, hiding directories get the
attribute ``user.overlay.opaque``.
"""

from __future__ import annotations

import errno
import os
import stat

from storage import remembered
from storage.archive import tar_reader as tar
from storage.archive import xattrs as attributes
from storage.archive.limits import Limits
from storage.archive.tree import Place, Tree, components
from storage.errors import StorageError, os_error, shown
from storage.ownership import Ids, OwnersWriter

_WHITEOUT = b".wh."
_WHITEOUT_META = b".wh..wh."  # AUFS' own files, of which images only mean the next
_OPAQUE = b".wh..wh..opq"
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX
_MAX_TIME_NS = (1 << 62) - 1  # the file system cuts earlier


class Extractor:
    """Writes entries below ``root_fd``; the process's umask must be 0.

    ``directories`` of the result have their times set only by ``finish``. Raises StorageError; what was written until
    then is the caller's to remove.
    """

    def __init__(self, root_fd: int, owners: OwnersWriter, ids: Ids, limits: Limits) -> None:
        self.tree = Tree(root_fd, limits)
        self.entries = 0
        self.bytes = 0
        self._root_fd = root_fd
        self._owners = owners
        self._ids = ids
        self._limits = limits
        self._times: dict[bytes, int] = {}
        self._opaque: set[bytes] = set()
        # Whether a new file's group or mode may come from its directory (set-group-ID bit, default ACL).
        self._inherits = False

    def unpack(self, reader: tar.TarReader) -> None:
        """Unpack every entry of ``reader`` and finish."""
        try:
            for entry in reader:
                try:
                    self._add(entry, reader)
                except OSError as error:
                    raise os_error(f"cannot unpack {shown(os.fsdecode(entry.name))}", error) from error
            self._finish()
        finally:
            self.tree.close()

    def _add(self, entry: tar.Entry, reader: tar.TarReader) -> None:
        if self.tree.retired:
            self.tree.tidy()
        head, _, base = entry.name.rstrip(b"/").rpartition(b"/")
        if base in (b"", b".", b".."):
            names = components(entry.name)
            if not names:
                self._root(entry)
                return
            head, base = b"/".join(names[:-1]), names[-1]
        if _WHITEOUT in entry.name and self._whiteout(entry.name):
            return
        place = self.tree.place(head)
        if len(place.path) + len(base) >= self._limits.path_bytes:
            raise StorageError(f"cannot unpack a path of more than {self._limits.path_bytes} bytes")
        self.entries += 1
        if entry.kind == tar.REGULAR:
            self._regular(place, base, entry, reader)
        elif entry.kind == tar.DIRECTORY:
            self._directory(place, base, entry)
        elif entry.kind == tar.SYMLINK:
            self._symlink(place, base, entry)
        elif entry.kind == tar.HARDLINK:
            self._hardlink(place, base, entry)
        elif entry.kind == tar.FIFO:
            self._fifo(place, base, entry)
        else:
            self._device(place, base, entry)

    # Whiteouts.

    def _whiteout(self, name: bytes) -> bool:
        """Apply ``name`` if it is a whiteout; False if it is an ordinary name."""
        names = components(name)
        for directory in names[:-1]:
            if directory.startswith(_WHITEOUT):
                if directory.startswith(_WHITEOUT_META):
                    return True
                raise StorageError(f"cannot unpack {shown(os.fsdecode(name))}: a directory is named like a whiteout")
        base = names[-1]
        if not base.startswith(_WHITEOUT):
            return False
        if base.startswith(_WHITEOUT_META) and base != _OPAQUE:
            return True
        place = self.tree.place(b"/".join(names[:-1]))
        if base == _OPAQUE:
            self.tree.make_opaque(place.fd, b".")
            self._opaque.add(place.path)
            return True
        target = base[len(_WHITEOUT):]
        if target in (b"", b".", b".."):
            raise StorageError(f"cannot unpack {shown(os.fsdecode(name))}: the whiteout names no entry")
        if self._opaque and self._in_opaque(place.path):
            return True  # nothing is left to hide, and the kernel would list the device's name
        try:
            os.mknod(target, stat.S_IFCHR, 0, dir_fd=place.fd)
        except FileExistsError:
            # The layer's own entry stays. Of a directory only what lower layers have in it is hidden.
            if stat.S_ISDIR(os.lstat(target, dir_fd=place.fd).st_mode):
                self.tree.make_opaque(place.fd, target)
        except PermissionError as error:
            raise StorageError(
                "cannot make a whiteout: this file system has no character devices",
                hint="use a store on a local file system with --root",
            ) from error
        return True

    def _in_opaque(self, path: bytes) -> bool:
        """Whether the directory, or one above it, hides everything below this layer already."""
        while path not in self._opaque:
            if not path:
                return False
            path = path.rpartition(b"/")[0]
        return True

    # One method per kind.

    def _regular(self, place: Place, base: bytes, entry: tar.Entry, reader: tar.TarReader) -> None:
        try:
            fd = os.open(base, _NEW_FILE, entry.mode & 0o777, dir_fd=place.fd)
        except FileExistsError:
            self._replace(place, base)
            fd = os.open(base, _NEW_FILE, entry.mode & 0o777, dir_fd=place.fd)
        try:
            self._content(fd, entry, reader)
            self.bytes += entry.size
            self._attributes(fd, place, base, entry)
            time = entry.mtime_ns
            if not -_MAX_TIME_NS < time < _MAX_TIME_NS:
                time = _MAX_TIME_NS if time > 0 else -_MAX_TIME_NS
            os.utime(fd, ns=(time, time))
        finally:
            os.close(fd)

    def _content(self, fd: int, entry: tar.Entry, reader: tar.TarReader) -> None:
        """Write the content of a regular file, just made."""
        if entry.sparse is not None:
            self._sparse(fd, entry, reader)
            return
        for view in reader.data():
            written = os.write(fd, view)
            while written < len(view):
                written += os.write(fd, view[written:])

    @staticmethod
    def _sparse(fd: int, entry: tar.Entry, reader: tar.TarReader) -> None:
        segments = iter(entry.sparse or ())
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

    def _directory(self, place: Place, base: bytes, entry: tar.Entry) -> None:
        new = True
        hides = False
        try:
            os.mkdir(base, entry.mode & 0o777, dir_fd=place.fd)
        except FileExistsError:
            if stat.S_ISDIR(os.lstat(base, dir_fd=place.fd).st_mode):
                new = False
            else:
                self._replace(place, base)
                os.mkdir(base, entry.mode & 0o777, dir_fd=place.fd)
                hides = True  # something was in its place: nothing of a lower directory may show through
        path = place.child(base)
        self.tree.implicit.pop(path, None)  # also when it is new: something else may have taken its first one's place
        if new:
            self.tree.count_directory()
        if not new or hides or entry.mode & _SPECIAL or entry.uid or entry.gid or entry.xattrs or self._inherits:
            fd = os.open(base, _OPEN_DIRECTORY, dir_fd=place.fd)
            try:
                self._attributes(fd, place, base, entry, exact=True)
                if hides:
                    os.setxattr(fd, attributes.OPAQUE, b"y")
                    self._opaque.add(path)
            finally:
                os.close(fd)
        self._times[path] = entry.mtime_ns

    def _root(self, entry: tar.Entry) -> None:
        if entry.kind != tar.DIRECTORY:
            raise StorageError("cannot unpack an archive that replaces its root by something other than a directory")
        self.tree.implicit.pop(b"", None)
        self._attributes(self._root_fd, self.tree.root, b"", entry, exact=True)
        self._times[b""] = entry.mtime_ns

    def _symlink(self, place: Place, base: bytes, entry: tar.Entry) -> None:
        try:
            os.symlink(entry.linkname, base, dir_fd=place.fd)
        except FileExistsError:
            self._replace(place, base)
            os.symlink(entry.linkname, base, dir_fd=place.fd)
        self._own_unopened(place, base, entry, symlink=True)

    def _hardlink(self, place: Place, base: bytes, entry: tar.Entry) -> None:
        """A further name of a file of this layer: its owner, mode and times are that file's."""
        names = components(entry.linkname)
        missing = StorageError(
            f"cannot unpack {shown(os.fsdecode(entry.name))}: it is a hard link to a file that is not in the layer"
        )
        if not names:
            raise missing
        try:
            source = self.tree.place(b"/".join(names[:-1]), create=False)
            target = os.lstat(names[-1], dir_fd=source.fd)
        except (FileNotFoundError, NotADirectoryError):
            raise missing from None
        if stat.S_ISDIR(target.st_mode) or stat.S_ISCHR(target.st_mode):
            raise missing
        try:
            _link(source, names[-1], place, base)
        except FileExistsError:
            if os.path.samestat(os.lstat(base, dir_fd=place.fd), target):
                return
            self._replace(place, base)
            try:
                _link(source, names[-1], place, base)
            except FileNotFoundError:
                raise missing from None
        self._owners.link(place.child(base), source.child(names[-1]))

    def _fifo(self, place: Place, base: bytes, entry: tar.Entry) -> None:
        try:
            os.mkfifo(base, entry.mode & 0o777, dir_fd=place.fd)
        except FileExistsError:
            self._replace(place, base)
            os.mkfifo(base, entry.mode & 0o777, dir_fd=place.fd)
        self._own_unopened(place, base, entry)

    def _device(self, place: Place, base: bytes, entry: tar.Entry) -> None:
        """An empty placeholder: a device of the host is never made, what it should be is recorded."""
        try:
            fd = os.open(base, _NEW_FILE, entry.mode & 0o777, dir_fd=place.fd)
        except FileExistsError:
            self._replace(place, base)
            fd = os.open(base, _NEW_FILE, entry.mode & 0o777, dir_fd=place.fd)
        os.close(fd)
        self._own_unopened(place, base, entry, device="c" if entry.kind == tar.CHARACTER else "b")

    # Metadata.

    def _replace(self, place: Place, base: bytes) -> None:
        path = place.child(base)
        self._owners.forget(path)
        self._times.pop(path, None)
        self.tree.clear(place, base)

    def _modes(self, entry: tar.Entry) -> tuple[int, int, int, bool]:
        """``(uid, gid, mode, owner and group are true)`` to give: no file is set-id to another's id."""
        uid, gid, uid_fits, gid_fits = self._ids.fold(entry.uid, entry.gid)
        mode = entry.mode
        if entry.kind != tar.DIRECTORY:
            if not uid_fits:
                mode &= ~stat.S_ISUID
            if not gid_fits:
                mode &= ~stat.S_ISGID
        return uid, gid, mode, uid_fits and gid_fits

    def _attributes(self, fd: int, place: Place, base: bytes, entry: tar.Entry, exact: bool = False) -> None:
        """Owner, mode and attributes of an open file or directory; ``exact``: its mode may not be the entry's yet."""
        if not (entry.uid or entry.gid or entry.mode & _SPECIAL or entry.xattrs or exact or self._inherits):
            return
        uid, gid, mode, true = self._modes(entry)
        refused: dict[bytes, bytes] = {}
        if uid or gid or exact or self._inherits:
            true = self._chown(fd, uid, gid) and true
        if entry.xattrs:
            real, refused = attributes.sort_out(entry.xattrs)
            for name, value in real.items():
                try:
                    os.setxattr(fd, name, value)
                except OSError:  # no attributes on this file system, or not of this kind
                    refused[name] = value
            if b"system.posix_acl_default" in real:
                self._inherits = True
        # After chown, which clears set-id bits, and after an ACL, which changes the group's bits.
        if mode & _SPECIAL or entry.xattrs or exact or self._inherits:
            os.fchmod(fd, mode)
            if mode & stat.S_ISGID and entry.kind == tar.DIRECTORY:
                self._inherits = True
        if not true or refused:
            self._owners.record(place.child(base), entry.uid, entry.gid, entry.mode, xattrs=refused)
        if not true and self._ids.alone:
            self._remember(fd, entry)

    @staticmethod
    def _remember(fd: int, entry: tar.Entry) -> None:
        """Put the owner down at the file too, where that can be done: so its copies know it under any name."""
        try:
            os.setxattr(fd, remembered.ATTRIBUTE, remembered.encode(entry.uid, entry.gid))
        except OSError:
            return  # no attributes on this file system

    @staticmethod
    def _chown(fd: int, uid: int, gid: int) -> bool:
        """Give the file its owner; False where the file system refuses (NFS, FAT, a store without a range)."""
        try:
            os.fchown(fd, uid, gid)
        except PermissionError:
            return False
        return True

    def _own_unopened(
        self, place: Place, base: bytes, entry: tar.Entry, symlink: bool = False, device: str = ""
    ) -> None:
        """The same for what must not be opened: symlinks, FIFOs and placeholders, all just made by us."""
        uid, gid, mode, true = self._modes(entry)
        if uid or gid or self._inherits:
            try:
                os.chown(base, uid, gid, dir_fd=place.fd, follow_symlinks=False)
            except PermissionError:
                true = False
        if not symlink and (mode & _SPECIAL or self._inherits):
            os.chmod(base, mode, dir_fd=place.fd)
        time = max(-_MAX_TIME_NS, min(entry.mtime_ns, _MAX_TIME_NS))
        os.utime(base, ns=(time, time), dir_fd=place.fd, follow_symlinks=False)
        unset: dict[bytes, bytes] = {}
        if entry.xattrs:
            real, unset = attributes.sort_out(entry.xattrs)
            unset.update(real)
        if not true or device or unset:
            self._owners.record(
                place.child(base), entry.uid, entry.gid, entry.mode,
                (device, *entry.device) if device else None, unset,
            )

    def _finish(self) -> None:
        """Set the directories' times, which every entry in them changed."""
        for path, time in self._times.items():
            time = max(-_MAX_TIME_NS, min(time, _MAX_TIME_NS))
            if not path:
                os.utime(self._root_fd, ns=(time, time))
                continue
            head, _, base = path.rpartition(b"/")
            place = self.tree.existing(head)
            if place is not None:
                try:
                    # It may have gone with a directory that a later entry replaced, and something else be there now.
                    if stat.S_ISDIR(os.lstat(base, dir_fd=place.fd).st_mode):
                        os.utime(base, ns=(time, time), dir_fd=place.fd, follow_symlinks=False)
                except FileNotFoundError:
                    pass
            if self.tree.retired:
                self.tree.tidy()
        self._owners.flush()


def _link(source: Place, name: bytes, place: Place, base: bytes) -> None:
    """A further name of a file. Raises StorageError where the file system has no hard links."""
    try:
        os.link(name, base, src_dir_fd=source.fd, dst_dir_fd=place.fd, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        path = shown(os.fsdecode(place.child(base)))
        raise StorageError(
            f"cannot unpack {path}: it is a hard link, and the file system of the store has none",
            "use a store on a local disk with --root",
        ) from error
