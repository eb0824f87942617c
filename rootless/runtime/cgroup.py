"""The control group of a container that is started, and of one that runs.

Where no controller counts processes, RLIMIT_NPROC bounds them: since Linux 5.14 it counts in the container's own user
namespace, so that it takes nothing from the user's other processes (setrlimit(2), user_namespaces(7)).
"""

from __future__ import annotations

import os

from rootless.cgroups.manager import choose, of_spec, refuse_unenforced
from rootless.cgroups.resources import convert, without_defaults
from rootless.errors import RootlessError
from rootless.init.plan import Limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from rootless.cgroups.manager import Location, Wish
    from rootless.cgroups.placement import Placement
    from rootless.cgroups.v2 import Cgroup
    from rootless.init.plan import Plan
    from rootless.runtime.spec import Spec
    from rootless.runtime.state import State

_NPROC = 6


class Control:
    """The control group of one start. ``notes``: what the machine does without."""

    __slots__ = ("_placement", "location", "notes", "processes")

    def __init__(self, wish: Wish, location: Location, *, supervise: bool = False) -> None:
        refuse_unenforced(location, wish.limits, wish.devices)
        self.location = location
        self.notes: list[str] = []
        self.processes = _count(wish.limits.get("pids.max", ""))
        self._placement: Placement | None = None
        if location.kind != "none":
            from rootless.cgroups.placement import Placement

            self._placement = Placement(wish, location, supervise=supervise)

    def bound(self, plan: Plan) -> None:
        """Let RLIMIT_NPROC bound the container where no controller will; a lower one stays."""
        if not self.processes or "pids" in self.location.controllers:
            return
        limit = next((limit for limit in plan.limits if limit.number == _NPROC), None)
        if limit is None:
            limit = Limit("NPROC", _NPROC, self.processes, self.processes, False)
            plan.limits.append(limit)
        limit.soft = min(limit.soft, self.processes)
        limit.hard = min(limit.hard, self.processes)

    @property
    def place(self) -> Callable[[int], int] | None:
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

    def let_go(self) -> None:
        """The container lives on without this process."""
        if self._placement:
            self.notes += self._placement.notes

    def remove(self) -> None:
        """Take the group away, when the container has ended or could not be started."""
        if self._placement:
            self._placement.remove()


def for_spec(spec: Spec, name: str, *, systemd_form: bool = False, manager: str = "") -> Control:
    """The control group that a bundle's Spec asks for; see `rootless.cgroups.manager.of_spec`.

    ``systemd_form``: ``--systemd-cgroup``. ``manager``: crun's ``--cgroup-manager``. Engines that are in a user
    namespace fill limits in without asking whether they can be had: there they are left out with a note where no group
    is possible. Raises ``RootlessError``.
    """
    linux = spec.get("linux") or {}
    resources = linux.get("resources") or {}
    wish = of_spec(
        name,
        linux.get("cgroupsPath") or "",
        convert(resources),
        systemd_form=systemd_form or manager == "systemd",
        disabled=manager == "disabled",
    )
    if resources.get("devices"):
        from rootless.cgroups import devices

        rules = devices.parse(resources["devices"])
        own_users = any(namespace.get("type") == "user" for namespace in linux.get("namespaces") or [])
        bounding = ((spec.get("process") or {}).get("capabilities") or {}).get("bounding") or []
        if devices.are_needed(rules, own_users, bounding, linux.get("devices") or []):
            wish.devices = rules
    wish.owner = _owner(spec)
    location = choose(wish)
    wish.limits = without_defaults(wish.limits, location.controllers)
    left_out = False
    if wish.limits and location.kind == "none":
        from rootless.cgroups.devices import is_in_user_namespace

        left_out = is_in_user_namespace()
    if left_out:
        wish.limits = {name: value for name, value in wish.limits.items() if name == "pids.max"}
    control = Control(wish, location)
    if left_out:
        control.notes.append(f"linux.resources is left out: {location.why}")
    return control


def _owner(spec: Spec) -> int:
    """The host's id of the container's root, if that is to own the group, else -1: a user's is his already.

    Source: config-linux.md, "Cgroup ownership".
    """
    linux = spec.get("linux") or {}
    new = {namespace["type"] for namespace in linux.get("namespaces") or [] if not namespace.get("path")}
    if os.geteuid() != 0 or not {"user", "cgroup"} <= new:
        return -1
    for mount in spec.get("mounts") or []:
        if mount.get("type") in ("cgroup", "cgroup2") and "ro" not in (mount.get("options") or ()):
            from rootless.runtime import usermap

            host = usermap.of_spec(linux).host_uid(0)
            return -1 if host is None else host
    return -1


def of_state(state: State) -> Cgroup:
    """The group of a container that runs, by its state. Raises ``RootlessError`` where it has none."""
    from rootless.cgroups.v2 import Cgroup

    path = state.get("cgroup") or ""
    if not path or not os.path.isdir(path):
        why = state.get("cgroup_why") or "none was made at its start"
        hint = "pass a cgroupsPath that this user may write to, or --systemd-cgroup in a session of systemd"
        raise RootlessError(f"container {state['id']} has no control group: {why}", hint)
    return Cgroup(path)


def update(state: State, resources: Mapping[str, Any]) -> None:
    """Set the limits of a running container (``linux.resources``). Raises ``RootlessError``; then none has changed."""
    of_state(state).change(convert(resources))


def forget(state: State) -> None:
    """Remove the group of a container that has ended; whoever is still in it is killed."""
    from rootless.cgroups.v2 import Cgroup

    group = Cgroup(state.get("cgroup") or "")
    if group.path and group.exists():
        if group.populated():
            group.kill()
        group.delete()


def _count(text: str) -> int:
    return int(text) if text.isdigit() else 0
