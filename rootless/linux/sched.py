"""Scheduling, input/output priority and NUMA policy: sched_setattr(2), ioprio_set(2), set_mempolicy(2)."""

from __future__ import annotations

from rootless.linux.libc import _X86_64, c_char_p, c_int, c_uint, c_ulong, fail, system_call

_SCHED_SETATTR = 314 if _X86_64 else 274
_IOPRIO_SET = 251 if _X86_64 else 30
_SET_MEMPOLICY = 238 if _X86_64 else 237
_IOPRIO_WHO_PROCESS = 1

_sched_setattr = system_call(c_int, c_char_p, c_uint)
_ioprio_set = system_call(c_int, c_int, c_int)
_set_mempolicy = system_call(c_int, c_char_p, c_ulong)


def sched_setattr(pid: int, attributes: bytes) -> None:
    """Set the policy and parameters of a process, 0 for the caller, as a ``struct sched_attr``."""
    if _sched_setattr(_SCHED_SETATTR, pid, attributes, 0):
        fail("sched_setattr")


def ioprio_set(pid: int, priority: int) -> None:
    """Set the I/O priority of a process, 0 for the caller: the class in bits 13 to 15, the level below."""
    if _ioprio_set(_IOPRIO_SET, _IOPRIO_WHO_PROCESS, pid, priority):
        fail("ioprio_set")


def set_mempolicy(mode: int, nodes: bytes) -> None:
    """Set the memory policy of the calling thread and all that it starts; ``nodes`` is a bit mask of whole words."""
    # The kernel takes one bit less than it is told.
    if _set_mempolicy(_SET_MEMPOLICY, mode, nodes or None, len(nodes) * 8 + 1 if nodes else 0):
        fail("set_mempolicy")
