"""Whether the user's subordinate ids are somebody else's too: subuid(5) is written by hand, and nobody checks it."""

from __future__ import annotations

import os

from rootless.idmaps import read, user_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Range = tuple[int, int]

_FILES = (("/etc/subuid", "/etc/passwd"), ("/etc/subgid", "/etc/group"))


def others(uids: list[Range], gids: list[Range]) -> list[str]:
    """Who else has ids of these (first, length) ranges: accounts, groups, and owners of ranges that overlap."""
    found: dict[str, None] = {}
    mine = {str(os.getuid()), os.fsdecode(user_name(os.getuid()))}
    for own, (ranges, accounts) in zip((uids, gids), _FILES, strict=True):
        for name, first, length in _entries(ranges, 1, 2):
            if name not in mine and _overlaps(own, first, length):
                found[name] = None
        for name, number, _ in _entries(accounts, 2, 2):
            if _overlaps(own, number, 1):
                found[name] = None
    return list(found)


def _entries(path: str, first: int, second: int) -> Iterator[tuple[str, int, int]]:
    """(name, number, number) of each line that has these fields."""
    for line in read(path).split(b"\n"):
        fields = line.strip().split(b":")
        if len(fields) > second and fields[first].isdigit() and fields[second].isdigit():
            yield os.fsdecode(fields[0]), int(fields[first]), int(fields[second])


def _overlaps(own: list[Range], first: int, length: int) -> bool:
    return any(start < first + length and first < start + size for start, size in own)
