"""What is not asked of which runtime, and why: the only place that says so.

A peer is named with the newest version of which the reason is known to hold; ``ALL`` of them where it is a decision.
``crun/user`` and ``crun/root`` speak of one caller only. Our own runtime is never named here.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

    from tests.conformance.support import Runtime

ALL = (1 << 30,)

Versions = dict[str, tuple[int, ...]]

FEATURES: dict[str, tuple[str, Versions]] = {
    "nosymfollow": ("1.1", {"runc": (1, 1, 5)}),
    "recursive mount options": ("1.1", {}),
    "scheduler": ("1.1", {"crun": (1, 8, 1), "runc": (1, 1, 5)}),
    "ioPriority": ("1.1", {"crun": (1, 8, 1), "runc": (1, 1, 5)}),
    "execCPUAffinity": ("1.2.1", {"crun": (1, 8, 1), "runc": (1, 1, 5)}),
    "personality": ("1.0.2", {"runc": (1, 1, 5)}),
    "memoryPolicy": ("1.3", {"crun": (1, 8, 1), "runc": (1, 3, 6)}),
    "time namespace": ("1.1", {"runc": (1, 1, 5)}),
    "domainname": ("1.1", {"runc": (1, 1, 5)}),
    "errnoRet": ("1.0.3", {}),
    "defaultErrnoRet": ("1.1", {}),
    "seccomp flags": ("1.0.3", {"runc": (1, 1, 5)}),
    "seccomp notify": ("1.1", {}),
    "seccomp wait killable": ("1.1", {"crun": (1, 8, 1), "runc": (1, 1, 5)}),
    "netDevices": ("1.3", {"crun": (1, 8, 1), "runc": (1, 3, 6)}),
    "mapped mounts": ("1.1", {"crun": (1, 8, 1), "runc": (1, 1, 5)}),
}
"""A feature's name (the marker ``since``): the version of the spec that brought it, the peers that predate it."""

DIFFERENCES: dict[str, dict[str, tuple[tuple[int, ...], str]]] = {}
"""A test (``file::name``, or ``file::name[parameters]``): the peers that differ, and what they do."""


def not_applicable(item: pytest.Item, runtime: Runtime) -> str:
    """Why the test is not asked of the runtime, or nothing."""
    who = "root" if os.getuid() == 0 else "user"
    keys = (runtime.name, f"{runtime.name}/{who}")
    for marker in item.iter_markers("since"):
        spec, predating = FEATURES[marker.args[0]]
        for key in keys:
            if runtime.version <= predating.get(key, ()):
                return f"{marker.args[0]} (runtime-spec {spec}) is newer than {key}"
    name = item.nodeid.rpartition("/")[2]
    for test in (name, name.partition("[")[0]):
        for key in keys:
            versions, reason = DIFFERENCES.get(test, {}).get(key, ((), ""))
            if runtime.version <= versions:
                return f"{key}: {reason}"
    return ""
