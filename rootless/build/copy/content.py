"""What the members of a new layer are, and where the bytes of its files come from."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Protocol

from storage import sys as calls
from storage.archive import xattrs
from storage.archive.tar_reader import HARDLINK, REGULAR
from storage.errors import StorageError, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from storage.archive.tar_writer import TarWriter
    from storage.union import Tree

_BENEATH = calls.RESOLVE_BENEATH | calls.RESOLVE_NO_SYMLINKS | calls.RESOLVE_NO_MAGICLINKS
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
# What was a file a moment ago may be a pipe now, which blocks whoever opens it, or a terminal.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_ROOT = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_CAPABILITY = b"security.capability"


class Content(Protocol):
    """The bytes of one regular file."""

    def write(self, writer: TarWriter, name: bytes, item: Item, time_ns: int) -> None:
        """Add the member ``name`` with the attributes of ``item``."""


class Item:
    """A member: ``kind`` is that of `storage.archive.tar_reader`; ``xattrs`` of a file come on top of its own.

    ``linked``: the same item stands under several names, which become hard links.
    """

    __slots__ = ("content", "device", "gid", "kind", "link", "linked", "mode", "mtime_ns", "uid", "xattrs")

    def __init__(
        self,
        kind: bytes,
        mode: int,
        owner: tuple[int, int],
        mtime_ns: int,
        *,
        link: bytes = b"",
        device: tuple[int, int] = (0, 0),
        xattrs: Mapping[bytes, bytes] | None = None,
        content: Content | None = None,
    ) -> None:
        self.kind = kind
        self.mode = mode
        self.uid, self.gid = owner
        self.mtime_ns = mtime_ns
        self.link = link
        self.device = device
        self.xattrs = xattrs
        self.content = content
        self.linked = False


class Reader:
    """Opens the files of trees, each below a descriptor of its tree."""

    def __init__(self, *, bare: bool = False) -> None:
        """``bare``: of a file's attributes only those of users and its capabilities mean something elsewhere."""
        self._roots: dict[str, int] = {}
        self._last: tuple[str, str] | None = None
        self._directory = -1
        self._bare = bare

    def open(self, tree: Tree, path: str) -> int:
        """Open the regular file ``path`` of a tree. Raises FileNotFoundError if it is none (any more)."""
        head, _, name = path.rpartition("/")
        if self._last != (tree.path, head):
            root = self._roots.get(tree.path)
            if root is None:
                root = self._roots[tree.path] = os.open(tree.path, _ROOT)
            self._last = None
            if self._directory >= 0:
                os.close(self._directory)
                self._directory = -1
            self._directory = calls.openat2(root, head or ".", _DIRECTORY, _BENEATH)
            self._last = (tree.path, head)
        try:
            fd = os.open(name, _FILE, dir_fd=self._directory)
        except PermissionError:
            raise
        except OSError as error:
            raise FileNotFoundError(error.errno, os.strerror(error.errno or 0), path) from None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise FileNotFoundError(f"{path} is no file any more")
        return fd

    def attributes(self, where: int | str) -> dict[bytes, bytes]:
        """The attributes of a file or directory that the layer keeps."""
        found = xattrs.read(where)
        if found:
            xattrs.for_archive(found, 0, None)
            if self._bare:
                return {key: value for key, value in found.items() if key.startswith((b"user.", _CAPABILITY))}
        return found

    def close(self) -> None:
        """Let go of all descriptors."""
        for fd in [*self._roots.values(), self._directory]:
            if fd >= 0:
                os.close(fd)
        self._roots.clear()
        self._last, self._directory = None, -1


class FileContent:
    """A file of a tree, opened when it is written."""

    __slots__ = ("_limit", "_path", "_reader", "_shown", "_tree")

    def __init__(self, reader: Reader, tree: Tree, path: str, limit: int, where: str) -> None:
        """``limit``: bytes that it may have; ``where`` is how it is named in an error."""
        self._reader = reader
        self._tree = tree
        self._path = path
        self._limit = limit
        self._shown = where

    def check(self, size: int) -> None:
        """Raise StorageError if the file has more bytes than it may."""
        check_size(size, self._limit, self._shown)

    def write(self, writer: TarWriter, name: bytes, item: Item, time_ns: int) -> None:
        try:
            fd = self._reader.open(self._tree, self._path)
        except PermissionError:
            raise
        except OSError as error:
            why = os.strerror(error.errno or 2).lower()
            raise StorageError(f"cannot copy {shown(self._shown)}: it changed during the build ({why})") from None
        try:
            size = os.fstat(fd).st_size
            self.check(size)
            extra = self._reader.attributes(fd)
            if item.xattrs:
                extra.update(item.xattrs)
            writer.add(name, REGULAR, item.mode, item.uid, item.gid, time_ns, size=size, xattrs=extra)
            writer.file(fd, size)
        finally:
            os.close(fd)


class SpoolContent:
    """A part of a temporary file."""

    __slots__ = ("_fd", "_offset", "_size")

    def __init__(self, fd: int, offset: int, size: int) -> None:
        self._fd = fd
        self._offset = offset
        self._size = size

    def write(self, writer: TarWriter, name: bytes, item: Item, time_ns: int) -> None:
        writer.add(name, REGULAR, item.mode, item.uid, item.gid, time_ns, size=self._size, xattrs=item.xattrs)
        writer.data(self._fd, self._offset, self._size)
        writer.pad(self._size)


class Spool:
    """A temporary file without a name, in which the contents of files wait until they are written."""

    def __init__(self, directory: str, limit: int) -> None:
        """``limit``: bytes that all of them may have together."""
        path = f"{directory}/spool-{os.urandom(6).hex()}"
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.unlink(path)
        self._end = 0
        self._limit = limit

    def take(self, data: bytes) -> SpoolContent:
        """Keep the content of a file."""
        offset, write = self.begin(len(data))
        write(0, memoryview(data))
        return SpoolContent(self._fd, offset, len(data))

    def begin(self, size: int) -> tuple[int, Callable[[int, memoryview], None]]:
        """Make room for a file: its offset, and what writes (position in the file, bytes) to it. Holes stay holes."""
        check_size(self._end + size, self._limit, "the archive")
        offset, self._end = self._end, self._end + size
        os.ftruncate(self._fd, self._end)

        def write(position: int, view: memoryview) -> None:
            while view:
                done = os.pwrite(self._fd, view, offset + position)
                view = view[done:]
                position += done

        return offset, write

    def content(self, offset: int, size: int) -> SpoolContent:
        """The file for which room was made."""
        return SpoolContent(self._fd, offset, size)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)


def check_size(size: int, limit: int, name: str) -> None:
    """Raise StorageError for what no layer may hold, before any of it is read."""
    if size > limit:
        raise StorageError(
            f"cannot copy {shown(name)}: it has {size} bytes, and a layer at most {limit}",
            "a file with holes counts in full",
        )


def write_item(writer: TarWriter, name: bytes, item: Item, time_ns: int, first: dict[int, bytes]) -> None:
    """Add a member; ``first`` has the names of the linked items that were written."""
    if item.linked:
        known = first.get(id(item))
        if known is not None:
            writer.add(name, HARDLINK, item.mode, item.uid, item.gid, time_ns, link=known)
            return
        first[id(item)] = name
    if item.content is not None:
        item.content.write(writer, name, item, time_ns)
        return
    writer.add(
        name, item.kind, item.mode, item.uid, item.gid, time_ns, link=item.link, device=item.device,
        xattrs=item.xattrs,
    )  # fmt: skip
