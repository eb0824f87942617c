"""`run`, `create` and `start`. Nothing may be imported here that a start does not need."""

from __future__ import annotations

from rootless.engine.context import open_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rootless.engine.progress import Progress

    Values = dict[str, Any]


def run(values: Values, args: list[str], global_values: Values) -> int:
    """``run``: the exit code is that of the container's command."""
    from rootless.engine.containers.run import run as run_container

    engine = open_engine(global_values)
    engine.show_progress = _progress
    return run_container(engine, values, args[0], args[1:])


def create(values: Values, args: list[str], global_values: Values) -> int:
    """``create``: prints the ID."""
    from rootless.cli import render
    from rootless.engine.containers.create import create as create_container

    engine = open_engine(global_values)
    engine.show_progress = _progress
    render.line(create_container(engine, values, args[0], args[1:]))
    return 0


def start(values: Values, args: list[str], global_values: Values) -> int:
    """``start``: the exit code of the command with ``--attach``."""
    from rootless.cli.many import choose
    from rootless.engine.containers.listing import list_containers
    from rootless.engine.containers.start import start as start_containers

    engine = open_engine(global_values)
    names = args
    if values.get("latest"):
        names = [str(found["Id"]) for found in list_containers(engine, {"latest": True})]
    choose(names, False, "container")
    return start_containers(engine, names, values)


def _progress(quiet: bool) -> Progress:
    """What shows the pull of a missing image."""
    from rootless.cli.progress import for_user

    return for_user(quiet)
