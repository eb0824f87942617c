"""Network devices by rtnetlink(7): their addresses, their state, and their move to another network namespace."""

from __future__ import annotations

import _socket
import os
from _struct import pack, unpack_from

_SOCKET_TYPE = _socket.SOCK_RAW | _socket.SOCK_CLOEXEC
_NETLINK, _ROUTE = 16, 0
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP, _CREATE, _REPLACE = 1, 4, 0x300, 0x400, 0x100
_NEWLINK, _GETLINK, _NEWADDR, _GETADDR = 16, 18, 20, 22
_IFLA_IFNAME, _IFLA_NET_NS_FD, _IFLA_NEW_IFINDEX = 3, 28, 49
_IFA_LABEL, _IFA_FLAGS = 3, 8
_IFF_UP = 1
_IFA_F_PERMANENT = 0x80
_SCOPE_UNIVERSE = 0
_BUFFER = 1 << 16


class Route:
    """A connection to the network stack of the network namespace in which it was made. Raises ``OSError``."""

    def __init__(self) -> None:
        self._socket = _socket.socket(_NETLINK, _SOCKET_TYPE, _ROUTE)
        self._number = 0

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def devices(self) -> dict[str, int]:
        """The indexes of all devices, by name."""
        found = {}
        for message in self._ask(_GETLINK, _DUMP, _link(0)):
            for kind, value in _attributes(message[16:]):
                if kind == _IFLA_IFNAME:
                    found[value.rstrip(b"\0").decode(errors="surrogateescape")] = unpack_from("=i", message, 4)[0]
        return found

    def addresses(self, index: int) -> list[bytes]:
        """The permanent addresses of universal scope of a device, for :meth:`add_address`; without their labels."""
        found = []
        for message in self._ask(_GETADDR, _DUMP, pack("=BBBBI", 0, 0, 0, 0, 0)):
            _, _, flags, scope, owner = unpack_from("=BBBBI", message)
            kept = message[:8]
            for kind, value in _attributes(message[8:]):
                if kind == _IFA_FLAGS:
                    flags = unpack_from("=I", value)[0]
                if kind != _IFA_LABEL:
                    kept += _attribute(kind, value)
            if owner == index and flags & _IFA_F_PERMANENT and scope == _SCOPE_UNIVERSE:
                found.append(kept)
        return found

    def add_address(self, index: int, address: bytes) -> None:
        """Give a device an address that another connection told of."""
        self._ask(_NEWADDR, _ACK | _CREATE | _REPLACE, address[:4] + pack("=I", index) + address[8:])

    def move(self, index: int, namespace: int, name: str, new_index: int) -> None:
        """Move a device to the network namespace ``namespace`` (a descriptor), where ``name`` and index are new."""
        attributes = _attribute(_IFLA_NET_NS_FD, pack("=I", namespace))
        attributes += _attribute(_IFLA_IFNAME, name.encode() + b"\0")
        attributes += _attribute(_IFLA_NEW_IFINDEX, pack("=i", new_index))
        self._ask(_NEWLINK, _ACK, _link(index) + attributes)

    def set_up(self, index: int) -> None:
        """Switch a device on."""
        self._ask(_NEWLINK, _ACK, _link(index, _IFF_UP, _IFF_UP))

    def _ask(self, kind: int, flags: int, body: bytes) -> list[bytes]:
        """Send one request; the bodies of the messages that answer it."""
        self._number += 1
        head = pack("=IHHII", 16 + len(body), kind, flags | _REQUEST, self._number, 0)
        self._socket.send(head + body)
        found: list[bytes] = []
        while True:
            data = self._socket.recv(_BUFFER)
            while data:
                length, answer, _, number, _ = unpack_from("=IHHII", data)
                part, data = data[16:length], data[(length + 3) & ~3 :]
                if number != self._number:
                    continue
                if answer == _ERROR:
                    code = -unpack_from("=i", part)[0]
                    if code:
                        raise OSError(code, f"netlink: {os.strerror(code)}")
                    return found
                if answer == _DONE:
                    return found
                found.append(part)
                if not flags & (_DUMP | _ACK):
                    return found


def _link(index: int, flags: int = 0, change: int = 0) -> bytes:
    return pack("=BxHiII", 0, 0, index, flags, change)


def _attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return pack("=HH", length, kind) + value + b"\0" * (-length % 4)


def _attributes(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while len(data) >= 4:
        length, kind = unpack_from("=HH", data)
        if length < 4:
            break
        found.append((kind, data[4:length]))
        data = data[(length + 3) & ~3 :]
    return found
