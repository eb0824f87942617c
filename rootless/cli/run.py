"""`run` and `create`. Nothing may be imported here that a start does not need."""

from __future__ import annotations

from rootless.engine.context import open_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rootless.engine.progress import Progress

    Values = dict[str, Any]


def run(values: Values, args: list[str], global_values: Values) -> int:
    """``run``: the exit code is that of the container's command; with ``--detach`` it prints the ID."""
    from rootless.engine.containers.run import run as run_container

    engine = open_engine(global_values)
    engine.show_progress = _progress
    found = run_container(engine, values, args[0], args[1:])
    if isinstance(found, str):
        from rootless.cli import render

        render.line(found)
        return 0
    return found


def create(values: Values, args: list[str], global_values: Values) -> int:
    """``create``: prints the ID."""
    from rootless.cli import render
    from rootless.engine.containers.create import create as create_container

    engine = open_engine(global_values)
    engine.show_progress = _progress
    render.line(create_container(engine, values, args[0], args[1:]))
    return 0


def _progress(quiet: bool) -> Progress:
    """What shows the pull of a missing image."""
    from rootless.cli.progress import for_user

    return for_user(quiet)
