"""`build`, and what forgets what builds have kept."""

from __future__ import annotations

from rootless.cli import render
from rootless.engine.context import open_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Values = dict[str, Any]


def build(values: Values, args: list[str], global_values: Values) -> int:
    """``build``: prints the steps and what they print, and last the ID of the image."""
    from rootless.build.build import build as build_image
    from rootless.cli.build_progress import shown, to_stdout

    engine = open_engine(global_values)
    with shown(values, engine.store.caller_umask) as screen:
        built = build_image(engine, values, args[0] if args else "", screen)
    if not to_stdout(values):
        render.line(built.images[-1].id)
    return 0


def prune(values: Values, args: list[str], global_values: Values) -> int:
    """``builder prune``: prints how much space it gave back."""
    from rootless.build.prune import prune as forget
    from rootless.cli.many import confirmed

    what = "all steps of builds" if values.get("all") else "the steps of builds that no image is made of"
    question = f"WARNING! This command forgets {what}, and what RUN --mount=type=cache has kept."
    if not confirmed(question, values.get("force")):
        return 0
    render.line(f"Total:  {render.size(forget(open_engine(global_values), everything=bool(values.get('all'))))}")
    return 0
