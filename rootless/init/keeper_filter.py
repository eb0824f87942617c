"""The filter that brings the keeper (`rootless.init.keeper`) its system calls, and the numbers of these.

It is written by hand, as it must be had where libseccomp is not: comparisons of one number, for each architecture that
the machine runs programs of. The kernel remembers that all other calls pass (Linux 5.11), so they cost nothing.
"""

from __future__ import annotations

import os
from _struct import pack

_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ | BPF_K, BPF_RET | BPF_K
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4  # struct seccomp_data
_ALLOW, _ASK, _SUCCEED = 0x7FFF0000, 0x7FC00000, 0x00050000  # SECCOMP_RET_ALLOW, _USER_NOTIF, _ERRNO with 0

CHOWN = ("chown", "lchown", "fchown", "fchownat")
SET_IDS = ("setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups")
GET_IDS = ("getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid")

# asm/unistd_64.h of x86, asm-generic/unistd.h, and the calls with whole ids of 32-bit x86 and ARM.
_X86_64 = {
    "chown": 92, "fchown": 93, "lchown": 94, "fchownat": 260, "getuid": 102, "getgid": 104, "setuid": 105,
    "setgid": 106, "geteuid": 107, "getegid": 108, "setreuid": 113, "setregid": 114, "setgroups": 116, "setresuid": 117,
    "getresuid": 118, "setresgid": 119, "getresgid": 120,
}  # fmt: skip
_GENERIC = {
    "fchownat": 54, "fchown": 55, "setregid": 143, "setgid": 144, "setreuid": 145, "setuid": 146, "setresuid": 147,
    "getresuid": 148, "setresgid": 149, "getresgid": 150, "setgroups": 159, "getuid": 174, "geteuid": 175,
    "getgid": 176, "getegid": 177,
}  # fmt: skip
_I386 = {
    "lchown": 198, "getuid": 199, "getgid": 200, "geteuid": 201, "getegid": 202, "setreuid": 203, "setregid": 204,
    "setgroups": 206, "fchown": 207, "setresuid": 208, "getresuid": 209, "setresgid": 210, "getresgid": 211,
    "chown": 212, "setuid": 213, "setgid": 214, "fchownat": 298,
}  # fmt: skip
_ARM = {**_I386, "fchownat": 325}

_MACHINES = {
    "x86_64": {0xC000003E: _X86_64, 0x40000003: _I386},
    "aarch64": {0xC00000B7: _GENERIC, 0x40000028: _ARM},
    "riscv64": {0xC00000F3: _GENERIC},
    "loongarch64": {0xC0000102: _GENERIC},
}
"""For each machine (``uname -m``) the architectures (AUDIT_ARCH of linux/audit.h) and their calls."""

_TABLES = _MACHINES.get(os.uname().machine, {})
_NAMES = {
    (architecture, number): name for architecture, calls in _TABLES.items() for name, number in calls.items()
}


def is_possible() -> bool:
    """Whether the calls of this machine are known here."""
    return bool(_TABLES)


def name_of(architecture: int, number: int) -> str:
    """The name of a call that the filter asks about; empty for another."""
    return _NAMES.get((architecture, number), "")


def asking() -> bytes:
    """The program that has each of the calls answered by the keeper."""
    return _program([*CHOWN, *SET_IDS, *GET_IDS], _ASK)


def succeeding(names: list[str]) -> bytes:
    """The program that lets calls succeed without doing anything."""
    return _program(names, _SUCCEED)


def _program(names: list[str], action: int) -> bytes:
    code = pack("HBBI", _LOAD, 0, 0, _ARCHITECTURE_AT)
    for architecture, calls in _TABLES.items():
        numbers = [calls[name] for name in names if name in calls]
        count = len(numbers)
        code += pack("HBBI", _EQUAL, 0, count + 3, architecture)
        code += pack("HBBI", _LOAD, 0, 0, _NUMBER_AT)
        for at, number in enumerate(numbers):
            code += pack("HBBI", _EQUAL, count - at, 0, number)
        code += pack("HBBI", _RETURN, 0, 0, _ALLOW) + pack("HBBI", _RETURN, 0, 0, action)
    return code + pack("HBBI", _RETURN, 0, 0, _ALLOW)
