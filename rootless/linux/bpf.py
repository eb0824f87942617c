"""bpf(2): the filter that decides which devices the processes of a control group may use."""

from __future__ import annotations

import os
from _struct import pack

from rootless.linux.libc import address_of, c_int, c_uint, c_void_p, fail, system_call

_SYS_BPF = 321 if os.uname().machine == "x86_64" else 280
_PROG_LOAD, _PROG_ATTACH = 5, 8
_PROG_TYPE_CGROUP_DEVICE, _CGROUP_DEVICE = 15, 6
_LENGTH = 128

_bpf = system_call(c_int, c_void_p, c_uint)


def attach_device_filter(group: int, program: bytes) -> None:
    """Load ``program`` and let it decide for the control group whose directory is open as ``group``.

    A request that it or the filter of a group above denies fails with EPERM. Raises ``OSError``; root's alone.
    """
    code, licence = bytearray(program), bytearray(b"Apache-2.0\0")
    count = len(program) // 8
    loaded = _call(_PROG_LOAD, pack("IIQQ", _PROG_TYPE_CGROUP_DEVICE, count, address_of(code), address_of(licence)))
    try:
        _call(_PROG_ATTACH, pack("IIII", group, loaded, _CGROUP_DEVICE, 0))
    finally:
        os.close(loaded)


def _call(command: int, attributes: bytes) -> int:
    data = bytearray(attributes.ljust(_LENGTH, b"\0"))
    result = _bpf(_SYS_BPF, command, address_of(data), len(data))
    if result < 0:
        fail("bpf")
    return result
