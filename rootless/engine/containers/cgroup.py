"""What a start does about control groups: where the container's is made, what it limits, what limits in its place.

Where no controller counts processes, RLIMIT_NPROC bounds them: since Linux 5.14 it counts in the container's own user
namespace, so that it takes nothing from the user's other processes (setrlimit(2), user_namespaces(7)).
"""

from __future__ import annotations

import os

from rootless.cgroups import manager, resources
from rootless.errors import RootlessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rootless.cgroups.manager import Location, Wish
    from rootless.cgroups.systemd import Agent
    from rootless.engine.containers.container import Container
    from rootless.engine.context import Engine
    from rootless.init.plan import Plan
    from rootless.runtime.state import State

_NPROC = 6


class Control:
    """The control group of one start. ``notes``: what the machine does without."""

    __slots__ = ("_placement", "location", "notes", "processes")

    def __init__(
        self, wish: Wish, location: Location, *, supervise: bool = False, agent: Agent | None = None
    ) -> None:
        manager.refuse_unenforced(location, wish.limits)
        self.location = location
        self.notes: list[str] = []
        self.processes = _count(wish.limits.get("pids.max", ""))
        self._placement: manager.Placement | None = None
        if location.kind != "none":
            self._placement = manager.Placement(wish, location, supervise=supervise, agent=agent)

    def bound(self, plan: Plan) -> None:
        """Let RLIMIT_NPROC bound the container where no controller will; a ``--ulimit nproc`` of the user's stays."""
        if not self.processes or "pids" in self.location.controllers:
            return
        for limit in plan.limits:
            if limit.number == _NPROC and not limit.explicit:
                limit.soft = min(limit.soft, self.processes)
                limit.hard = min(limit.hard, self.processes)

    @property
    def place(self) -> Any:
        """What `launch.create` calls with the shim's pid; ``None`` where no group is used."""
        return self._placement.place if self._placement else None

    @property
    def path(self) -> str:
        """The directory of the container's group; empty for none."""
        return self._placement.path if self._placement else ""

    def note(self, state: State) -> None:
        """Put down in the container's state where it is."""
        state["cgroup"] = self.path
        location = self._placement.location if self._placement else self.location
        state["cgroup_manager"] = location.kind if self.path else "none"
        state["cgroup_why"] = location.why
        if self._placement:
            state["notes"] = [*state.get("notes", []), *self._placement.notes]

    def remove(self) -> None:
        """Take the group away, when the container has ended or could not be started."""
        if self._placement:
            self._placement.remove()


def begin(engine: Engine, values: Mapping[str, Any]) -> None:
    """Have systemd reached while the container is still prepared, where a scope will be wanted of it."""
    asked = str(engine.globals.get("cgroup_manager") or "")
    if asked in ("", "systemd") and (values.get("cgroups") or "enabled") in ("enabled", "no-conmon"):
        from rootless.cgroups import systemd

        where = systemd.address()
        if where and manager.hierarchy()[1]:
            engine.agent = systemd.Agent(where)


def prepare(engine: Engine, container: Container, *, supervise: bool) -> Control:
    """Choose for a container that is about to start. Raises ``RootlessError`` for what cannot be had here."""
    limits = resources.convert(container.spec["linux"].get("resources") or {})
    wish = wished(engine, container.id, container.record["options"], limits)
    agent, engine.agent = engine.agent, None
    location = manager.choose(wish)
    if agent and location.kind != "systemd":
        agent.close()
        agent = None
    return Control(wish, location, supervise=supervise, agent=agent)


def check(engine: Engine, options: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Refuse limits that nothing here can hold, before anything is made for the container."""
    wish = wished(engine, "check", options, resources.convert(found))
    manager.refuse_unenforced(manager.choose(wish), wish.limits)


def wished(engine: Engine, container_id: str, options: Mapping[str, Any], limits: Mapping[str, str]) -> Wish:
    """What the options of a container ask for."""
    return manager.Wish(
        container_id,
        manager=str(engine.globals.get("cgroup_manager") or ""),
        mode=options.get("cgroups") or "enabled",
        parent=options.get("cgroup_parent") or "",
        limits=limits,
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


def _count(text: str) -> int:
    return int(text) if text.isdigit() else 0
