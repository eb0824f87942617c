"""What `inspect` says of a container's limits and of its control group."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from rootless.cgroups.manager import Location
    from rootless.engine.containers.status import Status
    from rootless.engine.isolation import Line

    Object = dict[str, Any]

_RATES = (
    ("BlkioDeviceReadBps", "throttleReadBpsDevice"), ("BlkioDeviceWriteBps", "throttleWriteBpsDevice"),
    ("BlkioDeviceReadIOps", "throttleReadIOPSDevice"), ("BlkioDeviceWriteIOps", "throttleWriteIOPSDevice"),
)  # fmt: skip


def host_config(options: Mapping[str, Any], manager: str) -> Object:
    """The keys of podman's HostConfig that are about limits; ``manager``: of the running container's group."""
    limits = options.get("resources") or {}
    memory, cpu, block_io = (limits.get(section) or {} for section in ("memory", "cpu", "blockIO"))
    quota, period = cpu.get("quota", 0), cpu.get("period", 0)
    shown: Object = {
        "Memory": memory.get("limit", 0),
        "MemorySwap": memory.get("swap", 0),
        "MemoryReservation": memory.get("reservation", 0),
        "MemorySwappiness": None,
        "OomKillDisable": False,
        "OomScoreAdj": options.get("oom_score_adj") or 0,
        "NanoCpus": quota * 1_000_000_000 // period if quota > 0 and period > 0 else 0,
        "CpuShares": cpu.get("shares", 0),
        "CpuQuota": quota,
        "CpuPeriod": period,
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": cpu.get("cpus", ""),
        "CpusetMems": cpu.get("mems", ""),
        "PidsLimit": max((limits.get("pids") or {}).get("limit", 0), 0),
        "BlkioWeight": block_io.get("weight", 0),
        "BlkioWeightDevice": [_device(one, "Weight", "weight") for one in block_io.get("weightDevice", [])] or None,
        "CgroupConf": limits.get("unified"),
        "CgroupParent": options.get("cgroup_parent", ""),
        "CgroupManager": "cgroupfs" if manager == "split" else manager or "disabled",
        "Cgroups": {"enabled": "default"}.get(options.get("cgroups", "enabled"), options.get("cgroups")),
    }
    if shown["CgroupManager"] == "none":
        shown["CgroupManager"] = "disabled"
    for name, key in _RATES:
        shown[name] = [_device(one, "Rate", "rate") for one in block_io.get(key, [])] or None
    return shown


def _device(entry: Mapping[str, int], name: str, key: str) -> Object:
    return {"Path": f"/dev/block/{entry['major']}:{entry['minor']}", name: entry[key]}


def isolation(options: Mapping[str, Any], current: Status) -> Line:
    """Which control group the container has, and what bounds its processes."""
    from rootless.cgroups.v2 import Cgroup
    from rootless.engine.isolation import cgroup, line

    if not current.pid:
        return line("none while it does not run", f"--cgroups={options.get('cgroups', 'enabled')}")
    controllers = Cgroup(current.cgroup).controllers() if current.cgroup else []
    kind = current.cgroup_manager if current.cgroup else "none"
    return cgroup(
        kind, current.cgroup_why, controllers, asked=_unwanted(options, current.cgroup_why),
        bound=_bound(options, controllers),
    )  # fmt: skip


def located(options: Mapping[str, Any], location: Location) -> Line:
    """The same of a container that would get this place now."""
    from rootless.engine.isolation import cgroup

    return cgroup(
        location.kind, location.why, location.controllers, asked=_unwanted(options, location.why),
        bound=_bound(options, location.controllers),
    )  # fmt: skip


def _unwanted(options: Mapping[str, Any], why: str) -> bool:
    return options.get("cgroups") == "disabled" or why == "--cgroup-manager=disabled"


def _bound(options: Mapping[str, Any], controllers: Iterable[str]) -> str:
    limit = ((options.get("resources") or {}).get("pids") or {}).get("limit", 0)
    counted = limit <= 0 or "pids" in controllers
    return "" if counted else f"; RLIMIT_NPROC allows each of its users {limit} processes"
