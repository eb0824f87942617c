"""The loopback interface of a new network namespace: netdevice(7)."""

from __future__ import annotations

import _socket
import fcntl
from _struct import pack, unpack_from

_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP = 1


def loopback_up() -> None:
    """Switch ``lo`` on; the kernel gives it its addresses."""
    end = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    try:
        request = pack("16sH22x", b"lo", 0)
        flags = unpack_from("H", fcntl.ioctl(end.fileno(), _SIOCGIFFLAGS, request), 16)[0]
        fcntl.ioctl(end.fileno(), _SIOCSIFFLAGS, pack("16sH22x", b"lo", flags | _IFF_UP))
    finally:
        end.close()
