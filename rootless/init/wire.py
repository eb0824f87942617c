"""The handshake between the caller, the shim and the container's init: small typed messages on a packet socket.

::

    caller                      shim                         init
      │ ── fork ───────────────► │
      │ ── PLACE ──────────────► │  only with a control group: joins it
      │ ◄────────── UNSHARED ─── │  the user namespace exists
      │ (newuidmap, newgidmap)   │ ── fork ─────────────────► │
      │ ◄─────────────── INIT ── │  init's pid and pidfd      │ (other namespaces, sources of mounts)
      │ ◄──────────────────────────────────────── NAMESPACES ─ │
      │ (network: its helper opens the namespaces)             │
      │ ── MAPPED ───────────────────────────────────────────► │ becomes 0, is not dumpable any more, mounts
      │ ◄─────────────────────────────────────────── MOUNTED ─ │ only with hooks: before the pivot
      │ (hooks)                                                │
      │ ── ATTACHED ─────────────────────────────────────────► │
      │ ◄───────────────────────────────────────────── READY ─ │ with the terminal's descriptor
      │ ── START ────────────────────────────────────────────► │ execve: the socket closes
      │ ◄─────────────────────────────────────────── AIRLOCK ─ │ only with one: its report
      │ ◄────────────────────────────────────────── LISTENER ─ │ only with a filter that asks another program
      │ ── START ────────────────────────────────────────────► │ that program has the listener
      │ ◄──── EXITED ─────────── │  on the socket of its own, which is the caller's lifeline too

FAILED may come instead of any of the child's messages. A closed socket means that its holder is gone.

A *detached* container (`Detached`) has no shim beside it: that gets a MAPPED of its own, when the maps are written and
init has its namespaces, and ends; init becomes a child of the caller, or of whoever adopts the caller's orphans. With a
gate, init waits there for START, from any process that can connect to it, after the caller is gone.
"""

from __future__ import annotations

import _socket
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    Value = str | bytes | int | None | list[str] | list[int]

UNSHARED, INIT, NAMESPACES, MAPPED, ATTACHED, READY, START, FAILED, EXITED, PLACE, MOUNTED, LISTENER = range(1, 13)
AIRLOCK = 13
NAMES = (
    "CLOSED", "UNSHARED", "INIT", "NAMESPACES", "MAPPED", "ATTACHED", "READY", "START", "FAILED", "EXITED", "PLACE",
    "MOUNTED", "LISTENER", "AIRLOCK",
)  # fmt: skip
CLOSED = 0
_LIMIT = 1 << 16
_FD_SIZE = 4
_BACKLOG = 64


class Detached:
    """How a container lives on without its caller.

    ``gate``: a listening socket on which init waits for START, -1: it waits for the caller's. ``guardian``: the process
    with which init dies, and whose child it becomes; 0: nobody.
    """

    __slots__ = ("gate", "guardian")

    def __init__(self, gate: int = -1, guardian: int = 0) -> None:
        self.gate = gate
        self.guardian = guardian


class Channel:
    """One end of a packet socket."""

    __slots__ = ("_socket",)

    def __init__(self, end: _socket.socket) -> None:
        self._socket = end

    def fileno(self) -> int:
        """The descriptor, close-on-exec."""
        return self._socket.fileno()

    def send(self, kind: int, *values: Value, fd: int | None = None) -> bool:
        """Send one message, with a descriptor if given. ``False``: the other side is gone."""
        data = bytes((kind,)) + (marshal.dumps(values) if values else b"")
        passed = b"" if fd is None else fd.to_bytes(_FD_SIZE, sys.byteorder)
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, passed)] if passed else []
        try:
            self._socket.sendmsg([data], ancillary, _socket.MSG_NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def receive(self) -> tuple[int, tuple[Value, ...]]:
        """Wait for a message: its kind (``CLOSED`` at the end) and its values, the last a passed descriptor."""
        try:
            data, ancillary = self._receive()
        except ConnectionResetError:
            # Told once, where the other side ended without reading all: before what it had sent, which is still here.
            data, ancillary = self._receive()
        if not data:
            return CLOSED, ()
        values: tuple[Value, ...] = marshal.loads(data[1:]) if len(data) > 1 else ()
        for level, kind, payload in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                values += (int.from_bytes(payload[:_FD_SIZE], sys.byteorder),)
        return data[0], values

    def _receive(self) -> tuple[bytes, list[tuple[int, int, bytes]]]:
        space = _socket.CMSG_SPACE(_FD_SIZE)
        data, ancillary, _, _ = self._socket.recvmsg(_LIMIT, space, _socket.MSG_CMSG_CLOEXEC)
        return data, ancillary

    def take_over(self, other: Channel) -> None:
        """Go on with the connection of ``other``; the own one is closed."""
        self._socket.close()
        self._socket = other._socket

    def detach(self) -> _socket.socket:
        """The socket itself, for another protocol."""
        return self._socket

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


def pair() -> tuple[Channel, Channel]:
    """Two connected ends; messages keep their borders."""
    first, second = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    return Channel(first), Channel(second)


def listen(directory: str, name: str) -> int:
    """A socket of mode 0600 in ``directory``, listening; its descriptor. The directory's path may be of any length."""
    end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    where = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    mask = os.umask(0o177)
    try:
        end.bind(f"/proc/self/fd/{where}/{name}")
        end.listen(_BACKLOG)
        return end.detach()
    finally:
        os.umask(mask)
        os.close(where)


def connect(directory: str, name: str) -> Channel:
    """The other end of a socket made by :func:`listen`. Raises ``OSError`` when nobody listens."""
    where = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        end.connect(f"/proc/self/fd/{where}/{name}")
    except OSError:
        end.close()
        raise
    finally:
        os.close(where)
    return Channel(end)


def accept(gate: int) -> Channel:
    """Wait for a connection to a listening socket."""
    listener = _socket.socket(fileno=gate)
    try:
        fd = listener._accept()[0]  # type: ignore[attr-defined]
    finally:
        listener.detach()
    return Channel(_socket.socket(fileno=fd))


def exit_code(status: int) -> int:
    """A wait status as a shell's exit code: 128+N for signal N."""
    result = os.waitstatus_to_exitcode(status)
    return 128 - result if result < 0 else result
