"""`pause`, `unpause`, `update` and `stats`."""

from __future__ import annotations

import os
import time

from rootless.cli import render
from rootless.cli.life import chosen, each
from rootless.engine.context import open_engine
from rootless.errors import RootlessError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rootless.engine.containers.stats import Usage
    from rootless.engine.context import Engine

    Values = dict[str, Any]

COLUMNS = {
    "ID": "ID", "Name": "NAME", "CPUPerc": "CPU %", "MemUsage": "MEM USAGE / LIMIT", "MemPerc": "MEM %",
    "NetIO": "NET IO", "BlockIO": "BLOCK IO", "PIDS": "PIDS", "CPUTime": "CPU TIME", "AvgCPU": "AVG CPU %",
}  # fmt: skip
_HEADINGS = {**COLUMNS, "MemUsageBytes": "MEM USAGE / LIMIT", "PIDs": "PIDS"}
_INTERVAL = 5
_NOTHING = "--"
_CLEAR = "\033[2J\033[H"
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def pause(values: Values, args: list[str], global_values: Values) -> int:
    """``pause``: prints each container as it was named."""
    from rootless.engine.containers.pause import pause as freeze

    engine = open_engine(global_values)
    return each(chosen(engine, values, args, ("running",)), lambda container_id, _: freeze(engine, container_id))


def unpause(values: Values, args: list[str], global_values: Values) -> int:
    """``unpause``: prints each container as it was named."""
    from rootless.engine.containers.pause import unpause as thaw

    engine = open_engine(global_values)
    return each(chosen(engine, values, args, ("paused",)), lambda container_id, _: thaw(engine, container_id))


def update(values: Values, args: list[str], global_values: Values) -> int:
    """``update``: prints the ID."""
    from rootless.engine.containers.update import update as change

    engine = open_engine(global_values)
    container_id = chosen(engine, {"latest": values.get("latest")}, args, ())[0][0]
    change(engine, container_id, values)
    render.line(container_id)
    return 0


def stats(values: Values, args: list[str], global_values: Values) -> int:
    """``stats``: a table again and again, or once; JSON; or a line for each by a template."""
    from rootless.engine.containers import stats as use

    engine = open_engine(global_values)
    if args and (values.get("all") or values.get("latest")):
        raise UsageError("cannot name containers together with --all or --latest", "leave away one of them")
    seconds = int(values.get("interval") or _INTERVAL)
    if seconds < 1:
        raise UsageError("cannot look more often than once a second", "give --interval a larger number")
    before: list[use.Sample] = []
    while True:
        samples = use.look(engine, _ids(engine, values, args))
        if args and all(sample.group is None for sample in samples):
            _complain(samples[0])
        usages = use.usages(samples, before)
        if not (values.get("no_reset") or values.get("no_stream")) and os.isatty(1):
            os.write(1, _CLEAR.encode())
        _show(usages, values)
        if values.get("no_stream"):
            return 0
        before = samples
        time.sleep(seconds)


def _ids(engine: Engine, values: Values, args: list[str]) -> list[str]:
    """The containers to look at: those named, the last, all, or those that run."""
    if args:
        return [engine.store.containers.find(name) for name in args]
    from rootless.engine.containers.listing import list_containers

    rows = list_containers(engine, {"all": values.get("all") or values.get("latest"), "latest": values.get("latest")})
    return [str(row["Id"]) for row in rows]


def _complain(sample: Any) -> None:
    hint = "start it" if sample.state == "exited" else "log in where systemd has a session for you, and start it again"
    raise RootlessError(f"cannot show what container {sample.name} uses: {sample.why}", hint)


def _show(usages: list[Usage], values: Values) -> None:
    rows = [row(usage, bool(values.get("no_trunc"))) for usage in usages]
    template = values.get("format")
    if template:
        render.print_format(rows, str(template), _HEADINGS, whole=lambda: [document(entry) for entry in rows])
        return
    render.write(render.table(list(COLUMNS.values()), [[str(entry[field]) for field in COLUMNS] for entry in rows]))


def document(entry: Values) -> Values:
    """podman's JSON of one container."""
    return {
        "id": entry["ID"], "name": entry["Name"], "cpu_time": entry["CPUTime"], "cpu_percent": entry["CPUPerc"],
        "avg_cpu": entry["AvgCPU"], "mem_usage": entry["MemUsage"], "mem_percent": entry["MemPerc"],
        "net_io": entry["NetIO"], "block_io": entry["BlockIO"], "pids": entry["PIDS"],
    }  # fmt: skip


def row(usage: Usage, full: bool) -> Values:
    """The fields that a template may ask for: texts as in the table, and the numbers behind them."""
    sample, group = usage.sample, usage.sample.group
    known = {
        "ID": sample.id if full else sample.id[:12], "ContainerID": sample.id, "Name": sample.name,
        "CPU": usage.cpu, "NetInput": sample.received, "NetOutput": sample.sent, "UpTime": sample.age,
        "Duration": sample.age, "MemLimit": usage.memory_limit,
    }  # fmt: skip
    if group is None:
        texts = dict.fromkeys(("CPUPerc", "MemPerc", "PIDS", "PIDs", "CPUTime", "AvgCPU"), _NOTHING)
        pairs = dict.fromkeys(("MemUsage", "MemUsageBytes", "NetIO", "BlockIO"), f"{_NOTHING} / {_NOTHING}")
        numbers = dict.fromkeys(("CPUNano", "CPUSystemNano", "SystemNano", "BlockInput", "BlockOutput"), 0)
        return {**known, **texts, **pairs, **numbers}
    share = 100 * group.memory / usage.memory_limit if usage.memory_limit else 0.0
    count = str(group.pids) if group.pids else _NOTHING
    return {
        **known,
        "CPUPerc": _percent(usage.cpu),
        "AvgCPU": _percent(usage.average),
        "CPUTime": duration(group.cpu_total * 1000),
        "CPUNano": group.cpu_total * 1000,
        "CPUSystemNano": group.cpu_system * 1000,
        "SystemNano": time.time_ns(),
        "MemUsage": _pair(group.memory, usage.memory_limit),
        "MemUsageBytes": f"{size(group.memory, 1024, _BINARY)} / {size(usage.memory_limit, 1024, _BINARY)}",
        "MemPerc": _percent(share),
        "NetIO": _pair(sample.received, sample.sent),
        "BlockIO": _pair(group.io_read, group.io_written),
        "BlockInput": group.io_read,
        "BlockOutput": group.io_written,
        "PIDS": count,
        "PIDs": count,
    }


def _percent(value: float) -> str:
    return f"{value:.2f}%"


def _pair(first: int, second: int) -> str:
    return f"{size(first)} / {size(second)}"


def size(count: float, step: int = 1000, units: tuple[str, ...] = _UNITS) -> str:
    """Bytes with four digits: ``45.06kB``, as podman's stats has them."""
    index = 0
    while count >= step and index < len(units) - 1:
        count /= step
        index += 1
    return f"{count:.4g}{units[index]}"


def duration(nanoseconds: int) -> str:
    """A duration as Go prints it: ``19.586ms``, ``1m2.5s``."""
    for limit, unit, name in ((1_000, 1, "ns"), (1_000_000, 1_000, "µs"), (1_000_000_000, 1_000_000, "ms")):
        if nanoseconds < limit:
            return f"{_fraction(nanoseconds, unit)}{name}" if nanoseconds else "0s"
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}h" if hours else ""
    head += f"{minutes}m" if hours or minutes else ""
    return f"{head}{_fraction(seconds * 1_000_000_000 + rest, 1_000_000_000)}s"


def _fraction(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    digits = f"{rest:0{len(str(unit)) - 1}d}".rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)
