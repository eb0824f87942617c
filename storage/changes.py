"""What a container changed: its own layer against the layers below, or a copy of them against these.

A layer of an overlay holds the changes and nothing else, so that only what is in it is looked at. A copy is compared
entry by entry: type, mode, owner, size, time and attributes tell whether a file was changed, its content is not read.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator

from storage import remembered
from storage.archive import xattrs
from storage.errors import StorageError
from storage.union import DEEPEST, Entry, Level

ADDED, CHANGED, DELETED = "A", "C", "D"


class Change:
    """``kind`` and ``path`` (without a leading slash); ``entry`` is what is there now, ``below`` what was."""

    __slots__ = ("below", "entry", "kind", "path")

    def __init__(self, kind: str, path: str, entry: Entry | None, below: Entry | None) -> None:
        self.kind = kind
        self.path = path
        self.entry = entry
        self.below = below


def changes(upper: Level, lower: Level | None, *, whole: bool = False) -> Iterator[Change]:
    """The differences of ``upper`` to ``lower``, a directory before what is in it, names in order.

    ``whole``: what ``upper`` lacks was deleted (a copy), else only what it hides was (a layer). The directories above
    a change are changed. An entry is open only until the next is asked for. Raises OSError, and ``StorageError`` for
    a tree that is too deep.
    """
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 6 * DEEPEST))
    yield from _changes(upper, lower, whole, False, [], 0)


def _changes(
    upper: Level, lower: Level | None, whole: bool, replaced: bool, pending: list[Change], depth: int
) -> Iterator[Change]:
    """``replaced``: the directory is another one than the one below. ``pending``: unchanged directories above."""
    if depth > DEEPEST:
        raise StorageError(f"cannot compare directories deeper than {DEEPEST}")
    entries = upper.entries()
    others = lower.entries() if lower is not None else {}
    gone = others.keys() - entries.keys() if whole else upper.hidden & others.keys() - entries.keys()
    for name in sorted(entries.keys() | gone):
        entry, below = entries.get(name), others.get(name)
        if entry is None:
            path = others[name].path
            yield from _announced(pending, Change(DELETED, path, None, below))
        elif not entry.is_directory:
            if below is None:
                yield from _announced(pending, Change(ADDED, entry.path, entry, None))
            elif not whole or replaced or _differ(entry, below):
                yield from _announced(pending, Change(CHANGED, entry.path, entry, below))
        else:
            yield from _directory(upper, lower, entry, below, whole, replaced, pending, depth)


def _directory(
    upper: Level,
    lower: Level | None,
    entry: Entry,
    below: Entry | None,
    whole: bool,
    replaced: bool,
    pending: list[Change],
    depth: int,
) -> Iterator[Change]:
    try:
        level = upper.descend(entry)
    except (FileNotFoundError, NotADirectoryError):
        return  # of a running container
    with level:
        change = Change(ADDED if below is None else CHANGED, entry.path, entry, below)
        if below is None or lower is None or not below.is_directory:
            yield from _announced(pending, change)
            yield from _changes(level, None, whole, replaced, pending, depth + 1)
            return
        if level.opaque or replaced or _differ(entry, below):
            yield from _announced(pending, change)
            above = []
        else:
            above = [*pending, change]
        with lower.descend(below) as others:
            yield from _changes(level, others, whole or level.opaque, replaced or level.opaque, above, depth + 1)
        if not above:
            pending.clear()


def _announced(pending: list[Change], change: Change) -> Iterator[Change]:
    yield from pending
    pending.clear()
    yield change


def _differ(entry: Entry, below: Entry) -> bool:
    """Whether the metadata tells of a change."""
    one, other = entry.status, below.status
    if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino) and entry.tree.shift is below.tree.shift:
        return False  # a layer that both have
    if one.st_mode != other.st_mode or _owners_differ(entry, below):
        return True
    if stat.S_ISLNK(one.st_mode):
        try:
            return os.readlink(entry.name, dir_fd=entry.directory) != os.readlink(below.name, dir_fd=below.directory)
        except OSError:  # something else by now
            return True
    if one.st_mtime_ns != other.st_mtime_ns or one.st_rdev != other.st_rdev:
        return True
    if stat.S_ISREG(one.st_mode) and one.st_size != other.st_size:
        return True
    return attributes(entry) != attributes(below)


def _owners_differ(entry: Entry, below: Entry) -> bool:
    given = entry.tree.given(entry)
    if given is None:
        return entry.owner() != below.owner()
    before = below.true_owner()
    return remembered.over(given, before) != before


def attributes(entry: Entry) -> dict[bytes, bytes]:
    """The extended attributes of a file or directory that mean something elsewhere."""
    if not (stat.S_ISREG(entry.status.st_mode) or stat.S_ISDIR(entry.status.st_mode)):
        return {}
    return xattrs.read(entry.reference)
