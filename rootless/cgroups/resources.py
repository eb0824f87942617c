"""The limits of a Spec (``linux.resources``) as values for the files of a version 2 control group. Pure.

The Spec speaks version 1. What version 2 has under another name is converted as crun does it (its manual page,
"cgroup v2"); what it does not have is refused, unless it limits nothing: absent, null, zero, or -1 for "no limit".
Rules for devices (``devices``) are no file of a control group and left to the caller.
"""

from __future__ import annotations

from rootless.errors import RootlessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any, NoReturn

LARGEST = (1 << 63) - 1
_PERIOD = 100_000
"""Microseconds over which a quota of CPU time holds where the Spec does not say (the kernel's default)."""

_SHARES, _WEIGHT = (2, 262_144), (1, 10_000)
"""What CPU shares (version 1) and the CPU weight (version 2) range over."""

# Numbers of the Spec that have no counterpart in version 2.
_GONE: dict[str, tuple[str, ...]] = {
    "memory": ("kernel", "kernelTCP", "swappiness"),
    "cpu": ("realtimeRuntime", "realtimePeriod"),
    "blockIO": ("leafWeight",),
}
_SECTIONS: tuple[tuple[str, type], ...] = (
    ("devices", list), ("memory", dict), ("cpu", dict), ("pids", dict), ("blockIO", dict), ("hugepageLimits", list),
    ("network", dict), ("rdma", dict), ("unified", dict),
)  # fmt: skip
_THROTTLES = (
    ("throttleReadBpsDevice", "rbps"), ("throttleWriteBpsDevice", "wbps"),
    ("throttleReadIOPSDevice", "riops"), ("throttleWriteIOPSDevice", "wiops"),
)  # fmt: skip
# What a new group has, as far as a Spec can ask for it (cgroup-v2.rst).
_DEFAULTS = {
    "cpu.weight": "100", "cpu.max": f"max {_PERIOD}", "memory.max": "max", "memory.swap.max": "max", "pids.max": "max",
}  # fmt: skip
# Files with which the runtime itself works: a value of the user's would take the container out of its hands.
_OWN_FILES = frozenset(
    "cgroup.procs cgroup.threads cgroup.subtree_control cgroup.type cgroup.kill cgroup.freeze cgroup.events".split()
)


def convert(resources: Mapping[str, Any]) -> dict[str, str]:
    """{file: value} in the order in which they are to be written; each line of a value is one write(2).

    ``unified`` comes last and overrides. Raises ``RootlessError`` for wrong types and for limits that version 2 of
    control groups does not have.
    """
    for name, kind in _SECTIONS:
        found = resources.get(name)
        if found is not None and not isinstance(found, kind):
            _refuse(f"cannot read the Spec: linux.resources.{name} is not of the type {kind.__name__}")
    values: dict[str, str] = {}
    _memory(resources.get("memory") or {}, values)
    _pids(resources.get("pids") or {}, values)
    _cpu(resources.get("cpu") or {}, values)
    _block_io(resources.get("blockIO") or {}, values)
    for entry in resources.get("hugepageLimits") or []:
        _huge_pages(entry, values)
    for device, limits in (resources.get("rdma") or {}).items():
        _rdma(device, limits, values)
    network = resources.get("network") or {}
    if network.get("classID") or network.get("priorities"):
        _refuse(
            "cannot apply linux.resources.network: control groups of version 2 have no network classes",
            "use tc or nftables with a match on the control group",
        )
    _unified(resources.get("unified") or {}, values)
    return values


def without_defaults(values: Mapping[str, str], controllers: Collection[str]) -> dict[str, str]:
    """``values`` less what is so anyway where its controller is not among ``controllers``: there it limits nothing.

    containerd asks every container to have the default share of the processors.
    """
    return {
        name: value
        for name, value in values.items()
        if name.partition(".")[0] in controllers or _DEFAULTS.get(name) != value
    }


def needed(values: Mapping[str, str]) -> list[str]:
    """The controllers that the files belong to, in alphabetical order."""
    return sorted({name.partition(".")[0] for name in values} - {"cgroup"})


def cpu_weight(shares: int) -> int:
    """``cpu.weight`` for CPU shares: 2, 1024 and 262144, the least, the default and the most, become 1, 100 and 10000.

    A parabola through these three on logarithmic scales, as crun 1.23 and runc 1.4 have it.
    """
    if shares <= _SHARES[0]:
        return _WEIGHT[0]
    if shares >= _SHARES[1]:
        return _WEIGHT[1]
    from math import ceil, log2

    power = log2(shares)
    return min(ceil(10 ** ((power * power + 125 * power) / 612 - 7 / 34)), _WEIGHT[1])


def io_weight(weight: int) -> int:
    """``io.weight`` (1 to 10000) for a weight of the Spec (10 to 1000), where the BFQ scheduler is not there."""
    return 1 + (weight - 10) * 9999 // 990


def _refuse(message: str, hint: str = "") -> NoReturn:
    raise RootlessError(message, hint)


def _number(table: Mapping[str, Any], key: str, where: str, low: int = 0) -> int | None:
    """A whole number of the Spec, ``None`` where it is absent or null."""
    value = table.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= 2 * LARGEST + 1:
        _refuse(f"cannot use {str(value)[:40]!r} as linux.resources.{where}.{key}: it is not a number of its range")
    return min(value, LARGEST)


def _flag(table: Mapping[str, Any], key: str, where: str) -> bool:
    value = table.get(key)
    if value is not None and not isinstance(value, bool):
        _refuse(f"cannot use {str(value)[:40]!r} as linux.resources.{where}.{key}: it is neither true nor false")
    return bool(value)


def _gone(table: Mapping[str, Any], where: str) -> None:
    for key in _GONE[where]:
        if _number(table, key, where, -1) not in (None, 0, -1):
            _refuse(
                f"cannot apply linux.resources.{where}.{key}: control groups of version 2 do not have it",
                "leave it out",
            )


def _maximum(value: int) -> str:
    return "max" if value < 0 else str(value)


def _memory(memory: Mapping[str, Any], values: dict[str, str]) -> None:
    _gone(memory, "memory")
    if _flag(memory, "disableOOMKiller", "memory"):
        _refuse("cannot apply linux.resources.memory.disableOOMKiller: control groups of version 2 do not have it")
    if not _flag(memory, "useHierarchy", "memory") and memory.get("useHierarchy") is not None:
        _refuse("cannot apply linux.resources.memory.useHierarchy: control groups of version 2 always count so")
    _flag(memory, "checkBeforeUpdate", "memory")
    limit = _number(memory, "limit", "memory", -1)
    swap = _number(memory, "swap", "memory", -1)
    reservation = _number(memory, "reservation", "memory", -1)
    if limit:
        values["memory.max"] = _maximum(limit)
    if swap:
        if swap > 0:
            if not limit or limit < 0:
                _refuse("cannot limit memory and swap together without a limit of memory", "give the limit of memory")
            if swap < limit:
                _refuse("cannot limit memory and swap together to less than memory alone", "give a larger limit")
            swap -= limit
        values["memory.swap.max"] = _maximum(swap)
    if reservation:
        values["memory.low"] = _maximum(reservation)


def _pids(pids: Mapping[str, Any], values: dict[str, str]) -> None:
    limit = _number(pids, "limit", "pids", -1)
    if limit:
        values["pids.max"] = _maximum(limit)


def _cpu(cpu: Mapping[str, Any], values: dict[str, str]) -> None:
    _gone(cpu, "cpu")
    shares = _number(cpu, "shares", "cpu")
    if shares:
        values["cpu.weight"] = str(cpu_weight(shares))
    idle = _number(cpu, "idle", "cpu")
    if idle is not None:
        if idle and shares:
            _refuse("cannot make a container idle (cpu.idle) and give it CPU shares", "leave one of them out")
        values["cpu.idle"] = str(idle)
    quota = _number(cpu, "quota", "cpu", -1) or 0
    period = _number(cpu, "period", "cpu") or 0
    if quota > 0 or period:
        values["cpu.max"] = f"{quota if quota > 0 else 'max'} {period or _PERIOD}"
    elif quota < 0:
        values["cpu.max"] = f"max {_PERIOD}"
    burst = _number(cpu, "burst", "cpu")
    if burst is not None:
        values["cpu.max.burst"] = str(burst)
    for key in ("cpus", "mems"):
        text = cpu.get(key)
        if text is not None and (not isinstance(text, str) or not frozenset("0123456789,-").issuperset(text)):
            _refuse(f"cannot use {str(text)[:40]!r} as linux.resources.cpu.{key}", "write it like 0-3,7")
        if text:
            values[f"cpuset.{key}"] = text


def _device(entry: object, where: str) -> tuple[str, Mapping[str, Any]]:
    if not isinstance(entry, dict):
        _refuse(f"cannot read the Spec: an entry of linux.resources.blockIO.{where} is not an object")
    major, minor = (_number(entry, key, f"blockIO.{where}") for key in ("major", "minor"))
    if major is None or minor is None:
        _refuse(f"cannot read the Spec: an entry of linux.resources.blockIO.{where} lacks the number of its device")
    return f"{major}:{minor}", entry


def _block_io(block_io: Mapping[str, Any], values: dict[str, str]) -> None:
    _gone(block_io, "blockIO")
    weights = []
    weight = _number(block_io, "weight", "blockIO")
    if weight:
        weights.append(str(_in_range(weight)))
    for item in _entries(block_io, "weightDevice"):
        device, entry = _device(item, "weightDevice")
        weight = _number(entry, "weight", "blockIO.weightDevice")
        if weight:
            weights.append(f"{device} {_in_range(weight)}")
    if weights:
        values["io.bfq.weight"] = "\n".join(weights)
    lines = []
    for key, name in _THROTTLES:
        for item in _entries(block_io, key):
            device, entry = _device(item, key)
            rate = _number(entry, "rate", f"blockIO.{key}")
            if rate:
                lines.append(f"{device} {name}={rate}")
    if lines:
        values["io.max"] = "\n".join(lines)


def _entries(table: Mapping[str, Any], key: str) -> list[object]:
    found = table.get(key)
    if found is not None and not isinstance(found, list):
        _refuse(f"cannot read the Spec: linux.resources.blockIO.{key} is not of the type list")
    return found or []


def _in_range(weight: int) -> int:
    if not 10 <= weight <= 1000:
        _refuse(f"cannot use the weight {weight} for block devices", "it is a number from 10 to 1000")
    return weight


def _huge_pages(entry: object, values: dict[str, str]) -> None:
    size = entry.get("pageSize") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(size, str) or not size.isascii() or not size.isalnum():
        _refuse("cannot read the Spec: an entry of linux.resources.hugepageLimits lacks its page size")
    limit = _number(entry, "limit", "hugepageLimits")
    if limit is not None:
        values[f"hugetlb.{size}.max"] = str(limit)


def _rdma(device: str, limits: object, values: dict[str, str]) -> None:
    if not isinstance(limits, dict) or not device.isprintable() or " " in device:
        _refuse("cannot read the Spec: an entry of linux.resources.rdma is not an object")
    words = []
    for key, name in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object")):
        count = _number(limits, key, "rdma")
        if count is not None:
            words.append(f"{name}={count}")
    if words:
        line = " ".join([device, *words])
        values["rdma.max"] = f"{values['rdma.max']}\n{line}" if "rdma.max" in values else line


def _unified(unified: Mapping[str, Any], values: dict[str, str]) -> None:
    for name, value in unified.items():
        if not _is_file(name):
            _refuse(f"cannot use {name[:80]!r} in linux.resources.unified: it is not the name of a limit")
        if name in _OWN_FILES:
            _refuse(f"cannot use {name} in linux.resources.unified: it is the runtime's own")
        if not isinstance(value, str) or "\0" in value:
            _refuse(f"cannot read the Spec: {name} in linux.resources.unified is not a string")
        if value.strip():
            values.pop(name, None)
            values[name] = value.strip()


def _is_file(name: str) -> bool:
    controller, dot, rest = name.partition(".")
    return (
        bool(controller and dot and rest)
        and name.isascii()
        and all(character.isalnum() or character in "._-" for character in name)
    )
