"""What a container's monitor may change of the file system, where the kernel has Landlock.

The engine gives the rights up before it executes the monitor in its own place, so the monitor has nothing to load for
it. One that will start the engine cannot be confined: what Landlock has taken stays taken, in whatever is executed, and
who is confined may never mount again or use newuidmap. So containers with ``--rm``, a restart policy or a health check
have a monitor that is not.
"""

from __future__ import annotations

import os

from rootless.linux import landlock
from rootless.linux.landlock import MAKE_REG, REMOVE_DIR, REMOVE_FILE, TRUNCATE, WRITE_FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_FILES = WRITE_FILE | REMOVE_FILE | MAKE_REG | TRUNCATE


def becomes_the_engine(settings: Mapping[str, Any]) -> bool:
    """Whether a monitor with these settings (see rootless.monitor.settings) may start the engine."""
    return bool(settings["rm"] or settings["policy"] != "no" or settings["health"])


def confine(settings: Mapping[str, Any]) -> bool:
    """Leave this process, and the monitor that it executes, the rights for its work; ``False``: it keeps all it has."""
    if becomes_the_engine(settings):
        return False
    rules = []
    try:
        for path, rights in _places(settings):
            try:
                rules.append((os.open(path, os.O_PATH | os.O_CLOEXEC), rights))
            except OSError:  # what is not there needs no right
                continue
        return landlock.restrict_changes(rules)
    except OSError:
        return False  # a process can be confined 16 times, then no more: as on a kernel that cannot
    finally:
        for fd, _ in rules:
            os.close(fd)


def _places(settings: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Paths and the rights on them."""
    run, cgroup, log = settings["run"], settings["cgroup"], settings["log"].get("path", "")
    places = [
        (settings["directory"], _FILES),  # the exit code, and the log where it usually is
        (run, REMOVE_FILE | REMOVE_DIR),
        (os.path.dirname(run), REMOVE_DIR),
        (settings["events"], WRITE_FILE),
        (settings["reserve"], WRITE_FILE | TRUNCATE),
        ("/proc/self/comm", WRITE_FILE | TRUNCATE),
    ]
    if cgroup:
        places.append((os.path.dirname(cgroup), REMOVE_DIR))
    if log and os.path.dirname(log) != settings["directory"]:
        places.append((log, WRITE_FILE | TRUNCATE))
        if settings["log"]["max_size"]:
            places.append((os.path.dirname(log), _FILES))  # a new file takes the place of one that is full
    return places
