"""Processes by descriptor: pidfd_open(2), pidfd_send_signal(2)."""

from __future__ import annotations

import os

from rootless.linux.libc import c_int, c_uint, c_void_p, fail, system_call

_pidfd_send_signal = system_call(c_int, c_int, c_void_p, c_uint)


def pidfd_open(pid: int) -> int:
    """A close-on-exec descriptor of the process, readable once it has ended."""
    return os.pidfd_open(pid)


def pidfd_send_signal(pidfd: int, signal: int) -> bool:
    """Send a signal to exactly that process. ``False``: it is gone."""
    if _pidfd_send_signal(424, pidfd, signal, None, 0) == 0:
        return True
    try:
        fail("pidfd_send_signal")
    except ProcessLookupError:
        return False
