"""``doctor``: what containers get of this machine, and for what is missing the command that mends it.

Each check tries the real thing where it can. Nothing is changed but what every command makes: the store's directories.
"""

from __future__ import annotations

from rootless.engine.doctor.check import BROKEN, OK, Check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from rootless.engine.context import Engine

__all__ = ("BROKEN", "Check", "examine", "mend")


def examine(global_values: Mapping[str, Any]) -> Iterator[Check]:
    """Every check, in the order in which a start needs what it looks at; each is made when it is asked for."""
    from rootless.engine.doctor import confinement, files, groups, host, network

    yield from host.checks()
    yield from files.checks(global_values)
    yield from network.checks()
    yield from groups.checks()
    yield from confinement.checks()


def mend(engine: Engine, key: str) -> str:
    """How this machine is made to give a container more of one line of `rootless.engine.isolation`; empty where all is
    there, or nothing is known to help."""
    from rootless.engine.doctor import confinement, files, groups, host, network

    found: list[Check] = []
    if key == "UserIDs":
        found = [host.ids()]
    elif key == "RootFS":
        found = [files.driver(engine), files.fuse(False)]
    elif key == "Network":
        found = [network.tun(), network.helpers()]
    elif key == "Cgroup":
        found = [groups.controllers()]
    elif key == "LSM":
        found = [confinement.apparmor(), confinement.selinux()]
    return next((check.hint for check in found if check.state != OK and check.hint), "")
