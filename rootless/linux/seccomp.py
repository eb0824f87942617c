"""Loading of a system call filter: seccomp(2)."""

from __future__ import annotations

import errno
from _struct import pack

from rootless.linux.libc import SYS_SECCOMP, address_of, c_uint, c_void_p, fail, system_call

FLAG_TSYNC, FLAG_LOG, FLAG_SPEC_ALLOW, FLAG_NEW_LISTENER = 1, 2, 4, 8
FLAG_WAIT_KILLABLE_RECV = 32
_SET_MODE_FILTER = 1
_INSTRUCTION = 8

_seccomp = system_call(c_uint, c_uint, c_void_p)


class Filter(bytes):
    """A BPF program, 8 bytes an instruction, and the flags of seccomp(2) that it is to be loaded with."""

    flags: int

    @classmethod
    def of(cls, program: bytes, flags: int) -> Filter:
        """The program with its flags."""
        made = cls(program)
        made.flags = flags
        return made


def load(program: bytes) -> int:
    """Install a program for the calling thread and all that it starts; the listener's descriptor, or 0 without one.

    Needs no_new_privs or CAP_SYS_ADMIN in the user namespace.
    """
    flags = program.flags if isinstance(program, Filter) else 0
    code = bytearray(program)
    header = bytearray(pack("HxxxxxxQ", len(program) // _INSTRUCTION, address_of(code)))
    result = _seccomp(SYS_SECCOMP, _SET_MODE_FILTER, flags, address_of(header))
    if result < 0:
        fail("seccomp")
    return result


def is_supported(flag: int) -> bool:
    """Whether the kernel knows a flag: asked with a program that is not there (seccomp(2), EFAULT)."""
    if flag == FLAG_WAIT_KILLABLE_RECV:
        flag |= FLAG_NEW_LISTENER
    try:
        if _seccomp(SYS_SECCOMP, _SET_MODE_FILTER, flag, None) < 0:
            fail("seccomp")
    except OSError as error:
        return error.errno == errno.EFAULT
    return True
