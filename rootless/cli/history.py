"""What `history` shows."""

from __future__ import annotations

import time

from rootless.cli import render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

HEADINGS = {"ID": "ID", "Created": "CREATED", "CreatedBy": "CREATED BY", "Size": "SIZE", "Comment": "COMMENT"}

WIDTH = 45


def show(steps: Sequence[Mapping[str, Any]], values: Mapping[str, Any]) -> int:
    """Print the steps (keys id, created, createdBy, size, comment) as a table, IDs, JSON or by a template."""
    full = bool(values.get("no_trunc"))
    human = values.get("human") is not False
    now = time.time()
    rows = [_fields(step, full, human, now) for step in steps]
    template = values.get("format")
    if template:
        render.print_format(rows, template, HEADINGS, whole=lambda: list(steps))
    elif values.get("quiet"):
        render.write("".join(row["ID"] + "\n" for row in rows))
    else:
        render.write(render.table(list(HEADINGS.values()), [[str(row[key]) for key in HEADINGS] for row in rows]))
    return 0


def _fields(step: Mapping[str, Any], full: bool, human: bool, now: float) -> dict[str, Any]:
    name = str(step.get("id") or "<missing>")
    made_by = str(step.get("createdBy") or "")
    seconds = float(step.get("created") or 0)
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    return {
        "ID": name if full or name == "<missing>" else name[:12],
        "Created": render.ago(seconds, now) if human else moment,
        "CreatedSince": render.ago(seconds, now),
        "CreatedAt": moment,
        "CreatedBy": made_by if full or len(made_by) <= WIDTH else made_by[: WIDTH - 3] + "...",
        "Size": render.size(step.get("size") or 0) if human else str(step.get("size") or 0),
        "Comment": str(step.get("comment") or ""),
        "Tags": step.get("tags") or [],
    }
