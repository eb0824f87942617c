"""The verbs of ``rootless-oci`` about a container's processes and control group: ps, pause, resume, update, events."""

from __future__ import annotations

import os

from rootless.cgroups import resources
from rootless.cli import render
from rootless.cli.oci_state import Record
from rootless.errors import RootlessError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rootless.cgroups.v2 import Cgroup
    from rootless.runtime.state import State

    Values = dict[str, Any]

# The flags of `update`: where their numbers stand in linux.resources.
_FLAGS = {
    "memory": ("memory", "limit"), "memory_reservation": ("memory", "reservation"), "memory_swap": ("memory", "swap"),
    "cpu_period": ("cpu", "period"), "cpu_quota": ("cpu", "quota"), "cpu_share": ("cpu", "shares"),
    "pids_limit": ("pids", "limit"), "blkio_weight": ("blockIO", "weight"),
}  # fmt: skip
_TEXTS = {"cpuset_cpus": ("cpu", "cpus"), "cpuset_mems": ("cpu", "mems")}
_LARGEST = 1 << 20


def _running(record: Record, what: str) -> State:
    found = record.read()
    status = record.status(found)
    if status == "stopped" or not found["pid"]:
        raise RootlessError(f"cannot {what} the container {record.id}: container not running, but {status}")
    return found


def _group(record: Record, what: str) -> Cgroup:
    found = _running(record, what)
    if not found.get("cgroup"):
        raise RootlessError(
            f"cannot {what} the container {record.id}: it has no control group",
            "a delegated cgroup v2 tree is needed: see `rootless doctor`",
        )
    from rootless.cgroups.v2 import Cgroup

    return Cgroup(found["cgroup"])


def ps(values: Values, args: list[str], global_values: Values) -> int:
    """``ps``: the processes of a container: a JSON list of pids, or the lines that ps(1) has for them."""
    from rootless.runtime import processes

    record = Record(global_values, args[0])
    found = _running(record, "list the processes of")
    pids = processes.of_container(found["pid"], found.get("cgroup", ""))
    form = values.get("format") or "table"
    if form == "json":
        render.write(render.json_text(pids) + "\n")
        return 0
    if form != "table":
        raise UsageError(f"unknown format {form!r}", "choose from: table, json")
    import subprocess

    try:
        done = subprocess.run(["ps", *(args[1:] or ["-ef"])], stdout=subprocess.PIPE, text=True, check=False)
    except OSError as error:
        raise RootlessError(f"cannot run ps: {error.strerror}", "install procps, or use --format json") from None
    lines = done.stdout.splitlines()
    heading = lines[0].split() if lines else []
    if "PID" not in heading:
        raise RootlessError("cannot find the processes in the output of ps", "let it have a column PID")
    column = heading.index("PID")
    wanted = {str(pid) for pid in pids}
    render.line(lines[0])
    for line in lines[1:]:
        if line.split()[column : column + 1] and line.split()[column] in wanted:
            render.line(line)
    return done.returncode


def pause(values: Values, args: list[str], global_values: Values) -> int:
    """``pause``."""
    _group(Record(global_values, args[0]), "pause").freeze()
    return 0


def resume(values: Values, args: list[str], global_values: Values) -> int:
    """``resume``."""
    record = Record(global_values, args[0])
    group = _group(record, "resume")
    if not group.frozen():
        raise RootlessError(f"cannot resume the container {record.id}: container not paused")
    group.thaw()
    return 0


def update(values: Values, args: list[str], global_values: Values) -> int:
    """``update``: limits of a running container, from a document of ``linux.resources`` and from flags."""
    wanted: Values = {}
    path = values.get("resources")
    if path:
        from storage import jsonfast

        try:
            fd = 0 if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            parts: list[bytes] = []
            while (part := os.read(fd, _LARGEST)) and len(parts) < 64:
                parts.append(part)
            wanted = jsonfast.loads(b"".join(parts))
        except OSError as error:
            raise RootlessError(f"cannot read {path}: {error.strerror}") from None
        except ValueError as error:
            raise RootlessError(f"cannot read {path}: {error}") from None
        if not isinstance(wanted, dict):
            raise RootlessError(f"cannot read {path}: it is not a JSON object")
    for key, (table, name) in {**_FLAGS, **_TEXTS}.items():
        text = values.get(key)
        if text not in (None, ""):
            wanted.setdefault(table, {})[name] = str(text) if key in _TEXTS else _number(key, str(text))
    record = Record(global_values, args[0])
    group = _group(record, "update")
    for note in group.write(resources.convert(wanted)):
        from rootless.cli.report import print_line

        print_line(f"warning: {note}")
    return 0


def _number(key: str, text: str) -> int:
    digits = text[1:] if text[:1] == "-" else text
    if digits.isascii() and digits.isdigit():
        return int(text)
    from rootless.engine.options.values import parse_bytes

    return parse_bytes(text, "--" + key.replace("_", "-"))


def events(values: Values, args: list[str], global_values: Values) -> int:
    """``events``: what the container uses, as a line of JSON in runc's form, every ``interval``; once with --stats."""
    import time

    from rootless.durations import parse_duration

    record = Record(global_values, args[0])
    interval = parse_duration(values.get("interval") or "5s", "--interval")
    if interval <= 0:
        raise UsageError("cannot use an --interval that is not positive")
    group = _group(record, "watch")
    kills = group.oom_kills()
    while True:
        if values.get("stats"):
            return _print(record.id, "stats", _usage(group))
        if not group.populated():
            return 0
        if group.oom_kills() > kills:
            kills = group.oom_kills()
            _print(record.id, "oom", None)
        _print(record.id, "stats", _usage(group))
        time.sleep(interval)


def _print(identifier: str, kind: str, data: object) -> int:
    from storage import jsonfast

    document = {"type": kind, "id": identifier, **({"data": data} if data is not None else {})}
    render.line(jsonfast.dumps(document))
    return 0


def _usage(group: Cgroup) -> Values:
    """The numbers of ``runc events --stats`` (types/events.go of runc) that cgroup v2 has; nanoseconds and bytes."""
    found = group.stats()
    cpu = group.table("cpu.stat")
    return {
        "cpu": {
            "usage": {
                "total": found.cpu_total * 1000,
                "kernel": found.cpu_system * 1000,
                "user": (found.cpu_total - found.cpu_system) * 1000,
            },
            "throttling": {
                "periods": cpu.get("nr_periods", 0),
                "throttledPeriods": cpu.get("nr_throttled", 0),
                "throttledTime": cpu.get("throttled_usec", 0) * 1000,
            },
        },
        "memory": {
            "usage": {"limit": found.memory_limit or (1 << 64) - 1, "usage": found.memory, "failcnt": 0},
            "raw": group.table("memory.stat"),
        },
        "pids": {"current": found.pids},
        "blkio": {
            "ioServiceBytesRecursive": [
                {"op": "Read", "value": found.io_read}, {"op": "Write", "value": found.io_written},
            ],
        },
    }  # fmt: skip
