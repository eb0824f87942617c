"""The control group of a container of ``rootless-oci``, at its start and at its end."""

from __future__ import annotations

from rootless.cgroups.manager import MANAGERS
from rootless.errors import UsageError
from rootless.runtime import cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rootless.init.plan import Plan
    from rootless.runtime.spec import Spec
    from rootless.runtime.state import State


class Group:
    """The control group of a container that is being made, as its Spec and the command line want it."""

    __slots__ = ("_control", "notes")

    def __init__(self, identifier: str, spec: Spec, global_values: Mapping[str, Any]) -> None:
        asked = global_values.get("cgroup_manager") or ""
        if asked not in ("", *MANAGERS):
            names = ", ".join(MANAGERS)
            raise UsageError(f"cannot use {asked[:40]!r} for --cgroup-manager", f"choose from: {names}")
        systemd_form = bool(global_values.get("systemd_cgroup"))
        self._control = cgroup.for_spec(spec, identifier, systemd_form=systemd_form, manager=asked)
        self.notes = self._control.notes

    @property
    def place(self) -> Any:
        """What `launch.create` calls with the shim's pid; ``None`` where no group is used."""
        return self._control.place

    @property
    def path(self) -> str:
        """The directory of the group, once it is made; empty for none."""
        return self._control.path

    def bound(self, plan: Plan) -> None:
        """Let RLIMIT_NPROC bound the container where no controller will."""
        self._control.bound(plan)

    def let_go(self) -> None:
        """The container has it now."""
        self._control.let_go()
        self.notes = self._control.notes

    def remove(self) -> None:
        """Take it away: the container could not be made."""
        self._control.remove()


def forget(found: State) -> None:
    """Remove the control group of a container that has ended, with what it left behind without a pid namespace."""
    if found.get("cgroup"):
        from rootless.cgroups.v2 import Cgroup

        group = Cgroup(found["cgroup"])
        if group.populated():
            group.kill()
        group.delete()
