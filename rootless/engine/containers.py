"""The use cases of containers, each in a module of its own that is loaded when it is called."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from rootless.engine.context import Engine

    Values = Mapping[str, Any]


def run(engine: Engine, values: Values, image_name: str, command: Sequence[str]) -> int:
    """Make a container, start it in the foreground and wait for it; its exit code."""
    from rootless.engine.run import run as run_container

    return run_container(engine, values, image_name, command)


def create(engine: Engine, values: Values, image_name: str, command: Sequence[str]) -> str:
    """Make a container without starting it; its id."""
    from rootless.engine.create import create as create_container

    return create_container(engine, values, image_name, command)


def start(engine: Engine, names: Sequence[str], values: Values) -> int:
    """Start a container that was made before; with ``attach`` the exit code is its own."""
    from rootless.engine.start import start as start_containers

    return start_containers(engine, names, values)


def list_containers(engine: Engine, values: Values) -> list[dict[str, Any]]:
    """The containers in the shape of ``podman ps --format json``, newest first."""
    from rootless.engine.listing import list_containers as list_all

    return list_all(engine, values)


def inspect(engine: Engine, name: str, values: Values | None = None) -> dict[str, Any]:
    """All that is known of a container, in the shape of ``podman container inspect``; ``size``: with sizes."""
    from rootless.engine.inspect import inspect as inspect_container

    return inspect_container(engine, name, size=bool(values and values.get("size")))


def remove(engine: Engine, names: Sequence[str], values: Values) -> list[str]:
    """Remove containers; the names as they were given. ``force``, ``ignore``, ``volumes``, ``time``."""
    from rootless.engine.removal import remove as remove_containers

    return remove_containers(engine, names, values)


def prune(engine: Engine, values: Values) -> list[str]:
    """Remove every container that does not run; their ids. ``filter``: label, label!, until."""
    from rootless.engine.removal import prune as prune_containers

    return prune_containers(engine, values)
