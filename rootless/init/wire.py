"""The handshake between the caller, the shim and the container's init: small typed messages on a packet socket.

::

    caller                      shim                         init
      │ ── fork ───────────────► │
      │ ◄────────── UNSHARED ─── │  the user namespace exists
      │ (newuidmap, newgidmap)   │ ── fork ─────────────────► │
      │ ◄─────────────── INIT ── │  init's pid and pidfd      │ (other namespaces, sources of mounts)
      │ ◄──────────────────────────────────────── NAMESPACES ─ │
      │ (network: its helper opens the namespaces)             │
      │ ── MAPPED ───────────────────────────────────────────► │ becomes 0, is not dumpable any more, mounts
      │ (hooks)                                                │
      │ ── ATTACHED ─────────────────────────────────────────► │ only where hooks need the moment before the pivot
      │ ◄───────────────────────────────────────────── READY ─ │ with the terminal's descriptor
      │ ── START ────────────────────────────────────────────► │ execve: the socket closes
      │ ◄──── EXITED ─────────── │  on the socket of its own, which is the caller's lifeline too

FAILED may come instead of any of the child's messages. A closed socket means that its holder is gone.
"""

from __future__ import annotations

import _socket
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    Value = str | bytes | int | None | list[str] | list[int]

UNSHARED, INIT, NAMESPACES, MAPPED, ATTACHED, READY, START, FAILED, EXITED = range(1, 10)
NAMES = ("CLOSED", "UNSHARED", "INIT", "NAMESPACES", "MAPPED", "ATTACHED", "READY", "START", "FAILED", "EXITED")
CLOSED = 0
_LIMIT = 1 << 16
_FD_SIZE = 4


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
            data, ancillary, _, _ = self._socket.recvmsg(
                _LIMIT, _socket.CMSG_SPACE(_FD_SIZE), _socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:
            return CLOSED, ()
        if not data:
            return CLOSED, ()
        values: tuple[Value, ...] = marshal.loads(data[1:]) if len(data) > 1 else ()
        for level, kind, payload in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                values += (int.from_bytes(payload[:_FD_SIZE], sys.byteorder),)
        return data[0], values

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


def pair() -> tuple[Channel, Channel]:
    """Two connected ends; messages keep their borders."""
    first, second = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    return Channel(first), Channel(second)


def exit_code(status: int) -> int:
    """A wait status as a shell's exit code: 128+N for signal N."""
    result = os.waitstatus_to_exitcode(status)
    return 128 - result if result < 0 else result
