"""What a command does to a directory, recorded; and what a power cut may leave of it.

The recorder is strace, run by root (so that set-id helpers work) around a command of an ordinary user, with the data of
every write. The log is a list of steps on inodes: a name appears, goes or moves in a directory; data are written to a
file; something is synced.

The model of a cut after step ``k``, which allows all that ext4, xfs and btrfs do, and more:

- ``syncfs`` and ``sync`` make all steps before them durable; ``fsync`` and ``fdatasync`` of a file its data, ``fsync``
  of a directory the names in it. A name is not made durable by an fsync of its file (ext4, xfs and btrfs do that, POSIX
  does not promise it).
- Of the steps before ``k`` that are not durable any may be lost: all after a moment, as with a journal, or each for
  itself, so that names are reordered, and a rename may be there though data from before it are lost. A rename is there
  as a whole or not at all, and what is gone from its last place is in none before it.
- Data that are not durable are there, lost, cut off anywhere, or zeros of the right length.
"""

from __future__ import annotations

import os
import random
import re
import stat
from pathlib import Path
from typing import NamedTuple

CALLS = (
    "openat", "openat2", "open", "creat", "write", "writev", "pwrite64", "copy_file_range", "sendfile", "ftruncate",
    "truncate", "fallocate", "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink",
    "unlinkat", "rmdir", "mkdir", "mkdirat", "mknod", "mknodat", "fsync", "fdatasync", "syncfs", "sync",
)  # fmt: skip
FOREIGN = ("upper", "work", "merged")
"""Directories of a container in which the kernel writes for its processes: what is in them is theirs."""

_LINE = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\d+)(?:<([^>]*)>)?", re.DOTALL)
_CUT = re.compile(r"^(\d+) +(\w+)\((.*) <unfinished \.\.\.>$", re.DOTALL)
_RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)$", re.DOTALL)
_ARGUMENT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(?:\.\.\.)?|(?:AT_FDCWD|\d+)<((?:\\x[0-9a-f]{2})*)>(\(deleted\))?')


def tracer(log: Path) -> list[str]:
    """The words before a command that record it."""
    return ["strace", "-f", "-y", "-xx", "-s", "8000000", "-o", str(log), "-e", f"trace={','.join(CALLS)}"]


class Step(NamedTuple):
    """One step. ``add``, ``remove`` and ``move`` of a name (``place``: directory and name), ``data`` of a file (its
    whole content then), ``sync`` of an inode, or of all (``inode`` 0)."""

    kind: str
    inode: int
    place: tuple[int, str] = (0, "")
    old: tuple[int, str] = (0, "")
    data: bytes = b""


class Inode:
    """What an inode is: its type, and what it was given last of mode and time."""

    def __init__(self, kind: str, mode: int = 0o600, mtime: int = 0, target: str = "") -> None:
        self.kind = kind
        self.mode = mode
        self.mtime = mtime
        self.target = target


class Tree(NamedTuple):
    """Names and contents: what a file system looks like."""

    names: dict[tuple[int, str], int]
    contents: dict[int, bytes]


ROOT = 1


class Log:
    """The steps of one command below ``top``, and the tree before it. Files belong to one owner."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.inodes: dict[int, Inode] = {ROOT: Inode("d", 0o700)}
        self.steps: list[Step] = []
        self.names: dict[tuple[int, str], int] = {}
        self.contents: dict[int, bytes] = {}
        self._scan(top, ROOT, {})
        self.before = Tree(dict(self.names), dict(self.contents))

    def _scan(self, path: Path, inode: int, known: dict[int, int]) -> None:
        for entry in sorted(path.iterdir()):
            status = entry.lstat()
            number = known.get(status.st_ino)
            if number is None:
                number = known[status.st_ino] = self._new(status, entry)
            self.names[inode, entry.name] = number
            if stat.S_ISDIR(status.st_mode) and not _is_foreign(self.top, entry):
                self._scan(entry, number, known)

    def _new(self, status: os.stat_result, path: Path) -> int:
        kind = "d" if stat.S_ISDIR(status.st_mode) else "l" if stat.S_ISLNK(status.st_mode) else "f"
        target = os.readlink(path) if kind == "l" else ""
        number = self._add(Inode(kind, stat.S_IMODE(status.st_mode), status.st_mtime_ns, target))
        if kind == "f":
            self.contents[number] = path.read_bytes()
        return number

    def _add(self, inode: Inode) -> int:
        number = len(self.inodes) + 1
        self.inodes[number] = inode
        return number

    # Reading the trace.

    def read(self, trace: Path) -> None:
        """Take the steps from what strace wrote, then modes and times from the tree as it is now."""
        cut: dict[str, str] = {}
        with trace.open(errors="surrogateescape") as lines:
            for raw in lines:
                line = raw.rstrip("\n")
                if found := _CUT.match(line):
                    cut[found[1]] = f"{found[1]} {found[2]}({found[3]}"
                    continue
                if found := _RESUMED.match(line):
                    line = cut.pop(found[1], "") + found[3]
                if (found := _LINE.match(line)) and int(found[4]) >= 0:
                    self._call(found[2], found[3], int(found[4]), found[5] or "")
        for (parent, name), number in self.names.items():
            path = self.path(parent) / name
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue
            self.inodes[number].mode, self.inodes[number].mtime = stat.S_IMODE(status.st_mode), status.st_mtime_ns

    def path(self, number: int) -> Path:
        """Where a directory is now."""
        if number == ROOT:
            return self.top
        for (parent, name), found in self.names.items():
            if found == number:
                return self.path(parent) / name
        return Path("/nonexistent")

    def _call(self, name: str, text: str, result: int, opened: str) -> None:
        strings = [_text(found[1]) for found in _ARGUMENT.finditer(text) if found[1] is not None]
        places = [_text(found[2]) for found in _ARGUMENT.finditer(text) if found[2] is not None]
        if name in ("open", "openat", "openat2", "creat"):
            path = _text(opened)
            if "O_TMPFILE" not in text and ("O_CREAT" in text or "O_TRUNC" in text or name == "creat"):
                self._open(path, truncate="O_TRUNC" in text or name == "creat")
        elif name in ("write", "writev", "pwrite64"):
            data = b"".join(_bytes(found[1]) for found in _ARGUMENT.finditer(text) if found[1] is not None)
            self._write(places, data[:result], text if name == "pwrite64" else "", deleted="(deleted)" in text)
        elif name in ("copy_file_range", "sendfile", "fallocate"):
            target = places[-1 if name == "copy_file_range" else 0] if places else ""
            if self.find(target) and not target.endswith("/reserve"):  # whose content is of no interest
                raise NotImplementedError(f"{name} is not recorded")
        elif name in ("ftruncate", "truncate"):
            number = self.find((places or strings)[0])
            size = int(text.rpartition(", ")[2])
            if number:
                content = self.contents.get(number, b"")[:size]
                self._data(number, content + bytes(size - len(content)))
        elif name in ("fsync", "fdatasync"):
            number = self.find(places[0])
            if number:
                self.steps.append(Step("sync", number))
        elif name in ("syncfs", "sync"):
            self.steps.append(Step("sync", 0))
        else:
            self._name(name, *_paths(name, strings, places), text)

    def _open(self, path: str, truncate: bool) -> None:
        number = self.find(path)
        parent, name = self._place(path)
        if not parent:
            return
        if not number:
            self._appear(self._add(Inode("f")), (parent, name))
        elif truncate and self.contents.get(number):
            self._data(number, b"")

    def _write(self, places: list[str], data: bytes, positioned: str, deleted: bool) -> None:
        number = self.find(places[0]) if places and not deleted else 0
        if not number:
            return
        content = self.contents.get(number, b"")
        at = int(positioned.rpartition(", ")[2]) if positioned else len(content)
        self._data(number, content[:at].ljust(at, b"\0") + data + content[at + len(data) :])

    def _data(self, number: int, content: bytes) -> None:
        self.contents[number] = content
        self.steps.append(Step("data", number, data=content))

    def _appear(self, number: int, place: tuple[int, str]) -> None:
        self.names[place] = number
        if self.inodes[number].kind == "f":
            self.contents.setdefault(number, b"")
        self.steps.append(Step("add", number, place))

    def _name(self, call: str, first: str, second: str, text: str) -> None:
        place = self._place(second or first)
        old = self._place(first) if second else (0, "")
        if call.startswith("rename"):
            number = self.names.get(old, 0)
            if number and place[0]:
                self.names[place] = self.names.pop(old)
                self.steps.append(Step("move", number, place, old))
            elif number:
                raise NotImplementedError("something left the directory")
        elif call.startswith("link"):
            if self.names.get(old, 0):
                raise NotImplementedError("hard links are not recorded")
        elif not place[0]:
            return
        elif call.startswith("mkdir"):
            self._appear(self._add(Inode("d", 0o700)), place)
        elif call.startswith("symlink"):
            self._appear(self._add(Inode("l", 0o777, 0, first)), place)
        elif call.startswith("mknod"):
            self._appear(self._add(Inode("f")), place)
        elif place in self.names:
            self.steps.append(Step("remove", self.names.pop(place), place))

    def find(self, path: str) -> int:
        """The inode at an absolute path; 0: none, or not below the top."""
        place = self._place(path)
        return ROOT if os.path.normpath(path) == str(self.top) else self.names.get(place, 0)

    def _place(self, path: str) -> tuple[int, str]:
        path = os.path.normpath(path)
        if not path.startswith(f"{self.top}/") or _is_foreign(self.top, Path(path).parent):
            return 0, ""
        number = ROOT
        *directories, name = path[len(str(self.top)) + 1 :].split("/")
        for directory in directories:
            number = self.names.get((number, directory), 0)
        return (number, name) if number else (0, "")

    # What a power cut leaves.

    def cut(self, dice: random.Random, moment: int | None = None) -> tuple[int, Tree]:
        """A moment (a number of steps that were done) and a tree that may be found after a cut then."""
        end = dice.randint(0, len(self.steps)) if moment is None else moment
        loss = dice.choice([0.0, 0.3, 0.7, 1.0])
        journal = dice.randint(0, end) if dice.random() < 0.5 else None
        data_loss = dice.choice([0.0, 0.5, 1.0])
        synced, everything = self._synced(end)
        tree = Tree(dict(self.before.names), dict(self.before.contents))
        durable: dict[int, bytes] = {}
        for number, step in enumerate(self.steps[:end]):
            everyway = number < everything
            if step.kind == "data":
                tree.contents[step.inode] = step.data
                if everyway or number < synced.get(step.inode, -1):
                    durable[step.inode] = step.data
            elif step.kind != "sync":
                safe = everyway or number < synced.get(step.place[0], -1)
                if safe or (dice.random() >= loss if journal is None else number < journal):
                    _apply(tree, step)
        for number, content in tree.contents.items():
            kept = durable.get(number, self.before.contents.get(number, b""))
            if content != kept and dice.random() < data_loss:
                tree.contents[number] = _damaged(dice, content, kept)
        return end, tree

    def _synced(self, end: int) -> tuple[dict[int, int], int]:
        """For each inode the last sync of it before ``end``, and the last sync of everything."""
        synced: dict[int, int] = {}
        everything = 0
        for number, step in enumerate(self.steps[:end]):
            if step.kind == "sync" and step.inode:
                synced[step.inode] = number
            elif step.kind == "sync":
                everything = number
        return synced, everything


def _apply(tree: Tree, step: Step) -> None:
    """Do one step, though some before it may not have been done."""
    if step.kind in ("move", "remove"):
        for place in [place for place, number in tree.names.items() if number == step.inode]:
            del tree.names[place]
    if step.kind != "remove":
        tree.names[step.place] = step.inode


def _damaged(dice: random.Random, content: bytes, safe: bytes) -> bytes:
    common = len(os.path.commonprefix([content, safe]))
    kind = dice.choice(["lost", "cut", "zeros"])
    if kind == "lost":
        return safe
    if kind == "cut":
        return content[: dice.randint(common, len(content))]
    return content[:common] + bytes(len(content) - common)


def _is_foreign(top: Path, path: Path) -> bool:
    """Whether ``path`` is in (or is) a directory of a container that the kernel fills."""
    parts = path.parts[len(top.parts) :]
    return len(parts) > 2 and parts[0] == "containers" and parts[2] in FOREIGN


def _bytes(text: str | None) -> bytes:
    return bytes.fromhex((text or "").replace("\\x", ""))


def _text(text: str | None) -> str:
    return os.fsdecode(_bytes(text))


def _paths(call: str, strings: list[str], places: list[str]) -> tuple[str, str]:
    """The absolute paths of a call about names; the second is empty where there is one."""
    if call.startswith("symlink"):
        return strings[0], os.path.join(*(places[:1] or [""]), strings[1])
    two = call.startswith(("rename", "link"))
    if not call.endswith(("at", "at2")):
        return strings[0], strings[1] if two else ""
    first = os.path.join(places[0], strings[0])
    return first, os.path.join(places[1], strings[1]) if two else ""


def make(log: Log, tree: Tree, target: Path, owner: tuple[int, int]) -> None:
    """Write ``tree`` to the new directory ``target``."""
    below: dict[int, list[tuple[str, int]]] = {}
    for (parent, name), number in tree.names.items():
        below.setdefault(parent, []).append((name, number))
    made: dict[int, Path] = {}

    def put(path: Path, number: int) -> None:
        inode = log.inodes[number]
        if inode.kind == "l":
            path.symlink_to(inode.target)
        elif inode.kind == "d":
            path.mkdir()
            for name, child in below.get(number, ()):
                put(path / name, child)
        elif number in made:
            os.link(made[number], path)
            return
        else:
            _fill(path, tree.contents.get(number, b""))
            made[number] = path
        os.lchown(path, *owner)
        if inode.kind != "l":
            path.chmod(inode.mode)
        os.utime(path, ns=(inode.mtime, inode.mtime), follow_symlinks=False)

    put(target, ROOT)


def _fill(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        if content.count(0) == len(content):
            file.truncate(len(content))
        else:
            file.write(content)
