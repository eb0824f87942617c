"""Where the tests run: may they add users, open devices and act as root here?"""

from __future__ import annotations

import os
from pathlib import Path


def in_container() -> bool:
    """Whether this machine is a container or a disposable sandbox, by the marks that container managers leave."""
    if any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv", "/run/systemd/container")):
        return True
    first_environment = Path("/proc/1/environ")
    try:
        return any(word.startswith(b"container=") for word in first_environment.read_bytes().split(b"\0"))
    except OSError:
        return False


def may_change_machine() -> bool:
    """Whether users may be added and devices opened: root in a container, or ``CI`` is set to true."""
    return os.getuid() == 0 and (os.environ.get("CI", "").lower() in {"1", "true"} or in_container())
