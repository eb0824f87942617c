"""Between a running container and whoever watches it: its output to the caller and to the log, the caller's keys to it.

Nothing is kept in memory but the piece in hand: a reader that is slow holds the container back, as a pipe would.
"""

from __future__ import annotations

import errno
import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_PIECE = 1 << 16
_END_OF_INPUT = b"\x04"  # what a terminal driver takes for the end of input (VEOF in termios(3))
_HANGUP = select.POLLHUP | select.POLLERR | select.POLLNVAL


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


class Output:
    """A stream of the container: read from ``source``, written to ``sink`` (-1: nowhere) and to the log as ``name``."""

    __slots__ = ("name", "sink", "source")

    def __init__(self, source: int, sink: int, name: bytes) -> None:
        self.source = source
        self.sink = sink
        self.name = name


class Keys:
    """The caller's input on its way to the container's terminal. ``source`` is -1 once it has ended."""

    __slots__ = ("pending", "source", "target")

    def __init__(self, source: int, target: int) -> None:
        self.source = source
        self.target = target
        self.pending = b""

    def read(self) -> None:
        """Take what was typed; the end of the caller's input is one for the container too."""
        try:
            self.pending = os.read(self.source, _PIECE)
        except BlockingIOError:
            return
        except OSError:  # the caller's terminal is gone
            self.pending = b""
        if not self.pending:
            self.source = -1
            self.pending = _END_OF_INPUT

    def write(self) -> None:
        """Pass on as much as the terminal takes now."""
        try:
            self.pending = self.pending[os.write(self.target, self.pending) :]
        except BlockingIOError:
            return
        except OSError:
            self.pending = b""
            self.source = -1


def relay(exited: int, outputs: Sequence[Output], log: Log | None = None, keys: Keys | None = None) -> None:
    """Pass everything on until the container has ended and said all.

    ``exited`` is a descriptor that becomes readable at the container's end (its pidfd). After that what is left in the
    streams is passed on, but nothing is waited for: a process that got away may still hold them. A stream whose reader
    has gone away is closed.
    """
    poll = select.poll()
    sources = {output.source: output for output in outputs}
    for source in sources:
        os.set_blocking(source, False)
        poll.register(source, select.POLLIN)
    poll.register(exited, select.POLLIN)
    reading = -1
    running = True
    while running or sources:
        if keys:
            reading = _watch(poll, keys, reading, sources)
        ready = poll.poll(None if running else 0)
        if not running and not any(number in sources for number, _ in ready):
            return
        for number, events in ready:
            if number == exited:
                running = False
                poll.unregister(exited)
            elif keys and number == reading:
                keys.read()
            else:
                if events & select.POLLOUT and keys:
                    keys.write()
                if events & (select.POLLIN | _HANGUP) and number in sources and not _pass_on(sources[number], log):
                    poll.unregister(number)
                    del sources[number]
                    if keys and number == keys.target:
                        keys.source, keys.pending = -1, b""


def _watch(poll: select.poll, keys: Keys, reading: int, sources: dict[int, Output]) -> int:
    """Listen to the caller only while nothing is left to pass on; the descriptor that is listened to, or -1."""
    wanted = keys.source if not keys.pending else -1
    if wanted != reading:
        if reading >= 0:
            poll.unregister(reading)
        if wanted >= 0:
            poll.register(wanted, select.POLLIN)
    if keys.target in sources:
        poll.modify(keys.target, select.POLLIN | (select.POLLOUT if keys.pending else 0))
    return wanted


def _pass_on(output: Output, log: Log | None) -> bool:
    """Move one piece; False at the end of the stream (EIO is how a terminal says it)."""
    try:
        data = os.read(output.source, _PIECE)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return False
    if not data:
        return False
    if log:
        log.write(output.name, data)
    if output.sink >= 0:
        try:
            write_all(output.sink, data)
        except OSError:  # as if the container wrote there itself: SIGPIPE for a pipe, SIGHUP for a terminal
            os.close(output.source)
            return False
    return True


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
