"""The log driver journald: an entry of systemd's journal for each line.

The protocol is https://systemd.io/JOURNAL_NATIVE_PROTOCOL: a datagram of fields, ``KEY=VALUE`` or, for a value with
newlines, ``KEY``, its length and its bytes. The fields are those of conmon, by which podman and journalctl find them.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SOCKET = "/run/systemd/journal/socket"

_PATIENCE = 1000  # milliseconds for which a journal that is behind holds the container back
_F_ADD_SEALS = 1033
_ALL_SEALS = 0xF  # fcntl(2): no more seals, no change of size, no writing
_MFD_CLOEXEC, _MFD_ALLOW_SEALING = 1, 2


class Journal:
    """The journal, as the log of one container. ``fields``: what is told of it with each line."""

    __slots__ = ("_behind", "_fields", "_path", "_socket")

    def __init__(self, fields: Mapping[str, str], path: str = SOCKET) -> None:
        self._path = path
        self._fields = b"".join(_field(key, value) for key, value in fields.items())
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._behind = False
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise

    def write(self, stream: bytes, data: bytes) -> None:
        """Send ``data``, which the container wrote to ``stream`` (stdout or stderr)."""
        head = self._fields + (b"PRIORITY=3\n" if stream == b"stderr" else b"PRIORITY=6\n")
        lines = data.split(b"\n")
        last = lines.pop()
        for line in lines:
            self._send(head + _message(line))
        if last:
            self._send(head + b"CONTAINER_PARTIAL_MESSAGE=true\n" + _message(last))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _send(self, entry: bytes) -> None:
        """Send an entry. One that the journal does not take in time is lost: it does not stop the container."""
        for _ in range(2):
            try:
                self._socket.send(entry, _socket.MSG_NOSIGNAL)
                self._behind = False
                return
            except BlockingIOError:
                if self._behind or not self._wait():
                    self._behind = True
                    return
            except OSError as error:
                if error.errno in (errno.EMSGSIZE, errno.ENOBUFS):
                    self._send_large(entry)
                    return
                if not self._reconnect():
                    return

    def _wait(self) -> bool:
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLOUT)
        return bool(poll.poll(_PATIENCE))

    def _reconnect(self) -> bool:
        """A journal that was started anew has a new socket."""
        try:
            self._socket.connect(self._path)
        except OSError:
            return False
        return True

    def _send_large(self, entry: bytes) -> None:
        """What fits into no datagram is sent as a sealed file in memory."""
        try:
            fd = os.memfd_create("entry", _MFD_CLOEXEC | _MFD_ALLOW_SEALING)
            try:
                os.write(fd, entry)
                fcntl.fcntl(fd, _F_ADD_SEALS, _ALL_SEALS)
                rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fd.to_bytes(4, "little"))
                self._socket.sendmsg([b""], [rights], _socket.MSG_NOSIGNAL)
            finally:
                os.close(fd)
        except OSError:
            return


def _field(key: str, value: str) -> bytes:
    """A field whose value is one line."""
    return f"{key}={value}\n".replace("\n", " ").encode("utf-8", "surrogateescape")[:-1] + b"\n"


def _message(line: bytes) -> bytes:
    return b"MESSAGE\n" + len(line).to_bytes(8, "little") + line + b"\n"
