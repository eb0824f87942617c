"""ADD of an archive: what it holds, placed below the destination as an extraction there would.

The destination is the root for the archive's paths and links: an absolute link leads to the destination, and no ``..``
out of it. Owners and modes are the archive's own. Nothing is written anywhere but into one temporary file.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rootless.build.copy.content import Item, check_size
from rootless.build.copy.view import DEEPEST, Node
from storage.archive import tar_reader as tar
from storage.archive.limits import Limits
from storage.archive.stream import LayerStream, decoded
from storage.archive.tree import components
from storage.archive.xattrs import sort_out
from storage.errors import StorageError, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.build.copy.content import Spool
    from rootless.build.copy.view import View



def is_archive(fd: int) -> bool:
    """Whether a file is a tar archive, compressed or not, by what it begins with. The file is read from its start."""
    os.lseek(fd, 0, os.SEEK_SET)
    try:
        with open(fd, "rb", buffering=0, closefd=False) as file:
            return next(iter(tar.TarReader(decoded(file), Limits())), None) is not None
    except StorageError:
        return False
    finally:
        os.lseek(fd, 0, os.SEEK_SET)


class Unpacking:
    """One archive on its way into a view."""

    def __init__(self, view: View, base: Node, spool: Spool, limits: Limits, owner: tuple[int, int]) -> None:
        """``owner``: of directories that the archive does not describe."""
        self._view = view
        self._base = base
        self._spool = spool
        self._limits = limits
        self._owner = owner
        self._parents: dict[bytes, Node] = {}

    def unpack(self, fd: int) -> None:
        """Place every member. Raises StorageError for an archive that is broken, hostile or too large."""
        with open(fd, "rb", buffering=0, closefd=False) as file:
            stream = LayerStream(file, self._limits)
            try:
                reader = tar.TarReader(stream, self._limits)
                for entry in reader:
                    self._add(entry, reader)
            finally:
                stream.close()

    def _add(self, entry: tar.Entry, reader: tar.TarReader) -> None:
        names = components(entry.name)
        if not names:
            if entry.kind != tar.DIRECTORY:
                raise StorageError("the archive replaces its root by something other than a directory")
            self._base.item, self._base.own = self._item(entry), True
            return
        if len(names) > DEEPEST or sum(map(len, names)) + len(names) > self._limits.path_bytes:
            raise StorageError(f"the archive has a path that is too long: {_shown(entry.name)}")
        head, name = b"/".join(names[:-1]), os.fsdecode(names[-1])
        try:
            node = self._parent(head, entry.mtime_ns)
            if entry.kind == tar.HARDLINK:
                self._link(node, name, entry)
                return
        except NotADirectoryError:
            why = "something on its path is not a directory"
            raise StorageError(f"cannot unpack {_shown(entry.name)}: {why}") from None
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise StorageError(f"cannot unpack {_shown(entry.name)}: {reason}") from None
        item = self._item(entry)
        if entry.kind == tar.REGULAR:
            self._content(item, entry, reader)
        assert node.children is not None
        if entry.kind != tar.DIRECTORY and (name in node.children or self._view.level(node) is not None):
            self._parents.clear()  # a path may have led through what is replaced
        self._view.put(node, name, item)

    def _parent(self, head: bytes, mtime_ns: int) -> Node:
        found = self._parents.get(head)
        if found is None:
            self._view.tidy()
            found = self._view.directory(os.fsdecode(head), self._base, self._new(mtime_ns))
            self._parents[head] = found
        return found

    def _new(self, mtime_ns: int) -> Callable[[], Item]:
        return lambda: Item(tar.DIRECTORY, 0o755, self._owner, mtime_ns)

    @staticmethod
    def _item(entry: tar.Entry) -> Item:
        extra: dict[bytes, bytes] = {}
        if entry.xattrs:
            real, recorded = sort_out(entry.xattrs)
            extra = {**recorded, **real}
        return Item(
            entry.kind, entry.mode, (entry.uid, entry.gid), entry.mtime_ns, link=entry.linkname, device=entry.device,
            xattrs=extra,
        )  # fmt: skip

    def _content(self, item: Item, entry: tar.Entry, reader: tar.TarReader) -> None:
        check_size(entry.size, self._limits.bytes, os.fsdecode(entry.name))
        offset, write = self._spool.begin(entry.size)
        item.content = self._spool.content(offset, entry.size)
        if entry.sparse is None:
            position = 0
            for view in reader.data():
                write(position, view)
                position += len(view)
            return
        segments = iter(entry.sparse)
        start = left = 0
        for view in reader.data():
            while view:
                if not left:
                    start, left = next(segments)
                part = view[:left]
                write(start, part)
                start, left = start + len(part), left - len(part)
                view = view[len(part) :]

    def _link(self, node: Node, name: str, entry: tar.Entry) -> None:
        """A further name of a file that the archive has, or the layers have."""
        missing = StorageError(f"cannot unpack {_shown(entry.name)}: it is a hard link to a file that is not there")
        names = components(entry.linkname)
        if not names:
            raise missing
        try:
            above, base, found = self._view.find(os.fsdecode(b"/".join(names)), self._base)
        except (FileNotFoundError, NotADirectoryError):
            raise missing from None
        if not isinstance(found, Node):
            raise missing
        if found.children is not None:
            raise missing
        if above is node and base == name:
            return
        found.item.linked = True
        self._view.put(node, name, found.item)


def _shown(name: bytes) -> str:
    return shown(os.fsdecode(name))
