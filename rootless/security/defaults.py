"""Paths of ``/proc`` and ``/sys`` that a container does not see, or sees but cannot write.

The hidden ones are the union of podman's and Docker's lists, and more that tell about the machine's kernel.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/config.gz", "/proc/interrupts", "/proc/kallsyms", "/proc/kcore",
    "/proc/keys", "/proc/kpagecgroup", "/proc/kpagecount", "/proc/kpageflags", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
    "/sys/dev/block", "/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/selinux",
    "/sys/kernel/debug", "/sys/kernel/security", "/sys/kernel/tracing",
)  # fmt: skip
"""Covered by an empty directory or by ``/dev/null``; those that the kernel does not have are passed over."""

READONLY = ("/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
"""Remounted read-only."""

_THERMAL = "/sys/devices/system/cpu"


def masked_paths(mask: Iterable[str] = (), unmask: Iterable[str] = ()) -> list[str]:
    """``linux.maskedPaths`` of a Spec, with the paths of ``--security-opt mask=`` and without those of ``unmask=``.

    ``unmask`` holds absolute paths, shell patterns (``/proc/*``) or ``ALL``. What ``mask`` names is hidden in any case.
    """
    added = list(mask)
    paths = _without([*MASKED, *_thermal_throttle()], unmask)
    return paths + [path for path in added if path not in paths]


def readonly_paths(unmask: Iterable[str] = ()) -> list[str]:
    """``linux.readonlyPaths`` of a Spec; ``unmask`` as in :func:`masked_paths`."""
    return _without(READONLY, unmask)


def _thermal_throttle() -> list[str]:
    """Counters that another container's load can be read from, one directory for each processor that has them."""
    import os

    if not os.path.exists(_THERMAL + "/cpu0/thermal_throttle"):
        return []
    cpus = [name for name in os.listdir(_THERMAL) if name[:3] == "cpu" and name[3:].isdigit()]
    return [f"{_THERMAL}/{name}/thermal_throttle" for name in sorted(cpus)]


def _without(paths: Iterable[str], unmask: Iterable[str]) -> list[str]:
    patterns = list(unmask)
    if not patterns:
        return list(paths)
    if "ALL" in patterns:
        return []
    from fnmatch import fnmatchcase

    shown = [pattern.rstrip("/") for pattern in patterns]
    return [path for path in paths if not any(fnmatchcase(path, pattern) for pattern in shown)]
