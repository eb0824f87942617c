"""A stack of directories read as the one tree that an overlay file system makes of it, without mounting anything.

Used where a mount would cost more than the work (the changes of one container), where it is not possible (whoever lacks
an overlay file system), or where it would be wrong: a container that runs has its own. What a tree's marks mean depends
on who could have made them: a plain directory has none, whatever a container wrote into its attributes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable

from storage import ownership, remembered
from storage.archive.xattrs import OPAQUE, Shift
from storage.errors import StorageError
from storage.treecopy import unshifted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.ownership import TrueEntry

DEEPEST = 800
"""Directories inside one another; each costs a frame and a descriptor in each tree."""

PLAIN, OVERLAY, FUSE = "plain", "overlay", "fuse"

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FUSE_WHITEOUT = ".wh."  # what fuse-overlayfs hides: a container cannot make such names
_FUSE_OPAQUE_FILE = ".wh..wh..opq"
_OPAQUE_MARKS = {PLAIN: (), OVERLAY: (OPAQUE,), FUSE: (OPAQUE, "user.fuseoverlayfs.opaque", "trusted.overlay.opaque")}


class Tree:
    """One directory of a stack.

    ``marks`` says what hides entries of the trees below: nothing (``PLAIN``), character devices 0:0 and the attribute
    of the kernel's overlay (``OVERLAY``), or those and the files of fuse-overlayfs (``FUSE``). ``shift`` turns the ids
    of its files into those of the container; ``owners`` is the sidecar with what could not be made real. ``given``: the
    sidecar of a container with a single id, whose files may have attributes with their owners (`storage.remembered`).
    """

    __slots__ = ("_given", "_inodes", "_owners", "_sidecar", "marks", "path", "shift")

    def __init__(
        self, path: str, marks: str = OVERLAY, *, shift: Shift = unshifted, owners: str = "", given: str = ""
    ) -> None:
        self.path = path
        self.marks = marks
        self.shift = shift
        self._sidecar = owners
        self._owners: dict[str, TrueEntry] | None = None
        self._given = given
        self._inodes: dict[tuple[int, int], tuple[int, int]] | None = None

    def truth(self, path: str) -> TrueEntry | None:
        """What the entry ``path`` truly is, if that could not be made real. Raises ``DamagedError``."""
        if self._owners is None:
            self._owners = ownership.load(self._sidecar) if self._sidecar else {}
        return self._owners.get(path)

    def given(self, entry: Entry) -> tuple[int, int] | None:
        """The owner that the container has given to an entry, where that is only remembered. Raises OSError.

        An id that it has not given is `remembered.UNCHANGED`.
        """
        if not self._given:
            return None
        if self._inodes is None:
            self._inodes = remembered.load(self._given)
        if stat.S_ISREG(entry.status.st_mode) or entry.is_directory:
            try:
                value = os.getxattr(entry.reference, remembered.ATTRIBUTE, follow_symlinks=False)
                return remembered.decode(value)
            except OSError:
                pass  # none, or no attributes here
        return self._inodes.get((entry.status.st_ino, stat.S_IFMT(entry.status.st_mode)))


class Entry:
    """A name in a directory of the stack; of a directory ``below`` has the parts under it that show through."""

    __slots__ = ("below", "directory", "name", "path", "status", "tree")

    def __init__(self, tree: Tree, directory: int, name: str, path: str, status: os.stat_result) -> None:
        self.tree = tree
        self.directory = directory
        self.name = name
        self.path = path
        self.status = status
        self.below: list[tuple[Tree, int]] = []

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def reference(self) -> str:
        """A path of the entry itself, for calls that take no descriptor; valid while its directory is open."""
        return f"/proc/self/fd/{self.directory}/{self.name}"

    def owner(self) -> tuple[int, int]:
        """(user, group) as the container has them."""
        return self.tree.shift(self.status.st_uid, self.status.st_gid)[:2]

    def true_owner(self) -> tuple[int, int]:
        """(user, group) as its layer says, though the user's ids may not suffice to make it real."""
        truth = self.tree.truth(self.path)
        return (truth["uid"], truth["gid"]) if truth is not None else self.owner()


class Level:
    """One directory of the stack, open in each tree that has it, topmost first."""

    __slots__ = ("hidden", "opaque", "parts", "path")

    def __init__(self, parts: list[tuple[Tree, int]], path: str, opaque: bool = False) -> None:
        self.parts = parts
        self.path = path
        self.opaque = opaque  # the topmost part hides all that is below it
        self.hidden: set[str] = set()

    def __enter__(self) -> Level:
        return self

    def __exit__(self, *_: object) -> None:
        for _tree, fd in self.parts:
            os.close(fd)

    def entries(self) -> dict[str, Entry]:
        """What is in it by name; afterwards ``hidden`` has the names that it hides from what lies below the stack."""
        found: dict[str, Entry] = {}
        hidden = self.hidden = set()
        prefix = f"{self.path}/" if self.path else ""
        for tree, fd in self.parts:
            here: set[str] = set()
            with os.scandir(fd) as items:
                for item in items:
                    name = item.name
                    if name in hidden:
                        continue
                    if tree.marks == FUSE and name.startswith(_FUSE_WHITEOUT):
                        here.add(name[len(_FUSE_WHITEOUT):])
                        continue
                    try:
                        status = item.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue  # of a running container
                    if tree.marks != PLAIN and _is_whiteout(status):
                        here.add(name)
                        continue
                    known = found.get(name)
                    if known is None:
                        found[name] = Entry(tree, fd, name, prefix + name, status)
                    elif known.is_directory and stat.S_ISDIR(status.st_mode):
                        known.below.append((tree, fd))
                    else:
                        here.add(name)
            hidden |= here
        return found

    def find(self, name: str) -> Entry | None:
        """The one entry of that name, without a look at the others; None if there is none. Raises OSError."""
        found: Entry | None = None
        for tree, fd in self.parts:
            hides = tree.marks == FUSE and _exists(fd, _FUSE_WHITEOUT + name)
            if tree.marks == FUSE and name.startswith(_FUSE_WHITEOUT):
                continue
            try:
                status = os.lstat(name, dir_fd=fd)
            except FileNotFoundError:
                if hides:
                    break
                continue
            if tree.marks != PLAIN and _is_whiteout(status):
                break
            if found is None:
                found = Entry(tree, fd, name, f"{self.path}/{name}" if self.path else name, status)
            elif stat.S_ISDIR(status.st_mode):
                found.below.append((tree, fd))
            else:
                break
            if hides or not found.is_directory:
                break
        return found

    def descend(self, entry: Entry) -> Level:
        """Open a directory among ``entries``. Raises OSError if it is none any more."""
        parts: list[tuple[Tree, int]] = []
        opaque = False
        try:
            for tree, parent in ((entry.tree, entry.directory), *entry.below):
                fd = os.open(entry.name, _OPEN, dir_fd=parent)
                parts.append((tree, fd))
                if is_opaque(tree, fd):
                    opaque = len(parts) == 1
                    break
        except BaseException:
            for _tree, fd in parts:
                os.close(fd)
            raise
        return Level(parts, entry.path, opaque)


def _is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(tree: Tree, fd: int) -> bool:
    """Whether the open directory of ``tree`` hides what lower trees have in its place."""
    for name in _OPAQUE_MARKS[tree.marks]:
        try:
            if os.getxattr(fd, name) == b"y":
                return True
        except OSError:  # not set, or no attributes here
            continue
    return tree.marks == FUSE and _exists(fd, _FUSE_OPAQUE_FILE)


def _exists(fd: int, name: str) -> bool:
    try:
        os.lstat(name, dir_fd=fd)
    except OSError:
        return False
    return True


def top(trees: Iterable[Tree]) -> Level:
    """The root of a stack, topmost tree first. Raises OSError."""
    parts: list[tuple[Tree, int]] = []
    opaque = False
    try:
        for tree in trees:
            parts.append((tree, os.open(tree.path, _OPEN)))
            if is_opaque(tree, parts[-1][1]):
                opaque = len(parts) == 1
                break
    except BaseException:
        for _tree, fd in parts:
            os.close(fd)
        raise
    return Level(parts, "", opaque)


def walk(level: Level, visit: Callable[[Entry], None], depth: int = 0) -> None:
    """Call ``visit`` with every entry of the tree below ``level``, a directory before what is in it, names in order.

    What vanishes meanwhile (the container runs) is left out. Raises OSError, ``StorageError`` for a tree too deep.
    """
    if depth > DEEPEST:
        raise StorageError(f"cannot read directories deeper than {DEEPEST}")
    entries = level.entries()
    for name in sorted(entries):
        entry = entries[name]
        if not entry.is_directory:
            visit(entry)
            continue
        try:
            following = level.descend(entry)
        except (FileNotFoundError, NotADirectoryError):
            continue
        with following:
            visit(entry)
            walk(following, visit, depth + 1)
