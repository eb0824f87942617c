"""The tree of control groups, version 2: where it is mounted, and where in it a process is."""

from __future__ import annotations

import os

from rootless.linux.libc import CGROUP2_MAGIC, file_system_type

MOUNT = "/sys/fs/cgroup"


def hierarchy() -> tuple[str, bool]:
    """Where version 2 is mounted (empty: nowhere), and whether it is the only hierarchy, which has the controllers."""
    for path, unified in ((MOUNT, True), (f"{MOUNT}/unified", False)):
        try:
            fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if file_system_type(fd) == CGROUP2_MAGIC:
                return path, unified
        finally:
            os.close(fd)
    return "", False


def group_of(pid: int | str = "self") -> str:
    """The version 2 group of a process, as a path below the mount point; empty if it has none or is gone."""
    try:
        fd = os.open(f"/proc/{pid}/cgroup", os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = os.read(fd, 1 << 16)
        finally:
            os.close(fd)
    except OSError:
        return ""
    for line in text.splitlines():
        if line.startswith(b"0::"):
            return os.fsdecode(line[3:])
    return ""
