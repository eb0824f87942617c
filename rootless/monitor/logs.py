"""The log of a container, as the monitor writes it."""

from __future__ import annotations

import os
import select
import stat
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    class Writer(Protocol):
        """What takes a container's output."""

        def write(self, stream: bytes, data: bytes) -> None:
            """Take ``data``, which the container wrote to ``stream`` (stdout or stderr)."""

        def close(self) -> None:
            """Nothing more comes."""


_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_SMALLEST = 4096
_SLICE = 1 << 14
_SAMPLE, _SHORT = 2048, 8  # counting newlines in all of it would cost more than all the rest


class NoLog:
    """The log of a container that has none."""

    __slots__ = ()

    def write(self, stream: bytes, data: bytes) -> None:
        """Forget it."""

    def close(self) -> None:
        """Nothing is open."""


def open_log(settings: Mapping[str, Any]) -> Writer:
    """The log that the settings ask for: ``driver``, and what that needs. What has become of it since the start was
    prepared does not end the container: then there is no log."""
    driver = settings["driver"]
    try:
        if driver == "journald":
            from rootless.monitor.journal import Journal

            return Journal(settings["fields"])
        if driver in ("k8s-file", "json-file"):
            return Log(settings["path"], settings["max_size"])
    except OSError:
        pass
    return NoLog()


def open_file(path: str) -> int:
    """Open a log for writing at its end. Raises OSError; also for what would block or is no file at all (ENXIO)."""
    fd = os.open(path, _FLAGS, 0o600)
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode) or stat.S_ISCHR(mode):
        return fd
    os.close(fd)
    raise OSError(6, os.strerror(6), path)


class Log:
    """The log of a container in podman's ``k8s-file`` format: ``TIME stdout|stderr F|P TEXT``, P for part of a line.

    ``max_size`` bytes (0: no limit, else at least 4 KiB) is what the log takes at most: a file that has half of it is
    renamed to ``PATH.1`` in place of the one before, so that the last half at least is always there. A log that cannot
    be written loses text, it does not stop the container.
    """

    __slots__ = ("_fd", "_limit", "_second", "_size", "_stamp", "_zone", "path")

    def __init__(self, path: str, max_size: int = 0) -> None:
        self.path = path
        self._limit = max(max_size, _SMALLEST) // 2 if max_size else 0
        self._second = -1
        self._stamp = self._zone = b""
        self._fd = open_file(path)
        self._size = os.fstat(self._fd).st_size

    def write(self, stream: bytes, data: bytes) -> None:
        """Append ``data``, which the container wrote to ``stream`` (stdout or stderr)."""
        head = b"%s %s F " % (self._now(), stream)
        piece = len(data)
        if piece > _SLICE and data.count(b"\n", 0, _SAMPLE) > _SAMPLE // _SHORT:
            piece = _SLICE  # many short lines: their heads take far more memory than they
        if self._limit:
            piece = min(piece, self._limit // 4)
        for start in range(0, len(data), piece or 1):
            lines = _lines(head, data[start : start + piece])
            if self._limit:
                self._write_bounded(b"".join(lines))
            else:
                self._append(lines)

    def _write_bounded(self, text: bytes) -> None:
        while text:
            end = len(text)
            if self._size + end > self._limit:
                end = text.rfind(b"\n", 0, max(0, self._limit - self._size)) + 1
                if not end and self._size:
                    self._rotate()
                    continue
                # No line is longer than a quarter of the limit and its head.
                end = end or text.find(b"\n") + 1
            self._append([text[:end]])
            text = text[end:]

    def _append(self, parts: list[bytes]) -> None:
        try:
            written = os.writev(self._fd, parts)
        except OSError:
            return
        self._size += written
        if written < sum(map(len, parts)):
            rest = b"".join(parts)[written:]
            try:
                self._size += os.write(self._fd, rest)
            except OSError:  # the disk is full: a line that is cut would spoil the one after it
                self._size -= written
                self._truncate(self._size)

    def _truncate(self, size: int) -> None:
        try:
            os.ftruncate(self._fd, size)
            self._size = size
        except OSError:
            return

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _now(self) -> bytes:
        """The time as RFC 3339 with nanoseconds; the calendar is asked once a second."""
        second, rest = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            local = time.localtime(second)
            minutes = local.tm_gmtoff // 60
            sign = "-" if minutes < 0 else "+"
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", local).encode()
            self._zone = f"{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}".encode()
        return b"%s.%09d%s" % (self._stamp, rest, self._zone)

    def _rotate(self) -> None:
        """Begin a new file; where none can be had the one that is there begins anew, for the limit is the limit."""
        older = f"{self.path}.1"
        try:
            os.rename(self.path, older)
        except OSError:
            self._truncate(0)
            self._size = 0
            return
        try:
            fd = open_file(self.path)
        except OSError:
            try:
                os.rename(older, self.path)
            except OSError:
                pass
            self._truncate(0)
        else:
            os.close(self._fd)
            self._fd = fd
        self._size = 0


def _lines(head: bytes, data: bytes) -> list[bytes]:
    """``data`` with ``head``, which ends in F, before each line, and with P for a last part without an end."""
    end = data.rfind(b"\n")
    parts = [head, data[:end].replace(b"\n", b"\n" + head), b"\n"] if end >= 0 else []
    if end + 1 < len(data):
        parts += [head[:-2], b"P ", data[end + 1 :], b"\n"]
    return parts


def write_all(fd: int, data: bytes) -> None:
    """Write the whole of ``data``, waiting for the reader also where the descriptor does not block."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            waiting = select.poll()
            waiting.register(fd, select.POLLOUT)
            waiting.poll()
