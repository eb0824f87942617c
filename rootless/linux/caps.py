"""Capabilities of the calling process: capset(2) and the bounding and ambient sets of prctl(2).

Sets are whole numbers with bit N for capability N.
"""

from __future__ import annotations

from _struct import pack, unpack_from

from rootless.linux.libc import (
    PR_CAP_AMBIENT,
    PR_CAPBSET_DROP,
    PR_CAPBSET_READ,
    buffer,
    c_char_p,
    c_void_p,
    fail,
    function,
    prctl,
    prctl_quiet,
)

CAP_CHOWN, CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN = 0, 6, 7, 21
_VERSION_3 = 0x20080522
_AMBIENT_RAISE, _AMBIENT_CLEAR_ALL = 2, 4
_LOW = 0xFFFFFFFF

_capset = function("capset", c_char_p, c_char_p)
_capget = function("capget", c_char_p, c_void_p)


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set the three sets of the calling thread."""
    data = pack(
        "6I",
        effective & _LOW, permitted & _LOW, inheritable & _LOW,
        effective >> 32, permitted >> 32, inheritable >> 32,
    )  # fmt: skip
    if _capset(pack("Ii", _VERSION_3, 0), data):
        fail("capset")


def permitted() -> int:
    """The permitted set of the calling thread."""
    data, address = buffer(24)
    if _capget(pack("Ii", _VERSION_3, 0), address):
        fail("capget")
    low, high = unpack_from("4xI8xI", data)
    return int(low | high << 32)


def effective() -> int:
    """The effective set of the calling thread."""
    with open("/proc/thread-self/status", "rb", buffering=0) as file:
        return int(file.read(1 << 16).partition(b"\nCapEff:")[2].split(None, 1)[0], 16)


def limit_bounding(keep: int) -> None:
    """Drop from the bounding set every capability that is not in ``keep``."""
    number = 0
    while True:
        present = prctl_quiet(PR_CAPBSET_READ, number)
        if present < 0:
            return
        if present and not keep >> number & 1:
            prctl(PR_CAPBSET_DROP, number)
        number += 1


def set_ambient(wanted: int) -> None:
    """Make ``wanted`` the ambient set; each must be permitted and inheritable."""
    prctl(PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL)
    number = 0
    while wanted:
        if wanted & 1:
            prctl(PR_CAP_AMBIENT, _AMBIENT_RAISE, number)
        wanted >>= 1
        number += 1
