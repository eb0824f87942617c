"""What `system df` shows.

The engine's report has the keys ``summary`` (rows of Type, Total, Active, RawSize, RawReclaimable) and, for
``--verbose``, ``images`` (Repository, Tag, ImageID, Created, Size, SharedSize, UniqueSize, Containers), ``containers``
(ContainerID, Image, Command, LocalVolumes, Size, Created, Status, Names) and ``volumes`` (VolumeName, Links, Size).
Sizes are bytes, times seconds since the epoch.
"""

from __future__ import annotations

import time

from rootless.cli import render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Row = Mapping[str, Any]

HEADINGS = {
    "Type": "TYPE", "Total": "TOTAL", "Active": "ACTIVE", "Size": "SIZE", "Reclaimable": "RECLAIMABLE",
}  # fmt: skip

DETAILS = (
    ("Images space usage:", "images", {
        "Repository": "REPOSITORY", "Tag": "TAG", "ImageID": "IMAGE ID", "Created": "CREATED", "Size": "SIZE",
        "SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE", "Containers": "CONTAINERS",
    }),
    ("Containers space usage:", "containers", {
        "ContainerID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "LocalVolumes": "LOCAL VOLUMES",
        "Size": "SIZE", "Created": "CREATED", "Status": "STATUS", "Names": "NAMES",
    }),
    ("Local Volumes space usage:", "volumes", {"VolumeName": "VOLUME NAME", "Links": "LINKS", "Size": "SIZE"}),
)  # fmt: skip


def show(report: Mapping[str, Sequence[Row]], values: Mapping[str, Any]) -> int:
    """Print the report as a table, as tables of each object, as JSON or by a template."""
    if values.get("verbose"):
        now = time.time()
        parts = []
        for title, key, headings in DETAILS:
            cells = [[_cell(field, row[field], now) for field in headings] for row in report[key]]
            parts.append(f"{title}\n\n{render.table(list(headings.values()), cells)}")
        render.write("\n".join(parts))
        return 0
    rows = [{**row, "Size": compact(row["RawSize"]), "Reclaimable": _reclaimable(row)} for row in report["summary"]]
    if values.get("format"):
        render.print_format(rows, values["format"], HEADINGS)
    else:
        render.write(render.table(list(HEADINGS.values()), [[str(row[key]) for key in HEADINGS] for row in rows]))
    return 0


def compact(size: float) -> str:
    """A size without a blank: ``1.99MB``."""
    return render.size(size).replace(" ", "")


def _reclaimable(row: Row) -> str:
    share = round(100 * row["RawReclaimable"] / row["RawSize"]) if row["RawSize"] else 0
    return f"{compact(row['RawReclaimable'])} ({share}%)"


def _cell(field: str, value: Any, now: float) -> str:
    if field.endswith("Size"):
        return compact(value)
    if field == "Created":
        return render.age(max(0.0, now - value))
    if field in ("ImageID", "ContainerID"):
        return str(value)[:12]
    return " ".join(value) if isinstance(value, list) else str(value)
