"""What a process does that holds credentials: its memory is for nobody to read, and is not left in a core file."""

from __future__ import annotations

import resource

from rootless.linux.libc import PR_SET_DUMPABLE, prctl


def close() -> None:
    """Close the memory of this process for good: no core file, no debugger, and no ``/proc/PID/environ`` for others.

    Nobody but root can write the id map of a user namespace that it, or what it forks, makes afterwards.
    """
    prctl(PR_SET_DUMPABLE, 0)


def leave_no_core() -> None:
    """Leave no core file of this process, or of what it forks, where its memory must stay open for id maps."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
