"""``top``: the processes of a running container as a table."""

from __future__ import annotations

import time

from rootless.cli import render
from rootless.cli.life import chosen
from rootless.cli.resources import duration
from rootless.engine.context import open_engine
from rootless.errors import RootlessError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rootless.engine.containers.top import Column, Process

    Values = dict[str, Any]


def top(values: Values, args: list[str], global_values: Values) -> int:
    """``top``: a row a process; with arguments that name no columns what ps(1) of the container prints for them."""
    from rootless.engine.containers import top as processes

    latest = bool(values.get("latest"))
    if not (args or latest):
        raise UsageError("you must provide the name or id of a running container")
    engine = open_engine(global_values)
    container_id, _ = chosen(engine, {"latest": latest}, [] if latest else args[:1], ())[0]
    words = args if latest else args[1:]
    wanted = processes.columns(words or processes.DEFAULT)
    if wanted is None:
        from rootless.engine.containers import exec as sessions

        code = sessions.run(engine, container_id, {}, ["ps", *words], ())
        if code:
            hint = f"the columns that need no ps are {', '.join(processes.COLUMNS)}"
            raise RootlessError(f"executing ps(1) in the container: it ends with exit code {code}", hint)
        return 0
    rows = [[_text(column, found) for column in wanted] for found in processes.processes(engine, container_id)]
    render.write(render.table([column.heading for column in wanted], rows))
    return 0


def _text(column: Column, process: Process) -> str:
    value: Any = column.value(process)
    if column.kind == "duration":
        return duration(value)
    if column.kind == "time":
        return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(value // 1_000_000_000))
    return str(value)
