"""A time namespace for the children of this process: time_namespaces(7)."""

from __future__ import annotations

import os

from rootless.errors import RootlessError
from rootless.linux.libc import CLONE_NEWTIME, unshare


def leave_clocks(offsets: bytes) -> None:
    """Give the next children clocks of their own; ``offsets`` are lines of /proc/PID/timens_offsets."""
    try:
        unshare(CLONE_NEWTIME)
    except OSError as error:
        raise RootlessError(f"cannot make a time namespace: {os.strerror(error.errno or 0)}") from None
    if not offsets:
        return
    try:
        fd = os.open("/proc/self/timens_offsets", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, offsets)
        finally:
            os.close(fd)
    except OSError as error:
        hint = "a clock may not run backwards past the start of the machine"
        raise RootlessError(f"cannot set linux.timeOffsets: {os.strerror(error.errno or 0)}", hint) from None
