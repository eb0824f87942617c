"""The lines of a log, ``TIME stdout|stderr F|P TEXT`` (podman's k8s-file), and what is shown of them.

A part of a line (P) is shown without a newline, and what goes on after it without a heading. Whole pieces of a log are
taken apart by operations on bytes, some ten million lines in a few seconds.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    Shown = tuple[int, bytes]
    """The descriptor, 1 or 2, and what is written to it."""

# What stands between time and text: where it goes, and whether the line ends there.
_TAGS = {
    b" stdout F ": (1, True), b" stdout P ": (1, False), b" stderr F ": (2, True), b" stderr P ": (2, False),
}  # fmt: skip
_TAG = 10
_STDOUT = {b" stdout F "}
_COLORS = (b"37", b"31", b"32", b"33", b"34", b"35", b"36")  # podman's order
_SECOND, _NANOSECOND = 19, 29  # 2026-11-25T04:41:02 and .706535414 behind it
_MOST_HELD = 1 << 20


class Wanted:
    """What is asked for. ``tail``: only so many last lines, -1 for all. Times are in nanoseconds since the epoch."""

    __slots__ = ("color", "follow", "names", "since", "tail", "timestamps", "until")

    def __init__(self, values: Mapping[str, Any], since: int, until: int, tail: int) -> None:
        self.color = bool(values.get("color"))
        self.follow = bool(values.get("follow"))
        self.names = bool(values.get("names"))
        self.timestamps = bool(values.get("timestamps"))
        self.since = since
        self.until = until
        self.tail = tail


class Lines:
    """How the log of one container is shown.

    ``heading``: a word before each line (a name, or an id). ``color``: which of podman's seven, -1 for none.
    ``timestamps``: with the time of each. ``since``, ``until``: nanoseconds since the epoch between which, 0 for no
    limit. ``join``: hold a part until its line ends, for lines of several containers that must not run together.
    """

    __slots__ = (
        "_after", "_before", "_held", "_inside", "_join", "_limits", "_plain", "_since", "_timestamps", "_until",
    )  # fmt: skip

    def __init__(
        self,
        heading: str = "",
        color: int = -1,
        timestamps: bool = False,
        since: int = 0,
        until: int = 0,
        join: bool = False,
    ) -> None:
        paint = b"\x1b[%sm" % _COLORS[color % len(_COLORS)] if color >= 0 else b""
        self._before = paint + (heading.encode("utf-8", "surrogateescape") + b" " if heading else b"")
        self._after = b"\x1b[0m" if paint else b""
        self._timestamps = timestamps
        self._since, self._until = since, until
        self._join = join
        self._plain = not (self._before or timestamps or since or until or join)
        self._inside = {1: False, 2: False}
        self._held: dict[int, tuple[bytes, bytes]] = {}
        self._limits: dict[bytes, tuple[bytes, bytes]] = {}

    def show(self, data: bytes) -> list[Shown]:
        """What is written for whole lines of the log, neighbours of one stream together."""
        if not self._plain:
            return _merged((fd, text) for _, fd, text in self.each(data))
        lines = data.split(b"\n")
        lines.pop()
        start = data.find(b" ")
        end = start + _TAG
        tags = {line[start:end] for line in lines}
        if tags == _STDOUT:
            return [(1, b"\n".join([line[end:] for line in lines]) + b"\n")]
        if tags <= _TAGS.keys():
            return _merged(_texts(lines, start, end))
        return _merged((fd, text) for _, fd, text in self.each(data))

    def each(self, data: bytes) -> Iterator[tuple[bytes, int, bytes]]:
        """(time as it is written there, descriptor, what is shown) of each line; damaged ones are left out."""
        for line in data[:-1].split(b"\n"):
            moment, _, rest = line.partition(b" ")
            tag = _TAGS.get(b" " + rest[: _TAG - 1])
            if tag is None or ((self._since or self._until) and not self._within(moment)):
                continue
            fd, whole = tag
            text = rest[_TAG - 1 :]
            if self._join:
                first, held = self._held.pop(fd, (moment, b""))
                if not whole and len(held) + len(text) < _MOST_HELD:
                    self._held[fd] = (first, held + text)
                    continue
                moment, text, whole = first, held + text, True
            if not self._inside[fd]:
                text = b"%s%s %s" % (self._before, _utc(moment), text) if self._timestamps else self._before + text
            self._inside[fd] = not whole
            yield moment, fd, text + self._after + b"\n" if whole else text

    def rest(self) -> list[Shown]:
        """Parts that were held and whose line never ended."""
        found: list[Shown] = []
        for fd, (moment, text) in self._held.items():
            time_text = _utc(moment) + b" " if self._timestamps else b""
            found.append((fd, self._before + time_text + text + self._after + b"\n"))
        self._held = {}
        return found

    def _within(self, moment: bytes) -> bool:
        """Texts of one time zone sort as the times that they mean."""
        zone = moment[_NANOSECOND:]
        limits = self._limits.get(zone)
        if limits is None:
            limits = (_bound(self._since, zone, b""), _bound(self._until, zone, b":"))  # ":" comes after every digit
            if len(self._limits) < 100:
                self._limits[zone] = limits
        return limits[0] < moment[:_NANOSECOND] < limits[1]


def _texts(lines: list[bytes], start: int, end: int) -> Iterator[Shown]:
    for line in lines:
        fd, whole = _TAGS[line[start:end]]
        yield fd, line[end:] + b"\n" if whole else line[end:]


def _merged(pieces: Iterator[Shown]) -> list[Shown]:
    found: list[Shown] = []
    parts: list[bytes] = []
    last = 0
    for fd, text in pieces:
        if fd != last:
            if parts:
                found.append((last, b"".join(parts)))
            parts = []
            last = fd
        parts.append(text)
    if parts:
        found.append((last, b"".join(parts)))
    return found


def _utc(moment: bytes) -> bytes:
    """The time as podman shows it: with ``Z`` for an offset of nothing."""
    return moment[:_NANOSECOND] + b"Z" if moment[_NANOSECOND:] == b"+00:00" else moment


def _offset(zone: bytes) -> int:
    """Seconds east of Greenwich of ``Z`` or ``+01:00``."""
    if len(zone) != 6 or zone[:1] not in (b"+", b"-") or not (zone[1:3] + zone[4:]).isdigit():
        return 0
    seconds = int(zone[1:3]) * 3600 + int(zone[4:]) * 60
    return -seconds if zone[:1] == b"-" else seconds


def _bound(nanoseconds: int, zone: bytes, otherwise: bytes) -> bytes:
    if not nanoseconds:
        return otherwise
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    there = time.gmtime(seconds + _offset(zone))
    return time.strftime("%Y-%m-%dT%H:%M:%S", there).encode() + b".%09d" % rest


class Moments:
    """Nanoseconds since the epoch of a log's times; the calendar is asked once a second of the log."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, int] = {}

    def of(self, text: bytes) -> int:
        """The moment that ``text`` means, 0 for what is none."""
        zone = text[_NANOSECOND:]
        key = text[:_SECOND] + zone
        seconds = self._known.get(key)
        try:
            if seconds is None:
                from rootless.engine.times import parse_rfc3339

                if len(self._known) > 1000:
                    self._known.clear()
                seconds = self._known[key] = parse_rfc3339(key.decode("ascii")) // 1_000_000_000
            return seconds * 1_000_000_000 + int(text[_SECOND + 1 : _NANOSECOND])
        except ValueError:
            return 0


def lines_of(record: Mapping[str, Any], number: int, wanted: Wanted, several: bool) -> Lines:
    """How the lines of one of the containers are shown: with a heading if there are several, as podman does."""
    return Lines(
        heading=(record["name"] if wanted.names else record["id"][:12]) if several else "",
        color=number if wanted.color else -1,
        timestamps=wanted.timestamps,
        since=wanted.since,
        until=wanted.until,
        join=several,
    )
