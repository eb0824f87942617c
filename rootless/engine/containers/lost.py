"""The state of a container that runs, found again where its file below RUN is gone or damaged.

What cleans directories of the user's runtime, and a disk in the place of one in memory, take files of containers that
run. Who looks after such a container is known to the kernel all the same: it holds the container's directory, and a
descriptor of the container's first process.
"""

from __future__ import annotations

import os

from rootless.cgroups.tree import group_of, hierarchy
from rootless.engine.containers.running import make_run_directory
from rootless.engine.containers.status import STARTED
from rootless.idmaps import read
from rootless.runtime import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rootless.engine.context import Engine
    from rootless.runtime.state import State

_MONITOR = b"/monitor/__main__.py"
_PIDFD = "anon_inode:[pidfd]"


def regain(engine: Engine, container_id: str, last: Mapping[str, Any]) -> State | None:
    """The state of a container that has a monitor, and is put down once more; None if none watches over it.

    ``last``: how its last run began, and ended, as far as that was put down. What the container lacks because the
    machine does (``notes``) is not known any more.
    """
    directory = os.stat(engine.store.layout.container(container_id))
    for word in os.listdir("/proc"):
        if not word.isdigit():
            continue
        try:
            pid = _watched(int(word), directory)
        except OSError:  # another user's, or it has ended
            continue
        if pid:
            break
    else:
        return None
    found = state.of_process(container_id, pid, engine.store.layout.container(container_id))
    begun = last.get("started", 0) if "finished" not in last else 0
    found["started"] = bool(begun)
    found["annotations"] = {STARTED: str(begun)}
    found["monitor"] = int(word)
    found["monitor_start"] = state.start_time(int(word)) or 0
    found["cgroup"], found["cgroup_manager"] = _group(container_id, pid)
    found["cgroup_why"] = ""
    found["notes"] = []
    if not found["start_time"] or not found["monitor_start"]:
        return None
    state.write(make_run_directory(engine, container_id), found)
    return found


def _watched(monitor: int, directory: os.stat_result) -> int:
    """The first process of the container that is watched over; 0 if ``monitor`` is not this container's monitor.

    A process of a container, which could look like one, is in another user namespace. Raises ``OSError``.
    """
    words = read(f"/proc/{monitor}/cmdline").split(b"\0")
    if not any(word.endswith(_MONITOR) for word in words[1:3]):
        return 0
    if not os.path.samefile(f"/proc/{monitor}/ns/user", "/proc/self/ns/user"):
        return 0
    holds, watched = False, 0
    for number in os.listdir(f"/proc/{monitor}/fd"):
        path = f"/proc/{monitor}/fd/{number}"
        if os.readlink(path) == _PIDFD:
            lines = read(f"/proc/{monitor}/fdinfo/{number}").split(b"\n")
            pid = next((int(line[4:]) for line in lines if line.startswith(b"Pid:")), 0)
            watched = max(watched, pid)  # -1: it has ended
        else:
            holds = holds or os.path.samestat(os.stat(path), directory)
    return watched if holds else 0


def _group(container_id: str, pid: int) -> tuple[str, str]:
    """The directory of the container's control group, empty for none, and who made it (`rootless.cgroups.manager`)."""
    parts = group_of(pid).split("/")
    at = next((number for number, part in enumerate(parts) if container_id in part), -1)
    if at < 0:
        return "", "none"
    scope = parts[at].endswith(".scope")
    path = hierarchy()[0] + "/".join([*parts[: at + 1], "container"] if scope else parts[: at + 1])
    return path, "systemd" if scope else "split" if parts[at].startswith("container-") else "cgroupfs"
