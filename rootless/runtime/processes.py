"""Which processes of the host are those of a container."""

from __future__ import annotations

import os

from rootless.cgroups.v2 import Cgroup


def of_container(pid: int, cgroup: str = "") -> list[int]:
    """The pids on the host of a container's processes, in ascending order. ``pid``: its first process.

    They are those of its control group, where it has one; else those in its pid namespace or one below it.
    """
    if cgroup:
        try:
            return sorted(Cgroup(cgroup).pids())
        except OSError:
            pass
    try:
        wanted = os.stat(f"/proc/{open_to_us(pid)}/ns/pid").st_ino
        if wanted == os.stat("/proc/self/ns/pid").st_ino:
            return [pid]
        depth = _depth(pid)
    except OSError:
        return []
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and (int(name) == pid or _is_inside(name, wanted, pid, depth)):
            found.append(int(name))
    return sorted(found)


def open_to_us(pid: int) -> int:
    """The process itself, or its oldest child where it is closed to everybody, as that of ``--init`` is.

    Raises ``OSError`` when it has ended.
    """
    try:
        os.stat(f"/proc/{pid}/ns/pid")
    except PermissionError:
        from rootless.runtime.enter import first_child

        return first_child(pid)
    return pid


def _is_inside(name: str, wanted: int, pid: int, depth: int) -> bool:
    try:
        if os.stat(f"/proc/{name}/ns/pid").st_ino == wanted:
            return True
        if _depth(int(name)) <= depth:
            return False
        # In a namespace below: its first process, or an ancestor of that, is one of the container's.
        while name not in ("0", "1"):
            with open(f"/proc/{name}/stat", "rb", buffering=0) as file:
                name = file.read(4096).rpartition(b")")[2].split()[1].decode()
            if name == str(pid):
                return True
    except OSError:
        pass
    return False


def _depth(pid: int) -> int:
    """How many pid namespaces the process is in (NSpid in proc_pid_status(5))."""
    with open(f"/proc/{pid}/status", "rb", buffering=0) as file:
        line = next((line for line in file.read(8192).split(b"\n") if line.startswith(b"NSpid:")), b"")
    return len(line.split()) - 1
