"""`push` and `search`."""

from __future__ import annotations

import sys

from rootless.cli import render
from rootless.engine.context import open_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Values = dict[str, Any]

HEADINGS = {"Name": "NAME", "Description": "DESCRIPTION", "Stars": "STARS", "Official": "OFFICIAL",
            "Automated": "AUTOMATED", "Index": "INDEX", "Tag": "TAG"}  # fmt: skip
WIDTH = 44


def push(values: Values, args: list[str], global_values: Values) -> int:
    """``push``: prints nothing on standard output."""
    from rootless.cli.progress import for_user
    from rootless.engine.images.push import push as push_image

    engine = open_engine(global_values)
    progress = for_user(bool(values.get("quiet")), "pushing", "pushed")
    push_image(engine, args[0], args[1] if len(args) > 1 else "", values, progress)
    return 0


def search(values: Values, args: list[str], global_values: Values) -> int:
    """``search``: a row for each repository, or with ``--list-tags`` for each tag."""
    from rootless.engine.images import search as searching

    def say(text: str) -> None:
        sys.stderr.write(text + "\n")

    template = values.get("format")
    if values.get("list_tags"):
        name, tags = searching.tags(args[0], values, say)
        rows = [{"Name": name, "Tag": tag} for tag in tags]
        _print(rows, ["Name", "Tag"], template, [{"Name": name, "Tags": tags}])
        return 0
    rows = searching.search(args[0], values, say)
    if not values.get("no_trunc"):
        rows = [{**row, "Description": _short(row["Description"])} for row in rows]
    columns = ["Name", "Description", *(["Stars", "Official", "Automated"] if values.get("compatible") else [])]
    _print(rows, columns, template, rows)
    return 0


def _short(text: str) -> str:
    return text if len(text) <= WIDTH else text[:WIDTH] + "..."


def _print(rows: list[Values], columns: list[str], template: str | None, whole: list[Values]) -> None:
    if template:
        render.print_format(rows, template, HEADINGS, whole=lambda: whole)
    elif rows:
        cells = [[str(row[column]) for column in columns] for row in rows]
        render.write(render.table([HEADINGS[column] for column in columns], cells))
