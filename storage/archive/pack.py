"""Files of a directory as members of an archive: links once, holes if wanted, nothing opened that could block."""

from __future__ import annotations

import binascii
import errno
import os
import stat
from collections.abc import Callable, Container

from storage.archive import xattrs
from storage.archive.tar_reader import BLOCK_DEVICE, CHARACTER, DIRECTORY, FIFO, HARDLINK, REGULAR, SYMLINK
from storage.archive.tar_writer import TarWriter, segments
from storage.archive.xattrs import Shift
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.ownership import TrueEntry

DEEPEST = 800
"""Directories inside one another; each costs a frame and a descriptor."""

_SUBDIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HANDLE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_SEGMENTS = 10_000
_KINDS = {
    stat.S_IFREG: REGULAR, stat.S_IFDIR: DIRECTORY, stat.S_IFLNK: SYMLINK, stat.S_IFIFO: FIFO, stat.S_IFCHR: CHARACTER,
    stat.S_IFBLK: BLOCK_DEVICE,
}  # fmt: skip


class Packer:
    """Adds what is in open directories to an archive.

    ``root``: the id, as seen here, of the user for whom file capabilities shall hold. ``sparse``: files with holes are
    written in GNU tar's form, which not every reader knows.
    """

    def __init__(self, writer: TarWriter, *, root: int = 0, sparse: bool = False) -> None:
        self._writer = writer
        self._root = root
        self._sparse = sparse
        self._links: dict[tuple[int, int], bytes] = {}

    def add(
        self,
        name: bytes,
        directory: int,
        base: str,
        status: os.stat_result,
        owner: tuple[int, int],
        *,
        shift: Shift | None = None,
        truth: TrueEntry | None = None,
    ) -> bool:
        """Add the entry ``base`` of ``directory`` as ``name``; False if it is none that an archive can hold (a socket).

        ``status`` tells its kind; it is verified before anything is opened. ``owner`` is written instead of the file's
        own; ``shift`` does the same for ids in its attributes. ``truth`` has what could not be made real. Raises
        OSError (``FileNotFoundError``: it is gone, or something else is there now).
        """
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            return False
        mode, device = stat.S_IMODE(status.st_mode), (os.major(status.st_rdev), os.minor(status.st_rdev))
        extra: dict[bytes, bytes] = {}
        if kind in (REGULAR, DIRECTORY):
            extra = xattrs.read(f"/proc/self/fd/{directory}/{base}")
            xattrs.for_archive(extra, self._root, shift)
        if truth is not None:
            owner, mode = (truth["uid"], truth["gid"]), truth["mode"]
            extra.update((os.fsencode(key), binascii.a2b_base64(text)) for key, text in truth.get("xattrs", {}).items())
            if "device" in truth:
                kind = CHARACTER if truth.get("type") == "c" else BLOCK_DEVICE
                device = (truth["device"][0], truth["device"][1])
        link = b""
        if kind == SYMLINK:
            link = _target(directory, base)
        elif kind == REGULAR:
            self._file(name, directory, base, status, owner, mode, extra)
            return True
        self._writer.add(
            name + b"/" if kind == DIRECTORY else name, kind, mode, *owner, status.st_mtime_ns,
            link=link, device=device if kind in (CHARACTER, BLOCK_DEVICE) else (0, 0), xattrs=extra,
        )  # fmt: skip
        return True

    def add_directory(self, name: bytes, directory: int, status: os.stat_result) -> None:
        """Add the open ``directory`` itself."""
        extra = xattrs.read(f"/proc/self/fd/{directory}/.")
        xattrs.for_archive(extra, self._root, None)
        owner = (status.st_uid, status.st_gid)
        mode = stat.S_IMODE(status.st_mode)
        self._writer.add(name + b"/", DIRECTORY, mode, *owner, status.st_mtime_ns, xattrs=extra)

    def add_opened(self, name: bytes, handle: int, status: os.stat_result) -> None:
        """Add what the O_PATH descriptor ``handle`` is: no directory, and no link, whose target would be meant."""
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        owner, mode = (status.st_uid, status.st_gid), stat.S_IMODE(status.st_mode)
        if kind == REGULAR:
            source = os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._content(name, source, owner, mode, {})
            finally:
                os.close(source)
        elif kind is not None:
            device = (os.major(status.st_rdev), os.minor(status.st_rdev)) if kind != FIFO else (0, 0)
            self._writer.add(name, kind, mode, *owner, status.st_mtime_ns, device=device)

    def _file(
        self, name: bytes, directory: int, base: str, status: os.stat_result, owner: tuple[int, int], mode: int,
        extra: dict[bytes, bytes],
    ) -> None:  # fmt: skip
        if status.st_nlink > 1:
            inode = (status.st_dev, status.st_ino)
            first = self._links.get(inode)
            if first is not None:
                self._writer.add(name, HARDLINK, mode, *owner, status.st_mtime_ns, link=first)
                return
            self._links[inode] = name
        source = open_file(directory, base)
        try:
            self._content(name, source, owner, mode, extra)
        finally:
            os.close(source)

    def _content(
        self, name: bytes, source: int, owner: tuple[int, int], mode: int, extra: dict[bytes, bytes]
    ) -> None:
        found = os.fstat(source)
        size = found.st_size
        parts = None
        if self._sparse and found.st_blocks * 512 < size:
            parts = segments(source, size)
            if len(parts) > _MOST_SEGMENTS:
                parts = None
        self._writer.add(name, REGULAR, mode, *owner, found.st_mtime_ns, size=size, xattrs=extra, sparse=parts)
        if parts is not None:
            self._writer.sparse_file(source, parts)
        else:
            self._writer.file(source, size)


def _target(directory: int, base: str) -> bytes:
    """Where a symbolic link leads. Raises ``FileNotFoundError`` if it is something else by now."""
    try:
        return os.fsencode(os.readlink(base, dir_fd=directory))
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise FileNotFoundError(f"{base} is no link any more") from None
        raise


def pack_tree(
    packer: Packer, directory: int, prefix: bytes, skip: Callable[[str, OSError], None], without: Container[str] = (),
    depth: int = 0,
) -> None:  # fmt: skip
    """Add everything in an open directory, under ``prefix``. It may change meanwhile, by whoever owns it.

    Links are added as they are. ``skip`` is called with what cannot be read, and may raise the error. ``without`` are
    names in the directory itself that are left out. Raises OSError, ``StorageError`` for a tree too deep.
    """
    if depth > DEEPEST:
        raise StorageError(f"cannot copy directories deeper than {DEEPEST}")
    for base in sorted(os.listdir(directory)):
        if base in without:
            continue
        name = prefix + b"/" + os.fsencode(base) if prefix else os.fsencode(base)
        try:
            status = os.lstat(base, dir_fd=directory)
            if not stat.S_ISDIR(status.st_mode):
                packer.add(name, directory, base, status, (status.st_uid, status.st_gid))
                continue
            below = os.open(base, _SUBDIRECTORY, dir_fd=directory)
        except (FileNotFoundError, NotADirectoryError):
            continue  # gone, or something else now
        except PermissionError as error:
            skip(os.fsdecode(name), error)
            continue
        try:
            status = os.fstat(below)
            packer.add_directory(name, below, status)
            pack_tree(packer, below, name, skip, (), depth + 1)
        finally:
            os.close(below)


def open_file(directory: int, base: str) -> int:
    """Open a regular file for reading, after a look at what it is: whoever owns the directory may swap it any time.

    Raises ``FileNotFoundError`` if it is something else now, which may not even be opened.
    """
    handle = os.open(base, _HANDLE, dir_fd=directory)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise FileNotFoundError(f"{base} is no file any more")
        return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(handle)
