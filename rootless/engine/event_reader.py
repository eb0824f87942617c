"""What the log of events says: read from its beginning, followed as it grows, filtered."""

from __future__ import annotations

import errno
import os
import select
import time

from rootless.engine.filters import has_label, split
from rootless.errors import RootlessError, UsageError
from rootless.linux import inotify
from storage import jsonfast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from rootless.engine.context import Engine

    Event = dict[str, Any]
    Test = Callable[[Event], bool]

_PIECE = 1 << 20
_LOOK = 1.0
"""Seconds after which a followed log is looked at though nothing was told: another machine may write it."""


def events(
    engine: Engine, filters: Iterable[str] = (), since: int = 0, until: int = 0, *, past: bool, follow: bool
) -> Iterator[Event]:
    """The events, the oldest first, with the keys of ``storage.eventlog``.

    ``since``, ``until``: nanoseconds since the epoch, 0 for none. ``past``: those that are in the log already.
    ``follow``: go on with those that come, until the time ``until`` if there is one.
    """
    test = _filter(filters)
    for line in _lines(engine.store.layout.events, past, follow, until):
        event = _parse(line)
        if event is None or event["timeNano"] < since or (until and event["timeNano"] > until):
            continue
        if test(event):
            yield event


def _parse(line: bytes) -> Event | None:
    """An event; None for what a full disk or a power cut has left of one."""
    try:
        event = jsonfast.loads(line)
    except ValueError:
        return None
    if not isinstance(event, dict) or not isinstance(event.get("timeNano"), int):
        return None
    for key in ("Type", "Status", "ID", "Name", "Image"):
        if not isinstance(event.get(key), str):
            return None
    return event if isinstance(event.get("Attributes"), dict) else None


# Filters: those of one key are alternatives, different keys must all match (podman-events(1)).


def _filter(words: Iterable[str]) -> Test:
    groups = [[_test(key, value) for value in values] for key, values in split(words).items()]
    return lambda event: all(any(test(event) for test in group) for group in groups)


def _test(key: str, value: str) -> Test:
    name = key.lower()
    if name in ("container", "image", "pod", "network", "secret"):
        return lambda event: event["Type"] == name and (event["Name"] == value or event["ID"].startswith(value))
    if name == "volume":
        return lambda event: event["Type"] == "volume" and event["Name"].startswith(value)
    if name in ("event", "status"):
        wanted = "died" if value == "die" else value  # docker's word
        return lambda event: event["Status"] == wanted
    if name == "type":
        return lambda event: event["Type"] == value
    if name == "label":
        return lambda event: has_label(event["Attributes"], value)
    if name == "name":
        return lambda event: event["Name"] == value
    hint = "the filters are container, event, image, label, name, network, pod, secret, status, type and volume"
    raise UsageError(f"cannot use the filter {key[:40]!r}: it is an invalid filter", hint)


# The file and its rotation.


def _open(path: str, create: bool) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        return os.open(path, flags | (os.O_CREAT if create else 0), 0o600)
    except FileNotFoundError:
        return -1
    except OSError as error:
        raise RootlessError(f"cannot read the events in {path}: {error.strerror}") from None


def _is(fd: int, path: str) -> bool:
    """Whether ``path`` is still the name of the open file."""
    try:
        named = os.lstat(path)
    except FileNotFoundError:
        return fd < 0
    return fd >= 0 and os.path.samestat(os.fstat(fd), named)


def _open_both(path: str, create: bool) -> tuple[int, int]:
    """The file before the last rotation and the one after it; -1 for what is not there."""
    while True:
        old, new = _open(f"{path}.1", False), _open(path, create)
        if _is(old, f"{path}.1"):
            return old, new
        for fd in (old, new):
            if fd >= 0:
                os.close(fd)


def _lines(path: str, past: bool, follow: bool, until: int) -> Iterator[bytes]:
    old, new = _open_both(path, follow)
    try:
        if past:
            for fd in (old, new):
                if fd >= 0:
                    yield from _Lines(fd).read()
        elif new >= 0:
            os.lseek(new, 0, os.SEEK_END)
        if follow:
            yield from _follow(path, os.dup(new), until)
    finally:
        for fd in (old, new):
            if fd >= 0:
                os.close(fd)


class _Lines:
    """The whole lines of a file; what has no end yet is kept for the next read."""

    __slots__ = ("fd", "rest")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.rest = b""

    def read(self) -> Iterator[bytes]:
        while data := os.read(self.fd, _PIECE):
            lines = (self.rest + data).split(b"\n")
            self.rest = lines.pop()
            yield from lines


def _follow(path: str, fd: int, until: int) -> Iterator[bytes]:
    watcher = inotify.watcher()
    lines = _Lines(fd)
    try:
        _watch(watcher, fd)
        while True:
            yield from lines.read()
            if not _is(lines.fd, path):
                fresh = _open(path, True)
                _watch(watcher, fresh)
                yield from lines.read()  # of those who had it open when it was renamed
                os.close(lines.fd)
                lines = _Lines(fresh)
                continue
            left = (until - time.time_ns()) / 1e9 if until else _LOOK
            if left <= 0:
                return
            select.select([watcher] if watcher >= 0 else [], [], [], min(left, _LOOK))
            if watcher >= 0:
                inotify.drain(watcher)
    finally:
        os.close(lines.fd)
        if watcher >= 0:
            os.close(watcher)


def _watch(watcher: int, fd: int) -> None:
    """Without a watch (the user has too many) the look that comes each second will do."""
    if watcher < 0:
        return
    try:
        inotify.watch(watcher, fd)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.ENOMEM, errno.ENOENT, errno.EACCES):
            raise
