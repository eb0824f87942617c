"""Making a container's control group at its start, taking it away at its end, and joining it later."""

from __future__ import annotations

import os

from rootless.cgroups import resources, systemd
from rootless.cgroups.manager import USEFUL, Location, Wish, choose, refuse_unenforced
from rootless.cgroups.tree import group_of
from rootless.cgroups.v2 import Cgroup, delegation_hint
from rootless.errors import RootlessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_GRACE = 5
"""Seconds that the monitor has, after it has killed a container that did not end in time, to put that down."""


class Placement:
    """Making the group of one container at its start, and taking it away at its end.

    ``supervise``: this process itself looks after the container, and goes to ``supervisor``. ``path``: the payload's
    group once it is made. ``notes``: what the machine does without.
    """

    __slots__ = ("_made", "location", "notes", "path", "supervise", "wish")

    def __init__(self, wish: Wish, location: Location, *, supervise: bool = False) -> None:
        self.wish = wish
        self.location = location
        self.supervise = supervise
        self.path = ""
        self.notes: list[str] = []
        self._made = ""

    def place(self, shim: int) -> int:
        """Make the group; an open ``cgroup.procs`` of it, -1 for none. ``shim``: the container's first process so far.

        Raises ``RootlessError``.
        """
        if self.location.kind == "systemd":
            try:
                base = self._scope(shim)
            except systemd.Refused as refused:
                return self._without_systemd(shim, refused)
            return self._in_two(base, "container", [shim])
        if self.location.kind == "split":
            base = Cgroup(self.location.directory)
            inhabitants = [int(pid) for pid in base.read("cgroup.procs").split()]
            return self._in_two(base, f"container-{self.wish.name}", inhabitants)
        group = Cgroup(self.location.directory)
        if group.exists() and group.populated():
            raise RootlessError(f"cannot use the control group {group.path}: processes are in it", "name another one")
        parent = Cgroup(group.path.rpartition("/")[0])
        try:
            self._make_parents(parent)
            group.make()
        except OSError as error:
            raise RootlessError(f"cannot make the control group {group.path}: {error.strerror}") from error
        self._made = group.path
        return self._fill(group, parent)

    def _make_parents(self, group: Cgroup) -> None:
        """Make the groups on the way to the container's that are missing, with the controllers that it wants."""
        missing = []
        path = group.path
        while not os.path.isdir(path):
            missing.append(path)
            path = path.rpartition("/")[0]
        for child in reversed(missing):
            Cgroup(child.rpartition("/")[0]).enable(self._wanted())
            Cgroup(child).make()

    def _wanted(self) -> set[str]:
        return {*USEFUL, *resources.needed(self.wish.limits), *(self.wish.required or ())}

    def _is_inside(self) -> bool:
        """Whether this process looks after the container already, and restarts it."""
        return group_of().endswith(f"/{self.wish.unit_name()}/supervisor")

    def _scope(self, shim: int) -> Cgroup:
        """The scope, with its processes in it. A restart finds it, as its monitor is in it already."""
        if self._is_inside():
            return Cgroup(self.location.mount + group_of().removesuffix("/supervisor"))
        pids = [shim, os.getpid()] if self.supervise and self.wish.mode != "no-conmon" else [shim]
        description = f"Container {self.wish.name}"
        patience = self.wish.stop_timeout + _GRACE
        unit = self.wish.unit_name()
        bus = systemd.Bus(systemd.address())
        try:
            bus.start(systemd.Scope(unit, self.location.slice, description, pids, patience))
        finally:
            bus.close()
        found = group_of(shim)
        if not found.endswith("/" + unit):
            raise systemd.Refused("", f"the container is not in its scope {unit} but in {found or 'none'}")
        return Cgroup(self.location.mount + found)

    def _in_two(self, base: Cgroup, payload: str, others: Sequence[int]) -> int:
        """One group for the payload and one for who looks after it, who must leave their common one."""
        supervisor = Cgroup(f"{base.path}/supervisor")
        group = Cgroup(f"{base.path}/{payload}")
        try:
            supervisor.make()
            group.make()
        except OSError as error:
            raise RootlessError(f"cannot make a control group in {base.path}: {error.strerror}") from error
        self._made = group.path
        if self.location.kind == "systemd" and self.supervise and self.wish.mode != "no-conmon":
            others = [*others, os.getpid()]
        for pid in others:
            supervisor.add(pid)
        return self._fill(group, base)

    def _fill(self, group: Cgroup, parent: Cgroup) -> int:
        limits = dict(self.wish.limits)
        enabled = parent.enable(self._wanted())
        if "pids" not in enabled:
            limits.pop("pids.max", None)  # an rlimit holds it
        try:
            for name in self.wish.required or ():
                if name not in enabled:
                    message = f"cannot start the container without the {name} controller of control groups"
                    raise RootlessError(f"{message}, which is required", delegation_hint(name))
            self.notes += group.write(limits)
            if self.wish.devices:
                from rootless.cgroups import devices

                devices.hold(group.path, self.wish.devices)
            if self.wish.owner >= 0:
                group.give(self.wish.owner)
            self.path = group.path
            return group.open_procs()
        except (RootlessError, OSError):
            self.remove()
            raise

    def _without_systemd(self, shim: int, refused: systemd.Refused) -> int:
        """Another place where nobody asked for systemd; else, or if limits hang on it, the start fails."""
        wish = self.wish
        if wish.manager == "systemd" or wish.parent or wish.required is not None:
            raise systemd.unavailable(refused)
        wish.manager = "cgroupfs"
        try:
            self.location = choose(wish)
        except RootlessError:
            self.location = Location("none", refused.text)
        finally:
            wish.manager = ""
        refuse_unenforced(self.location, wish.limits, wish.devices)
        if self.location.kind == "none":
            self.notes.append(f"no control group is used: {refused.text}")
            return -1
        return self.place(shim)

    def remove(self) -> None:
        """Take away what was made, when the container has ended. A scope that is empty ends by itself."""
        if self._made:
            Cgroup(self._made).delete()
            self._made = ""


def join(path: str, pid: int) -> None:
    """Move a process into a running container's group, as `exec` does; through systemd where the user may not.

    Raises ``RootlessError``.
    """
    try:
        Cgroup(path).put("cgroup.procs", str(pid))
        return
    except PermissionError as error:
        problem = error
    except ProcessLookupError:
        return
    except OSError as error:
        raise RootlessError(f"cannot put process {pid} into the control group {path}: {error.strerror}") from error
    # A login session is not the user's own tree: between it and his services only systemd moves processes.
    head, found, below = path.partition(".scope/")
    where = systemd.address()
    if found and where:
        try:
            bus = systemd.Bus(where)
            try:
                bus.attach(f"{head.rpartition('/')[2]}.scope", "/" + below, [pid])
            finally:
                bus.close()
            return
        except systemd.Refused as refused:
            hint = f"systemd says: {refused.text}"
            raise RootlessError(f"cannot put process {pid} into the control group {path}", hint) from None
    raise RootlessError(f"cannot put process {pid} into the control group {path}: {problem.strerror}") from None
