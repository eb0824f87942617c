"""What the engine asks of control groups for a container, by its options."""

from __future__ import annotations

import os

from rootless.cgroups import manager, resources
from rootless.errors import RootlessError
from rootless.runtime.cgroup import Control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rootless.cgroups.manager import Wish
    from rootless.engine.containers.container import Container
    from rootless.engine.context import Engine


def prepare(engine: Engine, container: Container, *, supervise: bool) -> Control:
    """Choose for a container that is about to start. Raises ``RootlessError`` for what cannot be had here."""
    limits = resources.convert(container.spec["linux"].get("resources") or {})
    wish = wished(engine, container.id, container.record["options"], limits)
    return Control(wish, manager.choose(wish), supervise=supervise)


def check(engine: Engine, options: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Refuse limits that nothing here can hold, before anything is made for the container."""
    wish = wished(engine, "check", options, resources.convert(found))
    manager.refuse_unenforced(manager.choose(wish), wish.limits)


def wished(engine: Engine, container_id: str, options: Mapping[str, Any], limits: Mapping[str, str]) -> Wish:
    """What the options of a container ask for."""
    required = None
    if options.get("strict") or options.get("require"):
        from rootless.engine.containers.requirements import of_cgroup

        required = of_cgroup(options)
    return manager.Wish(
        container_id,
        manager=str(engine.globals.get("cgroup_manager") or ""),
        mode=options.get("cgroups") or "enabled",
        parent=options.get("cgroup_parent") or "",
        limits=limits,
        stop_timeout=options.get("stop_timeout") or 0,
        required=required,
    )


def of_container(engine: Engine, container_id: str, what: str) -> str:
    """The directory of a running container's group, for a command that needs it: ``what`` it is to do.

    Raises ``RootlessError`` where it does not run or has no group.
    """
    from rootless.engine.containers.status import ALIVE, status

    current = status(engine, container_id)
    if current.state not in ALIVE:
        raise RootlessError(f"cannot {what} container {container_id[:12]}: it is not running")
    if not current.cgroup or not os.path.isdir(current.cgroup):
        why = current.cgroup_why or "none was made at its start"
        hint = "log in where systemd has a session for you, or delegate a control group, and start it again"
        raise RootlessError(f"cannot {what} container {container_id[:12]}: it has no control group ({why})", hint)
    return current.cgroup
