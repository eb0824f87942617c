"""What a process does that holds credentials: its memory is for nobody to read, and is not left in a core file."""

from __future__ import annotations

import resource

from rootless.linux.libc import PR_SET_DUMPABLE, c_int, c_ulong, c_void_p, fail, function, prctl

_madvise = function("madvise", c_void_p, c_ulong, c_int)
_DONTDUMP = 16  # MADV_DONTDUMP of madvise(2)


def close() -> None:
    """Close the memory of this process for good: no core file, no debugger, and no ``/proc/PID/environ`` for others.

    Nobody but root can write the id map of a user namespace that it, or what it forks, makes afterwards.
    """
    prctl(PR_SET_DUMPABLE, 0)


def leave_no_core() -> None:
    """Leave no core file of this process, or of what it forks, where its memory must stay open for id maps.

    What it executes inherits that.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def leave_out_of_core() -> None:
    """Keep what is in memory now out of the core files of this process and of what it forks.

    For who goes on to execute a container's program, which is to have the limits of the caller. Needs the host's /proc.
    """
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        rows = [line.split(maxsplit=2)[:2] for line in file]
    for span, permissions in rows:
        if permissions.startswith("rw"):
            start, _, end = span.partition("-")
            at = int(start, 16)
            if _madvise(at, int(end, 16) - at, _DONTDUMP):
                fail("madvise")
