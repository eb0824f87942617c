"""Starting a network helper, and ending it with its starter.

The helper must not outlive the container, whatever happens to this program. Its standard error is a pipe that this
process alone reads; the helper asked (``O_ASYNC`` and ``F_SETSIG`` in fcntl(2)) for SIGKILL when the last reader of
that pipe is gone. So the kernel itself ends the helper when the handle is closed or this process dies, however.
Nothing reads the pipe while the helper lives, as that would send the signal too.
"""

from __future__ import annotations

import fcntl
import os
import select

from rootless.errors import RootlessError
from rootless.linux.libc import CLONE_NEWUSER, close_range, setns
from rootless.linux.signals import SIGKILL, reset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PATIENCE = 30_000  # milliseconds
_F_SETOWN, _F_SETSIG = 8, 10
_ANYWHERE = "192.0.2.1", "2001:db8::1"  # documentation addresses: only the route to them is asked for


class NetworkHandle:
    """A running helper: ``kind``, ``pid``, and the descriptors that its life hangs on."""

    __slots__ = ("_errors", "_on_ready", "_ready", "has_ports", "kind", "pid")

    def __init__(self, kind: str, pid: int, ready: int, errors: int, on_ready: Callable[[], None] | None) -> None:
        self.has_ports = False
        self.kind = kind
        self.pid = pid
        self._ready = ready
        self._errors = errors
        self._on_ready = on_ready

    def wait_ready(self) -> None:
        """Wait until packets flow and ports are open. Raises ``RootlessError`` with the helper's own last words."""
        if self._ready < 0:
            return
        waiting = select.poll()
        waiting.register(self._ready, select.POLLIN)
        answer = os.read(self._ready, 64) if waiting.poll(_PATIENCE) else None
        if not answer:
            raise self._failed(answer is None)
        os.close(self._ready)
        self._ready = -1
        if self._on_ready:
            self._on_ready()

    def hand_over(self) -> list[int]:
        """The descriptors that its life hangs on, for a process that takes this one's place."""
        return [fd for fd in (self._ready, self._errors) if fd >= 0]

    def close(self) -> None:
        """End the helper. Its end is waited for only if it has ports, so that the next container can have them."""
        for fd in (self._ready, self._errors):
            if fd >= 0:
                os.close(fd)
        self._ready = self._errors = -1
        try:
            os.waitpid(self.pid, 0 if self.has_ports else os.WNOHANG)
        except ChildProcessError:
            pass

    def _failed(self, stuck: bool) -> RootlessError:
        if stuck:
            self.close()
            return RootlessError(f"cannot connect the container to the network: {self.kind} does not answer")
        os.waitpid(self.pid, 0)
        os.set_blocking(self._errors, False)
        try:
            words = os.read(self._errors, 1 << 16).decode(errors="replace")
        except BlockingIOError:
            words = ""
        self.close()
        return failure(self.kind, words)


def start(kind: str, pid: int, argv: list[str], on_ready: Callable[[], None] | None = None) -> NetworkHandle:
    """Run the program ``argv`` inside the user namespace of process ``pid``, which it finds as standard input:
    ``/proc/self/fd/0`` is that process's network namespace. It says that it is ready by writing to standard output.
    """
    try:
        user = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        try:
            net = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            os.close(user)
            raise
    except OSError as error:
        message = f"cannot connect the container to the network: its namespaces cannot be opened ({error.strerror})"
        raise RootlessError(message) from error
    ready, ready_end = os.pipe2(os.O_CLOEXEC)
    errors, errors_end = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        try:
            _become(user, net, ready_end, errors_end, argv)
        except OSError as error:
            os.write(2, f"{argv[0]}: {error}".encode())
        finally:
            os._exit(127)
    for fd in (user, net, ready_end, errors_end):
        os.close(fd)
    return NetworkHandle(kind, child, ready, errors, on_ready)


def _become(user: int, net: int, ready: int, errors: int, argv: list[str]) -> None:
    """The child: no terminal, no signals of the caller's, no descriptor but three, no environment."""
    os.setsid()
    for number, fd in enumerate((net, ready, errors)):
        os.dup2(fd, number)  # first of all: what fails is told on the helper's standard error
    setns(user, CLONE_NEWUSER)
    close_range(3)
    fcntl.fcntl(2, _F_SETSIG, SIGKILL)
    fcntl.fcntl(2, _F_SETOWN, os.getpid())
    fcntl.fcntl(2, fcntl.F_SETFL, os.O_WRONLY | os.O_NONBLOCK | os.O_ASYNC)
    reset()
    os.chdir("/")
    os.execve(argv[0], argv, {"PATH": "/usr/bin:/bin"})


def route_addresses() -> tuple[str, str]:
    """The IPv4 and the IPv6 address that this machine sends from by its default routes, '' without one. Sends nothing.
    """
    import _socket

    def own(family: int, target: str) -> str:
        try:
            probe = _socket.socket(family, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        except OSError:
            return ""
        try:
            probe.connect((target, 9))
            return str(probe.getsockname()[0])
        except OSError:
            return ""
        finally:
            probe.close()

    return own(_socket.AF_INET, _ANYWHERE[0]), own(_socket.AF_INET6, _ANYWHERE[1])


def failure(kind: str, words: str) -> RootlessError:
    """What a helper said when it gave up, as one of our errors."""
    # An unknown option makes pasta print its whole usage; without a log daemon it complains about each line.
    lines = [line.strip() for line in words.partition("Usage:")[0].splitlines() if line.strip()]
    lines = [line for line in lines if not line.endswith("to syslog")]
    # pasta puts the time before its messages: "1795444871.4656: No interface"
    said = "; ".join(line.partition(": ")[2] if line[:1].isdigit() else line for line in lines[-3:])
    lowered = said.lower()
    hint = ""
    if "address already in use" in lowered:
        hint = "another program or container has the port: choose another host port"
    elif "permission denied" in lowered and "port" in lowered:
        hint = "ports below net.ipv4.ip_unprivileged_port_start are reserved for root: choose a higher host port"
    elif "routable interface" in lowered or "pick" in lowered:
        hint = "the machine has no route to a network: use --network none or --network host"
    said = said or "without a word"
    return RootlessError(f"cannot connect the container to the network: {kind} failed: {said}", hint)
