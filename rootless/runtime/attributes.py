"""``process.scheduler``, ``ioPriority``, ``execCPUAffinity`` and ``linux.memoryPolicy`` of a Spec, for the calls.

Sources: OCI runtime-spec 1.3, config.md, config-linux.md; sched_setattr(2), ioprio_set(2), set_mempolicy(2).
"""

from __future__ import annotations

from _struct import pack

from rootless.errors import RootlessError
from rootless.init.process import Attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rootless.runtime.spec import Linux, Process

POLICIES = {
    "SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_ISO": 4, "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}  # fmt: skip
FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01, "SCHED_FLAG_RECLAIM": 0x02, "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08, "SCHED_FLAG_KEEP_PARAMS": 0x10, "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}  # fmt: skip
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
MEMORY_MODES = {
    "MPOL_DEFAULT": 0, "MPOL_PREFERRED": 1, "MPOL_BIND": 2, "MPOL_INTERLEAVE": 3, "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5, "MPOL_WEIGHTED_INTERLEAVE": 6,
}  # fmt: skip
MEMORY_FLAGS = {"MPOL_F_NUMA_BALANCING": 1 << 13, "MPOL_F_RELATIVE_NODES": 1 << 14, "MPOL_F_STATIC_NODES": 1 << 15}
_REAL_TIME, _FAIR = ("SCHED_FIFO", "SCHED_RR"), ("SCHED_OTHER", "SCHED_BATCH")
_SIZE, _FULL_CAPACITY = 56, 1024
_LARGEST = (1 << 64) - 1
_MOST_NUMBERS = 4096
_WORD = 8


def of_process(process: Process) -> Attributes | None:
    """What the process is to be given, ``None`` where the Spec says nothing of it. Raises ``RootlessError``."""
    scheduler, priority = process.get("scheduler"), process.get("ioPriority")
    affinity = process.get("execCPUAffinity")
    if scheduler is None and priority is None and affinity is None:
        return None
    text: list[str] = []
    packed = _scheduler(_object(scheduler, "process.scheduler"), text) if scheduler is not None else b""
    level = _io_priority(_object(priority, "process.ioPriority"), text) if priority is not None else None
    processors = _object(affinity or {}, "process.execCPUAffinity")
    initial, final = (_list(processors.get(key, ""), f"execCPUAffinity.{key}") for key in ("initial", "final"))
    return Attributes(packed, level, initial, final, text)


def memory_policy(linux: Linux) -> tuple[int, bytes] | None:
    """Mode and node mask of ``linux.memoryPolicy``, ``None`` without one. Raises ``RootlessError``."""
    if linux.get("memoryPolicy") is None:
        return None
    policy = _object(linux["memoryPolicy"], "linux.memoryPolicy")
    mode = _word(policy.get("mode"), MEMORY_MODES, "mode of linux.memoryPolicy")
    for flag in _texts(policy.get("flags"), "linux.memoryPolicy.flags"):
        mode |= _word(flag, MEMORY_FLAGS, "flag of linux.memoryPolicy")
    nodes = _list(policy.get("nodes") or "", "linux.memoryPolicy.nodes")
    if not nodes:
        return mode, b""
    size = (max(nodes) // 64 + 1) * _WORD
    return mode, sum(1 << node for node in nodes).to_bytes(size, "little")


def _scheduler(given: dict[str, Any], text: list[str]) -> bytes:
    name = given.get("policy")
    policy = _word(name, POLICIES, "policy of process.scheduler")
    flags = 0
    for flag in _texts(given.get("flags"), "process.scheduler.flags"):
        flags |= _word(flag, FLAGS, "flag of process.scheduler")
    nice = _number(given.get("nice"), -20, 19, "nice")
    priority = _number(given.get("priority"), 0, 99, "priority")
    times = [_number(given.get(key), 0, _LARGEST, key) for key in ("runtime", "deadline", "period")]
    for wrong, what, where in (
        (nice and name not in _FAIR, "nice", "SCHED_OTHER and SCHED_BATCH"),
        (priority and name not in _REAL_TIME, "priority", "SCHED_FIFO and SCHED_RR"),
        (any(times) and name != "SCHED_DEADLINE", "runtime, deadline and period", "SCHED_DEADLINE"),
    ):
        if wrong:
            raise RootlessError(f"cannot use {what} of process.scheduler with {name}: it belongs to {where}")
    text.append(f"scheduler: {name} nice {nice} priority {priority} {'/'.join(map(str, times))} flags {flags:#x}")
    return pack("=IIQiIQQQII", _SIZE, policy, flags, nice, priority, *times, 0, _FULL_CAPACITY)


def _io_priority(given: dict[str, Any], text: list[str]) -> int:
    kind = _word(given.get("class"), IO_CLASSES, "class of process.ioPriority")
    level = _number(given.get("priority"), 0, 7, "priority")
    text.append(f"I/O priority: {given['class']} {level}")
    return kind << 13 | level


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RootlessError(f"cannot read the Spec: {where} is not an object")
    return value


def _texts(value: object, where: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        raise RootlessError(f"cannot read the Spec: {where} is not a list of strings")
    return value


def _word(value: object, table: dict[str, int], where: str) -> int:
    if not isinstance(value, str) or value not in table:
        raise RootlessError(f"cannot use {value!r} as {where}", f"it is one of {', '.join(table)}")
    return table[value]


def _number(value: object, smallest: int, largest: int, where: str) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not smallest <= value <= largest:
        raise RootlessError(f"cannot use {value!r} as {where}", f"it is a number from {smallest} to {largest}")
    return value


def _list(value: object, where: str) -> frozenset[int]:
    """The numbers of a list such as ``0-3,7`` (cpuset(7), "List format")."""
    if not isinstance(value, str):
        raise RootlessError(f"cannot read the Spec: {where} is not a string")
    found: set[int] = set()
    for part in value.split(",") if value.strip() else []:
        first, dash, last = part.strip().partition("-")
        if not dash:
            last = first
        plain = all(text.isascii() and text.isdigit() and len(text) <= 4 for text in (first, last))
        if not plain or not int(first) <= int(last) < _MOST_NUMBERS:
            raise RootlessError(f"cannot use {value[:80]!r} as {where}", "write numbers and ranges: 0-3,7")
        found.update(range(int(first), int(last) + 1))
    return frozenset(found)
