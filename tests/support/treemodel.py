"""What a layer's archive describes, as a tree in memory: symlinks resolve inside it, as for a process whose root it is.

Written after the image specification (layer.md) and what other tools do, not after the unpacker, with which it is
compared.
"""

from __future__ import annotations

from tests.support.layers import Item

Description = dict[str, tuple[object, ...]]
"""Path → what is there: ``("dir", mode, uid, gid, opaque)``, ``("hidden",)``, ``("->", target, …)``, …"""

_MOST_LINKS = 40
_NOBODY = 65534


class Refused(Exception):
    """An image must not have this."""


class Directory:
    """``implied``: no entry describes it. ``opaque``: nothing of a lower layer shows through."""

    __slots__ = ("children", "gid", "implied", "mode", "opaque", "uid")

    def __init__(self) -> None:
        self.children: dict[str, Directory | Leaf | None] = {}
        self.mode, self.uid, self.gid = 0o755, 0, 0
        self.opaque = False
        self.implied = True


class Leaf:
    """Anything else; hard links share one. A name without a leaf (None) hides what a lower layer has there."""

    __slots__ = ("gid", "kind", "mode", "mtime", "names", "note", "text", "uid")

    def __init__(self, item: Item, ids: int) -> None:
        # A device is an empty file. Who has no place for an owner gives no file his powers.
        self.kind = {b"2": "->", b"6": "fifo"}.get(item.kind, "file")
        self.text = item.text if item.kind in (b"0", b"2") else ""
        self.uid, self.gid, self.mode = owned(item, ids)
        self.mtime = item.mtime
        self.note = item.xattrs.get("user.note", b"") if item.kind == b"0" else b""
        self.names = 0


def owned(item: Item, ids: int) -> tuple[int, int, int]:
    """Owner, group and mode of an entry where the ids below ``ids`` exist."""
    nobody = _NOBODY if ids > _NOBODY else 0
    mode = item.mode
    if item.kind != b"5":
        mode &= ~((item.uid >= ids) << 11 | (item.gid >= ids) << 10)
    return item.uid if item.uid < ids else nobody, item.gid if item.gid < ids else nobody, mode


class Model:
    """The tree that the entries given to ``add`` make, where the user and group ids below ``ids`` exist."""

    def __init__(self, ids: int) -> None:
        self.root = Directory()
        self._ids = ids

    def _directory(self, names: list[str], create: bool) -> Directory:
        """Resolve a directory, making what is missing."""
        path = [self.root]
        todo = names[::-1]
        links = 0
        while todo:
            name = todo.pop()
            if name in ("", "."):
                continue
            if name == "..":
                path = path[:-1] or path
                continue
            here = path[-1]
            node = here.children.get(name)
            if isinstance(node, Directory):
                path.append(node)
            elif isinstance(node, Leaf) and node.kind == "->":
                links += 1
                if links > _MOST_LINKS:
                    raise Refused
                if node.text.startswith("/"):
                    path = path[:1]
                todo += node.text.split("/")[::-1]
            elif create and node is None:
                made = Directory()
                made.opaque = name in here.children
                here.children[name] = made
                path.append(made)
            else:
                raise Refused
        return path[-1]

    def add(self, item: Item) -> None:
        """One entry of the archive. Raises Refused."""
        names = _names(item.name)
        if item.kind == b"0" and item.name.endswith("/"):
            raise Refused
        if not names:
            if item.kind != b"5":
                raise Refused
            self._describe(self.root, item)
            return
        if any(name.startswith(".wh.") for name in names):
            self._whiteout(names)
            return
        base = names[-1]
        here = self._directory(names[:-1], True)
        old = here.children.get(base)
        if item.kind == b"5":
            if not isinstance(old, Directory):
                replaced = base in here.children
                old = Directory()
                old.opaque = replaced
                self._put(here, base, old)
            self._describe(old, item)
        elif item.kind == b"1":
            self._link(here, base, item.text)
        else:
            if item.kind == b"2" and not item.text:
                raise Refused
            self._put(here, base, Leaf(item, self._ids))

    def _describe(self, directory: Directory, item: Item) -> None:
        directory.uid, directory.gid, directory.mode = owned(item, self._ids)
        directory.implied = False

    def _put(self, here: Directory, base: str, node: Directory | Leaf) -> None:
        if base in here.children:
            _forget(here.children[base])
        here.children[base] = node
        if isinstance(node, Leaf):
            node.names += 1

    def _whiteout(self, names: list[str]) -> None:
        *above, base = names
        for name in above:
            if name.startswith(".wh..wh."):
                return
            if name.startswith(".wh."):
                raise Refused
        if base.startswith(".wh..wh.") and base != ".wh..wh..opq":
            return
        here = self._directory(above, True)
        target = base[4:]
        if base == ".wh..wh..opq":
            here.opaque = True
        elif target in ("", ".", ".."):
            raise Refused
        else:
            here.children.setdefault(target, None)
            node = here.children[target]
            if isinstance(node, Directory):
                node.opaque = True  # the layer's own stay

    def _link(self, here: Directory, base: str, target: str) -> None:
        names = _names(target)
        if not names:
            raise Refused
        source = self._directory(names[:-1], False)
        node = source.children.get(names[-1])
        if not isinstance(node, Leaf):
            raise Refused
        old = here.children.get(base)
        if isinstance(old, Directory) and _contains(old, source):
            raise Refused  # the target goes with what makes room for the link
        if old is not node:
            self._put(here, base, node)

    def describe(self, owners: bool) -> Description:
        """As :func:`tests.support.treeseen.describe` describes a real tree; ``owners``: with user and group ids."""
        found: Description = {}

        def walk(directory: Directory, prefix: str, hidden: bool) -> None:
            ids = (directory.uid, directory.gid) if owners and not directory.implied else ()
            mode = directory.mode & 0o777 if directory.implied else directory.mode
            found[prefix or "/"] = ("dir", mode, ids, directory.opaque and not hidden, directory.implied)
            hidden = hidden or directory.opaque
            for name, node in directory.children.items():
                path = f"{prefix}/{name}"
                if isinstance(node, Directory):
                    walk(node, path, hidden)
                elif node is not None:
                    ids = (node.uid, node.gid) if owners else ()
                    mode = 0o777 if node.kind == "->" else node.mode
                    note = node.note if owners else b""
                    found[path] = (node.kind, node.text, mode, ids, node.mtime, node.names, note)
                elif not hidden:
                    found[path] = ("hidden",)

        walk(self.root, "", False)
        return found


def _names(path: str) -> list[str]:
    names = [name for name in path.split("/") if name not in ("", ".")]
    if ".." in names:
        raise Refused
    return names


def _forget(node: Directory | Leaf | None) -> None:
    """A name of each leaf of the tree is gone."""
    if isinstance(node, Leaf):
        node.names -= 1
    elif node is not None:
        for child in node.children.values():
            _forget(child)


def _contains(tree: Directory, wanted: Directory) -> bool:
    return tree is wanted or any(
        isinstance(node, Directory) and _contains(node, wanted) for node in tree.children.values()
    )
