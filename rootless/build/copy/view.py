"""A root file system that is about to change: the merged tree of layers, and over it what a step puts there.

Nothing is mounted. Links are followed as a process inside would, so that none leads out; a directory of the layers is
opened in each of them when something in it is asked for, and only names that are asked for are looked up.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from rootless.build.copy.content import Item, Reader
from rootless.engine.containers import stack as stacks
from storage import union
from storage.archive.tar_reader import DIRECTORY, SYMLINK
from storage.errors import StorageError, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rootless.engine.containers.stack import Stack
    from storage.union import Entry, Level

DEEPEST = 250
"""Directories inside one another, fewer than a layer may have."""

_MOST_LINKS = 40  # as the kernel: path_resolution(7)
_OPEN_LEVELS = 128
_WHITEOUT = ".wh."


class Node:
    """A directory of the view, or something that a step put there.

    ``item`` is what it is; ``own``: the step has put it there, else it is a directory of the layers. ``hides``: nothing
    of the layers shows below it. ``silent``: it is not written. ``children`` are the known ones,
    None for what is no directory.
    """

    __slots__ = ("children", "hides", "item", "level", "name", "opaque", "own", "parent", "silent")

    def __init__(self, parent: Node | None, name: str, item: Item, *, own: bool) -> None:
        self.parent = parent
        self.name = name
        self.item = item
        self.own = own
        self.hides = False
        self.opaque = False
        self.silent = False
        self.children: dict[str, Node] | None = {} if item.kind == DIRECTORY else None
        self.level: Level | None = None

    @property
    def path(self) -> str:
        """The path from the root, without a slash at either end."""
        names = []
        node: Node | None = self
        while node is not None and node.parent is not None:
            names.append(node.name)
            node = node.parent
        return "/".join(reversed(names))


Found = "Node | Entry | None"


class View:
    """The view of a stack of layers (None: an empty root)."""

    def __init__(self, stack: Stack | None, *, bare: bool = False) -> None:
        self.stack = stack
        self.reader = Reader(bare=bare)
        self.odd: list[str] = []
        """Paths that no layer can hold, as their names mean deletions."""
        self.root = Node(None, "", Item(DIRECTORY, 0o755, (0, 0), 0), own=False)
        self.root.hides = stack is None or not stack.trees
        self._levels: list[Node] = []

    def __enter__(self) -> View:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of all descriptors."""
        self._forget()
        self.reader.close()

    def _forget(self) -> None:
        for node in self._levels:
            if node.level is not None:
                node.level.__exit__()
                node.level = None
        self._levels.clear()

    # What is there.

    def tidy(self) -> None:
        """Close directories of the layers when many are open; whoever still uses one must not call this."""
        if len(self._levels) > _OPEN_LEVELS:
            self._forget()

    def level(self, node: Node) -> Level | None:
        """What the layers have in the place of a directory; None for nothing."""
        if node.hides:
            return None
        if node.level is None:
            if node.parent is None:
                assert self.stack is not None
                node.level = union.top(self.stack.trees)
                if not node.own:
                    status = os.fstat(node.level.parts[0][1])
                    node.item.mode, node.item.mtime_ns = stat.S_IMODE(status.st_mode), status.st_mtime_ns
            else:
                above = self.level(node.parent)
                entry = above.find(node.name) if above is not None else None
                if above is None or entry is None or not entry.is_directory:
                    node.hides = True
                    return None
                node.level = above.descend(entry)
            self._levels.append(node)
        return node.level

    def look(self, node: Node, name: str) -> Node | Entry | None:
        """What has a name in a directory: what a step put there, else what the layers have."""
        assert node.children is not None
        known = node.children.get(name)
        if known is not None:
            return known
        level = self.level(node)
        return level.find(name) if level is not None else None

    def enter(self, node: Node, name: str, entry: Entry) -> Node:
        """The node of a directory of the layers."""
        assert node.children is not None
        child = node.children[name] = Node(node, name, self.item(entry), own=False)
        return child

    def item(self, entry: Entry) -> Item:
        """What a directory of the layers is."""
        assert self.stack is not None
        truth = stacks.true_entry(self.stack, entry)
        owner, mode = entry.owner(), stat.S_IMODE(entry.status.st_mode)
        extra = self.reader.attributes(entry.reference)
        if truth is not None:
            owner, mode = (truth["uid"], truth["gid"]), truth["mode"]
        return Item(DIRECTORY, mode, owner, entry.status.st_mtime_ns, xattrs=extra)

    def directory(self, path: str, base: Node | None = None, new: Callable[[], Item] | None = None) -> Node:
        """Follow ``path`` to a directory. ``base`` is where ``/`` is, and ``..`` ends; the root if it is None.

        What is missing is made with ``new``, the target of a dangling link too. Raises FileNotFoundError without it,
        NotADirectoryError for something else on the way, OSError (ELOOP), StorageError for a path too deep.
        """
        top = base or self.root
        node, depth = top, 0
        waiting = path.split("/")[::-1]
        links = 0
        while waiting:
            name = waiting.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if node is not top and node.parent is not None:
                    node = node.parent
                continue
            found = self.look(node, name)
            if found is None:
                if new is None:
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
                node = self.put(node, name, new())
            elif isinstance(found, Node):
                if found.children is not None:
                    node = found
                elif found.item.kind == SYMLINK:
                    links = self._link(links, path)
                    node = self._follow(node, top, os.fsdecode(found.item.link), waiting)
                else:
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            elif found.is_directory:
                node = self.enter(node, name, found)
            elif stat.S_ISLNK(found.status.st_mode):
                links = self._link(links, path)
                node = self._follow(node, top, os.readlink(found.name, dir_fd=found.directory), waiting)
            else:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            depth += 1
            if depth > DEEPEST * _MOST_LINKS or len(waiting) > 1 << 16:
                raise StorageError(f"cannot follow {shown(path)}: it is too deep")
        return node

    @staticmethod
    def _link(links: int, path: str) -> int:
        if links >= _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        return links + 1

    @staticmethod
    def _follow(node: Node, top: Node, target: str, waiting: list[str]) -> Node:
        waiting += target.split("/")[::-1]
        return top if target.startswith("/") else node

    def find(self, path: str, base: Node | None = None) -> tuple[Node, str, Node | Entry | None]:
        """Follow all of ``path`` but a link at its end: the directory, the name, and what is there.

        The name is '' where the path is the root itself. Raises as `directory` does.
        """
        names = [name for name in path.split("/") if name not in ("", ".")]
        if not names or names[-1] == "..":
            node = self.directory(path, base)
            return node, "", node
        node = self.directory("/".join(names[:-1]), base)
        return node, names[-1], self.look(node, names[-1])

    def end(self, path: str, base: Node | None = None) -> tuple[Node, str, Node | Entry | None]:
        """The same with links at the end followed too. Raises as `directory` does."""
        top = base or self.root
        node, name, found = self.find(path, top)
        for _ in range(_MOST_LINKS):
            target = link_of(found)
            if target is None:
                return node, name, found
            if not target.startswith("/"):
                top_of = node
                path = "/".join([*_names_between(top, top_of), target])
            else:
                path = target
            node, name, found = self.find(path, top)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)

    def read(self, path: str, limit: int) -> bytes:
        """The first bytes of a regular file of the layers, links followed; empty where there is none."""
        try:
            _, _, found = self.end(path)
        except (OSError, StorageError):
            return b""
        if found is None or isinstance(found, Node) or not stat.S_ISREG(found.status.st_mode):
            return b""
        fd = self.reader.open(found.tree, found.path)
        with open(fd, "rb") as file:
            return file.read(limit)

    # What is put there.

    def put(self, node: Node, name: str, item: Item) -> Node:
        """Put ``item`` in a directory, in the place of what was there; a directory keeps what it has.

        What has the name of a mark of deletion is noted in ``odd``, and it and what is put below it vanish.
        """
        assert node.children is not None
        child = Node(node, name, item, own=True)
        if name.startswith(_WHITEOUT):
            self.odd.append(child.path)
            child.hides = True
            return child
        known = node.children.get(name)
        if known is not None and item.kind == DIRECTORY:
            if known.children is not None:
                known.item, known.own = item, True
                return known
            level = self.level(node)
            entry = level.find(name) if level is not None else None
            child.hides = True
            child.opaque = entry is not None and entry.is_directory
        if known is not None and known.level is not None:
            self._forget()
        node.children[name] = child
        return child

    def nodes(self) -> Iterator[tuple[str, Node]]:
        """What a step has put there with the directories above it, a directory before what is in it, names in order."""
        stack: list[tuple[str, Node]] = [("", self.root)]
        wanted = _wanted(self.root)
        while stack:
            path, node = stack.pop()
            if node is not self.root or node.own:
                yield path, node
            if node.children:
                prefix = f"{path}/" if path else ""
                stack += [(prefix + name, node.children[name]) for name in sorted(node.children, reverse=True)
                          if id(node.children[name]) in wanted]  # fmt: skip


def _wanted(root: Node) -> set[int]:
    """The nodes that are put there, or have such a one below them."""
    found: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node.own:
            above: Node | None = node
            while above is not None and id(above) not in found:
                found.add(id(above))
                above = above.parent
        if node.children:
            waiting += node.children.values()
    return found


def _names_between(top: Node, node: Node) -> list[str]:
    names = []
    above: Node | None = node
    while above is not None and above is not top:
        names.append(above.name)
        above = above.parent
    return names[::-1]


def link_of(found: Node | Entry | None) -> str | None:
    """Where a link leads; None if it is none."""
    if found is None:
        return None
    if isinstance(found, Node):
        return os.fsdecode(found.item.link) if found.item.kind == SYMLINK else None
    if not stat.S_ISLNK(found.status.st_mode):
        return None
    return os.readlink(found.name, dir_fd=found.directory)
