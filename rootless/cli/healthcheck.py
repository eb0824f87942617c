"""`healthcheck run`."""

from __future__ import annotations

from rootless.cli import render
from rootless.engine.context import open_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Values = dict[str, Any]


def run(values: Values, args: list[str], global_values: Values) -> int:
    """``healthcheck run``: 0 when healthy, else 1 and the status is printed."""
    from rootless.engine.containers import healthcheck

    engine = open_engine(global_values)
    container_id = engine.store.containers.find(args[0])
    found = healthcheck.run(engine, container_id, args[0])
    if found == "healthy":
        return 0
    render.line(found)
    return 1
