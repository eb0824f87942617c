"""Where the sources go: the rules of the destination, which are buildah's."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from rootless.build.copy.content import Item
from rootless.build.copy.view import Node, View, link_of
from rootless.errors import RootlessError
from storage.archive.tar_reader import DIRECTORY, SYMLINK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from storage.union import Entry


class Placing:
    """Puts items below one destination of a view.

    ``owner`` and ``mode`` change what is placed; ``made`` is the owner of directories that nothing describes.
    """

    def __init__(
        self,
        view: View,
        destination: str,
        *,
        is_directory: bool,
        owner: tuple[int, int] | None,
        mode: Callable[[int, bool], int] | None,
    ) -> None:
        self._view = view
        self._destination = destination
        self._is_directory = is_directory
        self._owner = owner
        self._mode = mode
        self._base: Node | None = None
        self._made_items: list[Item] = []

    def changed(self, item: Item) -> Item:
        """The item with the owner and mode that were asked for."""
        if self._owner is not None:
            item.uid, item.gid = self._owner
        if self._mode is not None and item.kind != SYMLINK:
            item.mode = self._mode(item.mode, item.kind == DIRECTORY)
        return item

    def _made(self, mtime_ns: int) -> Callable[[], Item]:
        def new() -> Item:
            item = Item(DIRECTORY, 0o755, self._owner or (0, 0), mtime_ns)
            self._made_items.append(item)
            return item

        return new

    def has_made(self, node: Node) -> bool:
        """Whether a directory is one that nothing describes."""
        return any(item is node.item for item in self._made_items)

    def base(self, mtime_ns: int) -> Node:
        """The destination as a directory, made if it is missing. Raises RootlessError if it is something else."""
        if self._base is None:
            self._base = self._directory(self._destination, mtime_ns)
        return self._base

    def _directory(self, path: str, mtime_ns: int) -> Node:
        try:
            return self._view.directory(path, new=self._made(mtime_ns))
        except NotADirectoryError:
            raise self._no_directory() from None
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise RootlessError(f"the destination /{self._destination} leads through too many links") from None

    def _no_directory(self) -> RootlessError:
        return RootlessError(f"the destination /{self._destination} is, or is below, something that is not a directory")

    def file(self, name: str, item: Item, *, alone: bool) -> None:
        """Place something that is no directory; ``alone``: it is the only source, and the destination may be its name.
        """
        self.changed(item)
        node = None
        if alone and not self._is_directory:
            node, name = self._target(name, item.mtime_ns)
        if node is None:
            node = self.base(item.mtime_ns)
        self._view.put(node, name, item)
        self._view.tidy()

    def _target(self, name: str, mtime_ns: int) -> tuple[Node | None, str]:
        """The directory and name for a file whose destination is not written as a directory; None: it is one."""
        head, _, base = self._destination.rpartition("/")
        if not base:
            return None, name
        parent = self._directory(head, mtime_ns)
        found = self._view.look(parent, base)
        if found is None:
            return parent, base
        if link_of(found) is None:
            return (None, name) if _is_directory(found) else (parent, base)
        end = self._end()
        # A link to a file is replaced; one to nothing gets the directory that it names.
        return (None, name) if end is None or _is_directory(end) else (parent, base)

    def _end(self) -> Node | Entry | None:
        try:
            return self._view.end(self._destination)[2]
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            raise self._no_directory() from None

    def tree(self, members: Iterable[tuple[str, Item]], mtime_ns: int, below: Node | None = None) -> None:
        """Place what is in a directory: (path in it, item), a directory before what is in it."""
        base = below or self.base(mtime_ns)
        nodes: dict[str, Node] = {"": base}
        for path, item in members:
            head, _, name = path.rpartition("/")
            node = self._view.put(nodes[head], name, self.changed(item))
            if item.kind == DIRECTORY:
                nodes[path] = node
        self._view.tidy()

    def parents(self, above: Iterable[tuple[str, Item]], mtime_ns: int) -> Node:
        """The directories of ``--parents`` below the destination: (name, item) each."""
        node = self.base(mtime_ns)
        for name, item in above:
            node = self._view.put(node, name, self.changed(item))
        return node



def _is_directory(found: Node | Entry) -> bool:
    return found.children is not None if isinstance(found, Node) else found.is_directory


