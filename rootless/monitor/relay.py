"""Between a process of a container and the caller: its output to the caller's streams, the caller's keys to it.

Nothing is kept in memory but the piece in hand: a reader that is slow holds the process back, as a pipe would.
"""

from __future__ import annotations

import errno
import os
import select

from rootless.monitor.logs import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_PIECE = 1 << 16
_END_OF_INPUT = b"\x04"  # what a terminal driver takes for the end of input (VEOF in termios(3))
_HANGUP = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Output:
    """A stream: read from ``source``, written to ``sink`` (-1: nowhere)."""

    __slots__ = ("sink", "source")

    def __init__(self, source: int, sink: int) -> None:
        self.source = source
        self.sink = sink


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


def relay(exited: int, outputs: Sequence[Output], keys: Keys | None = None) -> None:
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
                if events & (select.POLLIN | _HANGUP) and number in sources and not _pass_on(sources[number]):
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


def _pass_on(output: Output) -> bool:
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
    if output.sink >= 0:
        try:
            write_all(output.sink, data)
        except OSError:  # as if the container wrote there itself: SIGPIPE for a pipe, SIGHUP for a terminal
            os.close(output.source)
            return False
    return True
