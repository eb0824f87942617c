"""Owners, modes, devices and attributes that a layer has and the file system could not be given.

Without a range of subordinate ids every file belongs to one id; with one, an id beyond the range has no place; a device
is never made real. What is true then stands in the layer's file ``owners``, one JSON object a line, from the first
format version on, so that an export or a push gives the image back as it was::

    {"path": "dev/null", "uid": 0, "gid": 0, "mode": 438, "type": "c", "device": [1, 3], "xattrs": {NAME: BASE64}}
    {"path": "usr/bin/b", "link": "usr/bin/a"}      a further name of a file
    {"path": "usr", "gone": true}                   the entry and all below it was replaced later in the archive

Paths are relative to the tree, without symlinks in their directories; bytes that are not UTF-8 are surrogates.
"""

from __future__ import annotations

import binascii
import os
from collections.abc import Iterable

from storage import jsonfast
from storage.errors import DamagedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NotRequired, TypedDict

    class TrueEntry(TypedDict):
        """What an entry truly is. ``mode`` holds permission bits only; ``device`` is (major, minor)."""

        uid: int
        gid: int
        mode: int
        type: NotRequired[str]  # "c" or "b": the file in the tree is an empty placeholder
        device: NotRequired[list[int]]
        xattrs: NotRequired[dict[str, str]]


OVERFLOW = 65534  # nobody: the kernel's own choice for an id without a place

_BUFFER = 1 << 16


class Ids:
    """The ids that exist in a user namespace, and where an id goes that does not. ``alone``: there is one of each."""

    __slots__ = ("_cache", "_gids", "_overflow", "_uids", "alone")

    def __init__(self, uids: Iterable[tuple[int, int]], gids: Iterable[tuple[int, int]]) -> None:
        """``uids`` and ``gids`` are ``(first, count)`` ranges as seen inside."""
        self._uids = [(first, first + count) for first, count in uids]
        self._gids = [(first, first + count) for first, count in gids]
        self.alone = all(sum(end - start for start, end in ranges) == 1 for ranges in (self._uids, self._gids))
        self._overflow = (self._fold_into(self._uids), self._fold_into(self._gids))
        self._cache: dict[tuple[int, int], tuple[int, int, bool, bool]] = {}

    @classmethod
    def of_process(cls) -> Ids:
        """The ids of the namespace that this process is in."""
        return cls(_ranges("/proc/self/uid_map"), _ranges("/proc/self/gid_map"))

    @staticmethod
    def _fold_into(ranges: list[tuple[int, int]]) -> int:
        return OVERFLOW if any(start <= OVERFLOW < end for start, end in ranges) else 0

    def fold(self, uid: int, gid: int) -> tuple[int, int, bool, bool]:
        """Return ``(uid, gid, uid is true, gid is true)``: the ids to give the file."""
        known = self._cache.get((uid, gid))
        if known is None:
            uid_fits = any(start <= uid < end for start, end in self._uids)
            gid_fits = any(start <= gid < end for start, end in self._gids)
            known = (
                uid if uid_fits else self._overflow[0], gid if gid_fits else self._overflow[1], uid_fits, gid_fits,
            )
            if len(self._cache) > 10_000:  # an archive may have a million owners
                self._cache.clear()
            self._cache[(uid, gid)] = known
        return known


def _ranges(path: str) -> list[tuple[int, int]]:
    with open(path) as lines:
        fields = [line.split() for line in lines]
    return [(int(inside), int(length)) for inside, _, length in fields]


class OwnersWriter:
    """Appends to the sidecar ``fd``. ``close`` flushes; the descriptor stays the caller's."""

    __slots__ = ("_buffer", "_fd", "size")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._buffer = bytearray()
        self.size = 0

    def _line(self, value: dict[str, object]) -> None:
        line = jsonfast.dumps(value)
        self._buffer += line.encode() if isinstance(line, str) else line
        self._buffer += b"\n"
        if len(self._buffer) >= _BUFFER:
            self.flush()

    def flush(self) -> None:
        """Write what is buffered."""
        while self._buffer:
            written = os.write(self._fd, self._buffer)
            self.size += written
            del self._buffer[:written]

    @property
    def empty(self) -> bool:
        """Whether nothing was recorded yet."""
        return not self.size and not self._buffer

    def record(
        self,
        path: bytes,
        uid: int,
        gid: int,
        mode: int,
        device: tuple[str, int, int] | None = None,
        xattrs: dict[bytes, bytes] | None = None,
    ) -> None:
        """Record what the entry truly is; ``device`` is (``c`` or ``b``, major, minor)."""
        value: dict[str, object] = {"path": os.fsdecode(path), "uid": uid, "gid": gid, "mode": mode}
        if device is not None:
            value["type"] = device[0]
            value["device"] = list(device[1:])
        if xattrs:
            value["xattrs"] = {
                os.fsdecode(name): binascii.b2a_base64(data, newline=False).decode() for name, data in xattrs.items()
            }
        self._line(value)

    def link(self, path: bytes, target: bytes) -> None:
        """Record that ``path`` is a further name of ``target``."""
        if not self.empty:
            self._line({"path": os.fsdecode(path), "link": os.fsdecode(target)})

    def forget(self, path: bytes) -> None:
        """Record that the entry, and everything below it, was removed again."""
        if not self.empty:
            self._line({"path": os.fsdecode(path), "gone": True})


class _Below:
    """Which paths are below which, so that a tree is forgotten in the time that it took to record it."""

    __slots__ = ("_children",)

    def __init__(self, paths: Iterable[str]) -> None:
        self._children: dict[str, set[str]] = {}
        for path in paths:
            self.add(path)

    def add(self, path: str) -> None:
        """Take note of a path, and so of the directories above it."""
        while path:
            above = path.rpartition("/")[0]
            known = self._children.setdefault(above, set())
            if path in known:
                return
            known.add(path)
            path = above

    def remove(self, path: str) -> list[str]:
        """Forget the path and all below it, and return them (with directories that were only noted on the way)."""
        self._children.get(path.rpartition("/")[0], set()).discard(path)
        gone = [path]
        for each in gone:
            gone += self._children.pop(each, ())
        return gone


def load(path: str) -> dict[str, TrueEntry]:
    """Read a sidecar: path in the tree (as ``os.fsdecode`` gives it) → truth. Empty where there is none.

    Raises DamagedError for a line that is not one of ours.
    """
    entries: dict[str, TrueEntry] = {}
    below: _Below | None = None
    try:
        with open(path, "rb") as lines:
            for line in lines:
                value = jsonfast.loads(line)
                name = value["path"]
                if value.get("gone"):
                    below = below or _Below(entries)
                    for stale in below.remove(name):
                        entries.pop(stale, None)
                    continue
                if "link" not in value:
                    entries[name] = value
                elif value["link"] in entries:
                    entries[name] = entries[value["link"]]
                if below is not None:
                    below.add(name)
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DamagedError("cannot read the record of owners of a layer", path) from None
    return entries
