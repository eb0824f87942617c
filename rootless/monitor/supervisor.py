"""The monitor of a detached container: the one process that stays with it.

It is the container's parent: the engine forks, starts the container, and then executes this program in its place. So
it reaps what ends, puts down how the container ended, and starts the engine in its own place again where more is to be
done than it can: a restart, or the removal of a ``--rm`` container. It holds the lock on the container's directory
throughout.

Output goes to the log and to everybody who is attached. Who reads too slowly misses some, but for the one who started
the container in the foreground: he holds the container back, as the reader of a pipe does. Nothing is kept but one
packet.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import os
import select
import struct
import time

from rootless.monitor import ending, notify
from rootless.monitor.frames import CHECKED, ENDED, ERRORS, HANGUP, INPUT, OUTPUT, PIECE, QUIET, SIZE, STOPPING
from rootless.monitor.logs import open_log

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import NoReturn

    from rootless.monitor.health import Checks
    from rootless.monitor.settings import Settings

else:
    import _signal

_TIOCSWINSZ = 0x5414
_END_OF_INPUT = b"\x04"  # what a terminal driver takes for the end of input (VEOF in termios(3))
_MOST_CLIENTS = 256


class Client:
    """Somebody who is attached. ``held``: a packet that the owner has not taken yet. ``quiet``: wants no output."""

    __slots__ = ("held", "owner", "quiet", "socket")

    def __init__(self, connection: _socket.socket, owner: bool) -> None:
        self.socket = connection
        self.owner = owner
        self.quiet = False
        self.held: tuple[bytes, bytes] | None = None

    def send(self, kind: bytes, data: bytes) -> bool:
        """Send a packet, unless the client is behind. ``False``: it is gone."""
        try:
            self.socket.sendmsg([kind, data], (), _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)
        except BlockingIOError:
            if self.owner:
                self.held = (kind, data)
        except OSError:
            return False
        return True


class Supervisor:
    """The loop of one run of a container."""

    __slots__ = (
        "_checks", "_clients", "_deadline", "_dismissed", "_inputs", "_log", "_names", "_poll", "_renewed", "_running",
        "_settings", "_sources", "_stopping", "_target", "_typed", "_wakeup",
    )  # fmt: skip

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._poll = select.poll()
        self._clients: dict[int, Client] = {}
        self._stopping = False
        self._dismissed = False
        self._renewed = False
        self._deadline = time.monotonic() + settings["timeout"] if settings["timeout"] else 0.0
        self._running = True
        self._log = open_log(settings["log"])
        master = settings["master"]
        self._names = {master: OUTPUT, settings["stdout"]: OUTPUT, settings["stderr"]: ERRORS}
        self._names.pop(-1, None)
        self._sources = set(self._names)
        self._target = master if master >= 0 else settings["stdin"]
        self._typed = b""
        self._inputs = True
        for fd in (*self._sources, self._target):
            if fd >= 0:
                os.set_blocking(fd, False)
        # In this order they are read when both have something: what was written to stdout comes first.
        for fd in (*self._names, settings["pidfd"], settings["listener"]):
            self._poll.register(fd, select.POLLIN)
        if settings["notify"] >= 0:
            self._poll.register(settings["notify"], select.POLLIN)
        if settings["owner"] >= 0:
            self._add(_socket.socket(fileno=settings["owner"]), True)
        self._wakeup, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        _signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (_signal.SIGCHLD, _signal.SIGTERM):
            _signal.signal(number, lambda *_: None)
        for number in (_signal.SIGHUP, _signal.SIGINT, _signal.SIGPIPE):
            _signal.signal(number, _signal.SIG_IGN)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
        self._poll.register(self._wakeup, select.POLLIN)
        self._checks: Checks | None = None
        if settings["health"]:
            from rootless.monitor.health import Checks

            self._checks = Checks(settings)

    def run(self) -> NoReturn:
        """Watch the container until it has ended and all is told, then end, or go on as the engine."""
        code = self._watch()
        settings = self._settings
        finished = time.time_ns()
        settings["started"] = settings["started"] or ending.started(settings["run"])
        wanted = self._renewed or ending.restarts(settings, code)
        again = wanted and not self._stopping and not self._dismissed
        ending.record(settings, code, finished, self._stopping, again)
        ending.tell(settings, code)
        self._drain()
        ending.end_helper(settings)
        ending.leave_cgroup(settings["cgroup"])
        self._log.close()
        self._tell(str(code).encode())
        if again:
            self._wait(ending.delay(settings, finished))
            if not self._stopping and not self._dismissed:
                ending.become_engine(settings, "restart")
            ending.record(settings, code, finished, self._stopping, False)
        if settings["rm"]:
            owners = [fd for fd, client in self._clients.items() if client.owner]
            ending.become_engine(settings, "remove", str(code), kept=owners)
        ending.forget(settings["run"])
        os._exit(code)  # a unit of systemd ends with it

    def _watch(self) -> int:
        """Pass on until init ends; its exit code."""
        settings = self._settings
        status: int | None = None
        while status is None:
            ended = False
            for fd, events in self._poll.poll(self._left()):
                ended |= fd in (self._wakeup, settings["pidfd"])
                self._serve(fd, events)
            status = self._reap() if ended else None
        result = os.waitstatus_to_exitcode(status)
        return 128 - result if result < 0 else result

    def _left(self) -> float | None:
        """Milliseconds until something is due, None for never. What is due now is done."""
        if self._deadline and time.monotonic() >= self._deadline:
            self._send(_signal.SIGKILL)
            self._deadline = 0.0
        moment = self._deadline
        if self._checks:
            due = self._checks.due()
            moment = min(moment or due, due or moment)
        return max(0.0, moment - time.monotonic()) * 1000 if moment else None

    def _reap(self) -> int | None:
        """Wait for every child that has ended; init's status if it is among them."""
        found = None
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == self._settings["pid"]:
                found = status
            elif self._checks:
                self._checks.ended(pid)
        return found

    def _wake(self) -> None:
        """Signals have come. SIGTERM is of the service manager, at a logout or shutdown: the container is to end too.

        That is no wish of the user's, so a restart policy may have it started again after the next boot.
        """
        if _signal.SIGTERM not in os.read(self._wakeup, PIECE) or self._dismissed:
            return
        self._dismissed = True
        self._end(self._settings["stop_signal"])

    def _end(self, number: int) -> None:
        """Send the container a signal that is to end it; what does not end in time is killed. It is not checked again.
        """
        self._checks = None
        self._deadline = time.monotonic() + self._settings["stop_timeout"]
        if self._running:
            self._send(number)

    def _send(self, number: int) -> None:
        try:
            _signal.pidfd_send_signal(self._settings["pidfd"], number)
        except ProcessLookupError:
            return

    def _serve(self, fd: int, events: int) -> None:
        if fd in self._sources:
            if not self._read(fd):
                self._poll.unregister(fd)
                self._sources.discard(fd)
        elif fd == self._settings["listener"]:
            self._accept()
        elif fd == self._wakeup:
            self._wake()
        elif fd == self._settings["notify"]:
            notify.pass_on(fd, self._settings["manager"])
        elif fd in self._clients:
            client = self._clients[fd]
            if events & select.POLLOUT and client.held:
                kind, data = client.held
                client.held = None
                if not client.send(kind, data):
                    self._drop(client)
                elif not client.held:
                    self._listen()
            elif events & ~select.POLLOUT:
                self._receive(client)
        if fd == self._target and self._typed and events & (select.POLLOUT | select.POLLERR | select.POLLHUP):
            self._type(b"")

    def _read(self, fd: int) -> bool:
        """Pass one piece of output on; ``False`` at the end of the stream (EIO is how a terminal says it)."""
        try:
            data = os.read(fd, PIECE)
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return False
        if not data:
            return False
        kind = self._names[fd]
        self._log.write(b"stdout" if kind == OUTPUT else b"stderr", data)
        for client in list(self._clients.values()):
            if client.quiet:
                continue
            if not client.send(kind, data):
                self._drop(client)
            elif client.held:
                self._listen()
        return True

    def _listen(self) -> None:
        """Listen to what can be dealt with now: to no output while the owner is behind, to no keys while some wait."""
        held = any(client.held for client in self._clients.values())
        for fd in self._sources:
            events = 0 if held else select.POLLIN
            if fd == self._target and self._typed:
                events |= select.POLLOUT
            self._poll.modify(fd, events)
        for fd, client in self._clients.items():
            events = 0 if self._typed and not client.quiet else select.POLLIN
            self._poll.modify(fd, events | (select.POLLOUT if client.held else 0))

    def _accept(self) -> None:
        listener = _socket.socket(fileno=self._settings["listener"])
        try:
            fd = listener._accept()[0]  # type: ignore[attr-defined]
        except OSError:
            return
        finally:
            listener.detach()
        connection = _socket.socket(fileno=fd)
        peer = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        if struct.unpack("3i", peer)[1] != os.getuid() or len(self._clients) >= _MOST_CLIENTS:
            connection.close()
            return
        self._add(connection, False)

    def _add(self, connection: _socket.socket, owner: bool) -> None:
        fd = connection.fileno()
        self._clients[fd] = Client(connection, owner)
        self._poll.register(fd, select.POLLIN)

    def _drop(self, client: Client) -> None:
        fd = client.socket.fileno()
        self._poll.unregister(fd)
        del self._clients[fd]
        client.socket.close()
        if client.owner and self._settings["master"] < 0:
            self._end_input()
        self._listen()

    def _receive(self, client: Client) -> None:
        try:
            packet = client.socket.recv(PIECE + 1, _socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        kind, data = packet[:1], packet[1:]
        if not kind:
            self._drop(client)
        elif kind == INPUT and data:
            self._type(data)
        elif kind == INPUT and client.owner:
            self._end_input()
        elif kind == SIZE and self._settings["master"] >= 0 and len(data) == 8:
            try:
                fcntl.ioctl(self._settings["master"], _TIOCSWINSZ, data)
            except OSError:
                pass
        elif kind == HANGUP and client.owner:
            self._hang_up(data)
        elif kind == QUIET:
            client.quiet = True
        elif kind == STOPPING:
            self._stopping = True
            if not client.send(STOPPING, b""):
                self._drop(client)
        elif kind == CHECKED and self._checks:
            self._act(self._checks.heard(data))
            if not client.send(CHECKED, b""):
                self._drop(client)

    def _act(self, action: bytes) -> None:
        """Do what --health-on-failure wants of a container whose health is bad."""
        if action == b"kill":
            self._stopping = True
            self._end(_signal.SIGKILL)
        elif action in (b"stop", b"restart"):
            self._stopping = self._stopping or action == b"stop"
            self._renewed = action == b"restart"
            self._end(self._settings["stop_signal"])

    def _hang_up(self, kind: bytes) -> None:
        """Close a stream, so that the container learns that nobody reads it: by SIGPIPE, or SIGHUP for a terminal."""
        for fd in [fd for fd in self._sources if self._names[fd] == kind]:
            self._poll.unregister(fd)
            self._sources.discard(fd)
            if fd == self._target:
                self._target = -1
            os.close(fd)

    def _type(self, data: bytes) -> None:
        """Pass on what was typed, as much as the container takes now; the rest is for later."""
        data = self._typed + data
        if self._target < 0:
            return
        waited = bool(self._typed)
        try:
            self._typed = data[os.write(self._target, data) :]
        except BlockingIOError:
            self._typed = data
        except OSError:  # nobody reads it any more
            self._typed = b""
            self._close_input()
        if not waited and not self._typed:
            return
        if self._settings["master"] < 0 and self._target >= 0:
            if self._typed:
                self._poll.register(self._target, select.POLLOUT)
            else:
                self._poll.unregister(self._target)
        self._listen()
        if not self._typed and not self._inputs:
            self._end_input()

    def _end_input(self) -> None:
        """The owner's input has ended: so does the container's, after what is still to be written."""
        self._inputs = False
        if self._typed:
            return
        if self._settings["master"] >= 0:
            self._type(_END_OF_INPUT)
            self._inputs = True
        else:
            self._close_input()

    def _close_input(self) -> None:
        if self._settings["master"] < 0 and self._target >= 0:
            try:
                self._poll.unregister(self._target)
            except KeyError:
                pass
            os.close(self._target)
            self._target = -1

    def _drain(self) -> None:
        """Pass on what is left in the streams. Nobody who still holds one is waited for, but the owner who reads."""
        self._running = False
        while self._sources and not self._stopping:
            if any(client.held for client in self._clients.values()):
                for fd, events in self._poll.poll():
                    if fd in self._clients or fd == self._settings["listener"]:
                        self._serve(fd, events)
                continue
            ready = [fd for fd, _ in self._poll.poll(0) if fd in self._sources]
            if not ready:
                return
            for fd in ready:
                self._serve(fd, select.POLLIN)

    def _wait(self, seconds: float) -> None:
        """Wait for a restart, unless the user wants the container to end."""
        deadline = time.monotonic() + seconds
        for fd in self._sources:
            self._poll.unregister(fd)
        self._sources = set()
        self._poll.unregister(self._settings["pidfd"])
        while not self._stopping and not self._dismissed:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            for fd, events in self._poll.poll(left * 1000):
                self._serve(fd, events)

    def _tell(self, code: bytes) -> None:
        """Tell everybody the exit code; the owner is waited for, unless the user wants an end."""
        for client in list(self._clients.values()):
            if client.owner and not self._stopping:
                os.set_blocking(client.socket.fileno(), True)
                try:
                    client.socket.sendmsg([ENDED, code], (), _socket.MSG_NOSIGNAL)
                except OSError:
                    self._drop(client)
            elif not client.send(ENDED, code):
                self._drop(client)
