"""What `inspect` says of a container's limits and of its control group."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rootless.engine.containers.status import Status

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


def isolation(options: Mapping[str, Any], current: Status) -> Object:
    """Which control group the container has, and what bounds its processes."""
    if not current.pid:
        asked = options.get("cgroups", "enabled")
        return {"Got": "none while it does not run", "Why": f"--cgroups={asked}"}
    limit = ((options.get("resources") or {}).get("pids") or {}).get("limit", 0)
    counted = os.path.exists(f"{current.cgroup}/pids.max") if current.cgroup else False
    bound = f"; RLIMIT_NPROC allows each of its users {limit} processes" if limit > 0 and not counted else ""
    got = f"one of its own, made by {current.cgroup_manager}" if current.cgroup else "the caller's"
    return {"Got": got + bound, "Why": current.cgroup_why}
