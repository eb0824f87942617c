"""Loading of a system call filter: seccomp(2)."""

from __future__ import annotations

from _struct import pack

from rootless.linux.libc import SYS_SECCOMP, address_of, c_uint, c_void_p, fail, system_call

_SET_MODE_FILTER = 1
_INSTRUCTION = 8

_seccomp = system_call(c_uint, c_uint, c_void_p)


def load(program: bytes) -> None:
    """Install a BPF program (8 bytes an instruction) for the calling thread and all that it starts.

    Needs no_new_privs or CAP_SYS_ADMIN in the user namespace.
    """
    code = bytearray(program)
    header = bytearray(pack("HxxxxxxQ", len(program) // _INSTRUCTION, address_of(code)))
    if _seccomp(SYS_SECCOMP, _SET_MODE_FILTER, 0, address_of(header)):
        fail("seccomp")
