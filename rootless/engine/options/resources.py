"""Flags that limit what a container may use: ``--memory``, ``--cpus``, ``--pids-limit``… as ``linux.resources``."""

from __future__ import annotations

import os

from rootless.engine.options.values import parse_bytes, parse_integer
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    Resources = dict[str, Any]

_LARGEST = (1 << 63) - 1
_PERIOD = 100_000
_NOT_IN_VERSION_2 = {
    "memory_swappiness": "--memory-swappiness", "cpu_rt_period": "--cpu-rt-period",
    "cpu_rt_runtime": "--cpu-rt-runtime", "oom_kill_disable": "--oom-kill-disable",
}  # fmt: skip
_RATES = {
    "device_read_bps": "throttleReadBpsDevice", "device_write_bps": "throttleWriteBpsDevice",
    "device_read_iops": "throttleReadIOPSDevice", "device_write_iops": "throttleWriteIOPSDevice",
}  # fmt: skip


def parse(values: Mapping[str, Any]) -> Resources:
    """``linux.resources`` of the flags that are given. Raises UsageError."""
    for key, flag in _NOT_IN_VERSION_2.items():
        if values.get(key) not in (None, "", False) and str(values[key]) not in ("-1", "0"):
            hint = "leave it away, or see --cgroup-conf for the limits that this kernel has"
            raise UsageError(f"cannot use {flag}: control groups of version 2 do not have it", hint)
    found: Resources = {}
    for section, read in _SECTIONS:
        part = read(values)
        if part:
            found[section] = part
    return found


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    return "" if value is None else str(value)


def _whole(values: Mapping[str, Any], key: str, low: int, high: int = _LARGEST) -> int:
    """A whole number; 0 if the flag is not given."""
    text = _text(values, key)
    return parse_integer(text, "--" + key.replace("_", "-"), low, high) if text else 0


def _bytes(values: Mapping[str, Any], key: str) -> int:
    """A size; 0 if the flag is not given, -1 for no limit."""
    text = _text(values, key)
    return -1 if text == "-1" else parse_bytes(text, "--" + key.replace("_", "-")) if text else 0


def _memory(values: Mapping[str, Any]) -> Resources:
    limit, swap, reservation = (_bytes(values, key) for key in ("memory", "memory_swap", "memory_reservation"))
    found: Resources = {}
    if limit:
        found["limit"] = limit
    if swap:
        if swap > 0 and limit <= 0:
            raise UsageError("cannot use --memory-swap without --memory", "give both, the first is their sum")
        if 0 < swap < limit:
            raise UsageError("cannot use a --memory-swap below --memory", "it is the sum of memory and swap")
        found["swap"] = swap
    elif 0 < limit <= _LARGEST // 2:
        found["swap"] = 2 * limit  # as much swap as memory, as podman does it
    if reservation:
        if 0 < limit < reservation:
            raise UsageError("cannot use a --memory-reservation above --memory", "give a smaller one")
        found["reservation"] = reservation
    return found


def _cpu(values: Mapping[str, Any]) -> Resources:
    found: Resources = {}
    shares = _whole(values, "cpu_shares", 0, 1 << 18)
    quota = _whole(values, "cpu_quota", -1)
    period = _whole(values, "cpu_period", 0, 1_000_000)
    cpus = _text(values, "cpus")
    if cpus and (quota or period):
        raise UsageError("cannot use --cpus together with --cpu-quota or --cpu-period", "leave away one of them")
    if cpus:
        count = _decimal(cpus)
        if count:
            period, quota = _PERIOD, max(round(count * _PERIOD), 1000)
    for flag, number in (("--cpu-quota", quota), ("--cpu-period", period)):
        if 0 < number < 1000:
            raise UsageError(f"cannot use {number} for {flag}", "it is at least 1000 microseconds")
    for key, number in (("shares", shares), ("quota", quota), ("period", period)):
        if number:
            found[key] = number
    for key in ("cpus", "mems"):
        text = _text(values, f"cpuset_{key}")
        if text:
            if not frozenset("0123456789,-").issuperset(text):
                raise UsageError(f"cannot use {text[:80]!r} for --cpuset-{key}", "write it like 0-3 or 0,2")
            found[key] = text
    return found


def _decimal(text: str) -> float:
    whole, _, part = text.partition(".")
    digits = whole + part
    if not digits or not frozenset("0123456789").issuperset(digits) or len(digits) > 12:
        raise UsageError(f"cannot use {text[:80]!r} for --cpus", "write it like 2 or 1.5")
    return float(text)


def _pids(values: Mapping[str, Any]) -> Resources:
    if values.get("pids_limit") in (None, ""):
        return {}
    return {"limit": _whole(values, "pids_limit", -1, 1 << 30) or -1}


def _block_io(values: Mapping[str, Any]) -> Resources:
    found: Resources = {}
    weight = _whole(values, "blkio_weight", 0, 1000)
    if weight:
        found["weight"] = _weight(weight, "--blkio-weight")
    for text in values.get("blkio_weight_device") or []:
        number, rest = _device(text, "--blkio-weight-device")
        weight = _weight(parse_integer(rest, "--blkio-weight-device", 0, 1000), "--blkio-weight-device")
        found.setdefault("weightDevice", []).append({**number, "weight": weight})
    for key, name in _RATES.items():
        flag = "--" + key.replace("_", "-")
        for text in values.get(key) or []:
            number, rest = _device(text, flag)
            rate = parse_bytes(rest, flag) if key.endswith("bps") else parse_integer(rest, flag, 1, _LARGEST)
            found.setdefault(name, []).append({**number, "rate": rate})
    return found


def _weight(weight: int, flag: str) -> int:
    if not 10 <= weight <= 1000:
        raise UsageError(f"cannot use {weight} for {flag}: it must be a number from 10 to 1000")
    return weight


def _device(text: str, flag: str) -> tuple[dict[str, int], str]:
    """The number of the device in ``PATH:VALUE``, and the value."""
    path, colon, rest = text.rpartition(":")
    if not colon or not path.startswith("/dev/"):
        raise UsageError(f"cannot use {text[:80]!r} for {flag}", "write it like /dev/sda:VALUE")
    try:
        status = os.stat(path)
    except OSError as error:
        raise UsageError(f"cannot use {path[:80]!r} for {flag}: {error.strerror}") from None
    if status.st_mode & 0o170000 != 0o060000:
        raise UsageError(f"cannot use {path[:80]!r} for {flag}: it is not a block device")
    return {"major": os.major(status.st_rdev), "minor": os.minor(status.st_rdev)}, rest


def _unified(values: Mapping[str, Any]) -> Resources:
    found: Resources = {}
    for text in values.get("cgroup_conf") or []:
        key, equals, value = text.partition("=")
        if not equals or not key or not value:
            raise UsageError(f"cannot use {text[:80]!r} for --cgroup-conf", "write it like memory.high=1073741824")
        found[key] = value
    return found


_SECTIONS: Sequence[tuple[str, Callable[[Mapping[str, Any]], Resources]]] = (
    ("memory", _memory), ("cpu", _cpu), ("pids", _pids), ("blockIO", _block_io), ("unified", _unified),
)  # fmt: skip


def merge(old: Resources, new: Resources) -> Resources:
    """``old`` with what ``new`` says in its place, as `update` does."""
    merged = {section: dict(part) if isinstance(part, dict) else part for section, part in old.items()}
    for section, part in new.items():
        merged[section] = {**merged.get(section, {}), **part}
    return merged
