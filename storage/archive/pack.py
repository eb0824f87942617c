"""Files of a directory as members of an archive: links once, holes if wanted, nothing opened that could block."""

from __future__ import annotations

import base64
import os
import stat

from storage.archive import xattrs
from storage.archive.tar_reader import BLOCK_DEVICE, CHARACTER, DIRECTORY, FIFO, HARDLINK, REGULAR, SYMLINK
from storage.archive.tar_writer import TarWriter, segments
from storage.archive.xattrs import Shift

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.ownership import TrueEntry

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
            extra.update((os.fsencode(key), base64.b64decode(text)) for key, text in truth.get("xattrs", {}).items())
            if "device" in truth:
                kind = CHARACTER if truth.get("type") == "c" else BLOCK_DEVICE
                device = (truth["device"][0], truth["device"][1])
        link = b""
        if kind == SYMLINK:
            link = os.fsencode(os.readlink(base, dir_fd=directory))
        elif kind == REGULAR:
            self._file(name, directory, base, status, owner, mode, extra)
            return True
        self._writer.add(
            name + b"/" if kind == DIRECTORY else name, kind, mode, *owner, status.st_mtime_ns,
            link=link, device=device if kind in (CHARACTER, BLOCK_DEVICE) else (0, 0), xattrs=extra,
        )  # fmt: skip
        return True

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
            found = os.fstat(source)
            size = found.st_size
            parts = None
            if self._sparse and found.st_blocks * 512 < size:
                parts = segments(source, size)
                if len(parts) > _MOST_SEGMENTS:
                    parts = None
            self._writer.add(
                name, REGULAR, mode, *owner, found.st_mtime_ns, size=size, xattrs=extra, sparse=parts
            )
            if parts is not None:
                self._writer.sparse_file(source, parts)
            else:
                self._writer.file(source, size)
        finally:
            os.close(source)


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
