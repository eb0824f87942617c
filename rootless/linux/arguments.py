"""The command line of this process, as others see it: proc_pid_cmdline(5) and ps(1)."""

from __future__ import annotations

from rootless.linux.libc import c_int, c_ulong, c_void_p, function

_memset = function("memset", c_void_p, c_int, c_ulong)
_ARG_START = 48 - 3  # proc_pid_stat(5): field 48, where the first after the bracket is field 3


def clear() -> None:
    """Make the command line empty, for good.

    Anyone who sees the process may read it, also in a container that the process joins, where the caller's paths and
    options are nobody's business. Needs the host's /proc.
    """
    with open("/proc/self/stat", "rb", buffering=0) as file:
        fields = file.read(4096).rpartition(b")")[2].split()
    start, end = int(fields[_ARG_START]), int(fields[_ARG_START + 1])
    if 0 < start < end:
        _memset(start, 0, end - start)
