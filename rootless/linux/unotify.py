"""System calls that a filter hands to another process, which answers them (seccomp_unotify(2))."""

from __future__ import annotations

import errno
import fcntl
from _struct import pack, pack_into, unpack_from

_RECEIVE, _SEND, _IS_VALID = 0xC0502100, 0xC0182101, 0x40082102  # linux/seccomp.h
_CALL = 80
_CONTINUE = 1


class Call:
    """A call that waits for its answer. ``pid``: of the thread, as the listener's pid namespace has it.

    ``architecture`` and ``number`` are those of struct seccomp_data; ``arguments`` are six unsigned words.
    """

    __slots__ = ("architecture", "arguments", "key", "number", "pid")

    def __init__(self, data: bytes | bytearray) -> None:
        self.key, self.pid, _, self.number, self.architecture = unpack_from("QIIiI", data)
        self.arguments: tuple[int, ...] = unpack_from("6Q", data, 32)


def receive(listener: int) -> Call | None:
    """The call that waits longest; None if its caller has ended meanwhile."""
    data = bytearray(_CALL)
    try:
        fcntl.ioctl(listener, _RECEIVE, data)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINTR):
            return None
        raise
    return Call(data)


def is_valid(listener: int, call: Call) -> bool:
    """Whether the call still waits: then what was opened by its pid was its caller's."""
    try:
        fcntl.ioctl(listener, _IS_VALID, pack("Q", call.key))
    except FileNotFoundError:
        return False
    return True


def answer(listener: int, call: Call, value: int = 0, error: int = 0) -> None:
    """Let the call return ``value``, or fail with the number ``error``. A caller that has ended is no failure."""
    _send(listener, call, value, -error, 0)


def let_pass(listener: int, call: Call) -> None:
    """Let the kernel do what was called."""
    _send(listener, call, 0, 0, _CONTINUE)


def _send(listener: int, call: Call, value: int, error: int, flags: int) -> None:
    data = bytearray(24)
    pack_into("QqiI", data, 0, call.key, value, error, flags)
    try:
        fcntl.ioctl(listener, _SEND, data)
    except FileNotFoundError:
        return
