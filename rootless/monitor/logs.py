"""The log of a container, as the monitor writes it."""

from __future__ import annotations

import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class NoLog:
    """The log of a container that has none."""

    __slots__ = ()

    def write(self, stream: bytes, data: bytes) -> None:
        """Forget it."""

    def close(self) -> None:
        """Nothing is open."""


def open_log(settings: Mapping[str, Any]) -> Log | NoLog:
    """The log that the settings ask for: ``driver``, ``path``, ``max_size`` in bytes."""
    if settings["driver"] in ("none", "passthrough"):
        return NoLog()
    return Log(settings["path"], settings["max_size"])


class Log:
    """The log of a container in podman's ``k8s-file`` format: ``TIME stdout|stderr F|P TEXT``, P for part of a line.

    ``max_size`` bytes is where a new file begins (0: never); ``keep`` files of that size exist at most, the older ones
    as ``PATH.1``, ``PATH.2``… A log that cannot be written loses text, it does not stop the container.
    """

    __slots__ = ("_fd", "_keep", "_max_size", "_second", "_size", "_stamp", "_zone", "path")

    def __init__(self, path: str, max_size: int = 0, keep: int = 3) -> None:
        self.path = path
        self._max_size = max_size
        self._keep = keep
        self._second = -1
        self._stamp = self._zone = b""
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(self.path, flags, 0o600)
        self._size = os.fstat(self._fd).st_size

    def write(self, stream: bytes, data: bytes) -> None:
        """Append ``data``, which the container wrote to ``stream`` (stdout or stderr)."""
        head = b"%s %s " % (self._now(), stream)
        lines = data.split(b"\n")
        last = lines.pop()
        parts = [b"%sF %s\n" % (head, line) for line in lines]
        if last:
            parts.append(b"%sP %s\n" % (head, last))
        text = b"".join(parts)
        try:
            if self._max_size and self._size and self._size + len(text) > self._max_size:
                self._rotate()
            write_all(self._fd, text)
            self._size += len(text)
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
        os.close(self._fd)
        for number in range(self._keep - 1, 0, -1):
            older = self.path if number == 1 else f"{self.path}.{number - 1}"
            try:
                os.rename(older, f"{self.path}.{number}")
            except FileNotFoundError:
                pass
        if self._keep == 1:
            os.unlink(self.path)
        self._open()


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
