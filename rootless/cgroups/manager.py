"""Where a container's control group is to be: in a scope of systemd, in a delegated part of the tree, or nowhere.

::

    systemd     MANAGER/SLICE/rootless-ID.scope/container     the payload, with its limits
                                               /supervisor    who looks after it
    cgroupfs    PARENT/rootless-ID                            the payload; who looks after it stays where it is
    split       OWN/container-ID, OWN/supervisor              in the caller's own group (``--cgroups=split``)

systemd demands that a delegated group holds processes or groups, never both (https://systemd.io/CGROUP_DELEGATION), and
so does the kernel of one whose groups have controllers (cgroup-v2.rst, "No Internal Process Constraint").
"""

from __future__ import annotations

import os

from rootless.cgroups.tree import MOUNT, group_of, hierarchy
from rootless.errors import RootlessError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rootless.cgroups.devices import Rule

MANAGERS = ("systemd", "cgroupfs", "disabled")
USEFUL = ("cpu", "io", "memory", "pids")
"""Controllers that every container gets where they are: for `stats`, and so that `update` can set limits later."""

_WRITE = os.W_OK


class Wish:
    """What is asked for.

    ``name``: of the container. ``manager``: one of `MANAGERS`, empty: the best there is. ``mode``: enabled, disabled,
    no-conmon or split. ``parent``: a slice for systemd, else a path below the mount point. ``path``: the group itself,
    below the mount point if absolute. ``unit``: systemd's name for the scope. ``limits``: as `resources.convert` makes
    them. ``optional``: a manager that cannot be had is done without. ``devices``: the rules that a filter must hold.
    ``stop_timeout``: seconds between a scope's SIGTERM and its SIGKILL. ``owner``: the host's id of who may make groups
    below the container's, -1 for the caller alone. ``required``: controllers without which there is to be no start;
    None: not even a group is needed.
    """

    __slots__ = (
        "devices", "limits", "manager", "mode", "name", "optional", "owner", "parent", "path", "required",
        "stop_timeout", "unit",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        *,
        manager: str = "",
        mode: str = "enabled",
        parent: str = "",
        path: str = "",
        unit: str = "",
        limits: Mapping[str, str] | None = None,
        optional: bool = False,
        devices: Sequence[Rule] = (),
        stop_timeout: int = 10,
        required: Sequence[str] | None = None,
    ) -> None:
        self.name = name
        self.required = required
        self.optional = optional
        self.devices = devices
        self.stop_timeout = stop_timeout
        self.owner = -1
        self.manager = manager
        self.mode = mode
        self.parent = parent
        self.path = path
        self.unit = unit
        self.limits = dict(limits or {})

    def unit_name(self) -> str:
        """The name of the scope."""
        from rootless.cgroups.systemd import escape

        return self.unit or f"rootless-{escape(self.name)}.scope"


class Location:
    """What is there. ``kind``: systemd, cgroupfs, split or none; ``why``: for what reason.

    ``mount``: of the hierarchy. ``directory``: the group of a cgroupfs location, the shared one of split. ``slice``:
    of a scope. ``controllers``: those that the container's group will have.
    """

    __slots__ = ("controllers", "directory", "kind", "mount", "slice", "why")

    def __init__(
        self,
        kind: str,
        why: str,
        *,
        mount: str = "",
        directory: str = "",
        slice: str = "",
        controllers: Iterable[str] = (),
    ) -> None:
        self.kind = kind
        self.why = why
        self.mount = mount
        self.directory = directory
        self.slice = slice
        self.controllers = list(controllers)


def of_spec(name: str, spec_path: str, limits: Mapping[str, str], *, systemd_form: bool, disabled: bool) -> Wish:
    """The wish of a Spec's ``cgroupsPath``: ``slice:prefix:name`` with ``--systemd-cgroup``, else a path.

    Without either, systemd is asked only where limits need it. A path that cannot be made is done without, as callers
    fill it in without asking anybody. Raises ``RootlessError`` for any other form (runc's and crun's rule).
    """
    if disabled:
        return Wish(name, manager="disabled", limits=limits)
    if not systemd_form:
        manager = "" if limits else "cgroupfs"
        return Wish(name, manager=manager, path=_checked(spec_path), limits=limits, optional=True)
    if not spec_path:
        return Wish(name, manager="systemd", limits=limits)
    parts = spec_path.split(":")
    if len(parts) != 3 or not parts[2] or (parts[0] and not parts[0].endswith(".slice")) or "/" in spec_path:
        raise RootlessError(
            f"cannot use the cgroupsPath {spec_path[:120]!r} with --systemd-cgroup",
            "write it like user.slice:rootless:name",
        )
    from rootless.cgroups.systemd import escape

    slice_name, prefix, last = parts
    unit = "-".join(part for part in (prefix, last) if part)
    unit = unit if unit.endswith(".scope") else unit + ".scope"
    return Wish(name, manager="systemd", parent=slice_name, unit=escape(unit), limits=limits)


def choose(wish: Wish) -> Location:
    """Where the container's group is to be. Raises ``RootlessError`` for a wish that cannot be had."""
    if "disabled" in (wish.mode, wish.manager):
        if wish.parent:
            raise UsageError("cannot use --cgroup-parent without control groups", "leave away --cgroups=disabled")
        return Location("none", "--cgroups=disabled" if wish.mode == "disabled" else "--cgroup-manager=disabled")
    mount, unified = hierarchy()
    asked = wish.manager
    if asked not in ("", *MANAGERS):
        raise UsageError(f"cannot use {asked[:40]!r} for --cgroup-manager", "use one of " + ", ".join(MANAGERS))
    if wish.mode == "split":
        if wish.parent:
            raise UsageError("cannot use --cgroup-parent with --cgroups=split", "leave away one of them")
        return _demand(_split(mount), "--cgroups=split")
    sliced = wish.parent.endswith(".slice")
    if asked == "systemd" and wish.parent and not sliced:
        hint = "name a slice, or use --cgroup-manager=cgroupfs"
        raise UsageError(f"cannot use the parent {wish.parent[:80]!r} for a scope of systemd", hint)
    if asked == "cgroupfs" and sliced:
        raise UsageError(f"cannot use the slice {wish.parent[:80]!r} without systemd", "use --cgroup-manager=systemd")
    found = Location("none", _no_hierarchy(mount))
    if asked != "cgroupfs" and unified and (sliced or not (wish.parent or wish.path)):
        found = _scope(mount, wish)
    if found.kind == "none" and asked != "systemd" and not sliced and mount:
        found = _directory(mount, wish, found.why if not asked else "--cgroup-manager=cgroupfs")
    if wish.optional:
        return found
    return _demand(found, f"--cgroup-manager={asked}" if asked else wish.parent and "--cgroup-parent")


def unenforced(location: Location, limits: Mapping[str, str]) -> list[str]:
    """Those of ``limits`` that nothing at this place can hold, the number of processes left out: an rlimit can."""
    return [
        name
        for name in limits
        if name.partition(".")[0] not in (*location.controllers, "cgroup") and name != "pids.max"
    ]


def refuse_unenforced(location: Location, limits: Mapping[str, str], rules: Sequence[Rule] = ()) -> None:
    """Raise ``RootlessError`` if limits, or rules for devices, are asked for that nothing can hold."""
    if rules and location.kind == "none":
        from rootless.cgroups.devices import HINT

        raise RootlessError(f"cannot apply linux.resources.devices: no control group is used ({location.why})", HINT)
    names = unenforced(location, limits)
    if not names:
        return
    controller = names[0].partition(".")[0]
    if location.kind == "none":
        raise RootlessError(
            f"cannot limit {controller}: no control group is used ({location.why})",
            "leave the limit away, or log in where systemd has a session for you (loginctl enable-linger)",
        )
    from rootless.cgroups.v2 import missing_controller

    raise missing_controller(controller, names[0])


def _demand(found: Location, asked: str) -> Location:
    """``found``, which must be something where the user asked for it by name."""
    if asked and found.kind == "none":
        hint = "leave it to rootless to find a manager, or use --cgroups=disabled"
        raise RootlessError(f"cannot make a control group as asked for ({asked}): {found.why}", hint)
    return found


def _no_hierarchy(mount: str) -> str:
    if mount:
        return "version 1 of control groups has the controllers on this machine"
    return "version 2 of control groups is not mounted on this machine"


def _scope(mount: str, wish: Wish) -> Location:
    from rootless.cgroups import systemd
    from rootless.cgroups.v2 import Cgroup

    if not systemd.address():
        return Location("none", "there is no systemd session of the user")
    default = "user.slice" if os.geteuid() else "machine.slice"
    return Location(
        "systemd",
        "systemd manages the session",
        mount=mount,
        slice=wish.parent or default,
        controllers=Cgroup(mount + _managed()).controllers(),
    )


def _managed() -> str:
    """The group of the manager that is asked for scopes, below the mount point."""
    user = os.geteuid()
    if not user:
        return ""
    head, service, _ = group_of().partition(f"/user@{user}.service")
    return (head if service else f"/user.slice/user-{user}.slice") + f"/user@{user}.service"


def _directory(mount: str, wish: Wish, why: str) -> Location:
    """A group in a part of the tree that this user may write to."""
    own = group_of()
    if not own or own.startswith("/.."):
        return Location("none", "the group of this process cannot be seen")
    name = f"rootless-{wish.name}"
    if wish.path.startswith("/") or wish.parent.startswith("/"):
        parent, _, name = (wish.path or f"{_checked(wish.parent)}/{name}").rpartition("/")
        parent = _existing(mount + parent)
        if not _writable(parent):
            return Location("none", f"{parent} is not delegated to this user")
        directory = mount + (wish.path or f"{wish.parent}/{name}")
        return Location("cgroupfs", why, mount=mount, directory=directory, controllers=_offered(parent))
    if wish.path or wish.parent:
        name = wish.path or f"{_checked(wish.parent)}/{name}"
    wanted = {"pids", *(limit.partition(".")[0] for limit in wish.limits), *(wish.required or ())}
    best: tuple[int, str, list[str]] | None = None
    path = own.rstrip("/")
    while _writable(mount + path):
        offered = _offered(mount + path)
        if best is None or len(wanted.intersection(offered)) > best[0]:
            best = (len(wanted.intersection(offered)), path, offered)
        if not path or wanted.issubset(offered):
            break
        path = path.rpartition("/")[0]
    if best is None:
        return Location("none", f"the group {own} is not delegated to this user")
    return Location("cgroupfs", why, mount=mount, directory=f"{mount}{best[1]}/{name}", controllers=best[2])


def _split(mount: str) -> Location:
    """The caller's own group, shared between the container and who looks after it."""
    from rootless.cgroups.v2 import Cgroup

    # A monitor that restarts its container is in a part of it already.
    own = group_of().rstrip("/").removesuffix("/supervisor")
    directory = mount + own
    if not mount or not _writable(directory):
        return Location("none", f"the group {own or '/'} is not delegated to this user")
    controllers = Cgroup(directory).controllers()
    return Location("split", "--cgroups=split", mount=mount, directory=directory, controllers=controllers)


def _checked(path: str) -> str:
    """A path that stays below what it is joined to."""
    if any(part in (".", "..") for part in path.split("/")) or "\0" in path or "\n" in path:
        raise RootlessError(f"cannot use the control group {path[:120]!r}", "name it without . and ..")
    return path.rstrip("/")


def _existing(path: str) -> str:
    """The nearest directory of ``path`` that is there."""
    while not os.path.isdir(path) and len(path) > len(MOUNT):
        path = path.rpartition("/")[0]
    return path


def _writable(directory: str) -> bool:
    """Whether groups can be made in a group, and processes moved between those: its owner's right."""
    return os.access(directory, _WRITE) and os.access(f"{directory}/cgroup.procs", _WRITE)


def _offered(path: str) -> list[str]:
    """The controllers that groups below this one have, or would get when asked for."""
    from rootless.cgroups.v2 import Cgroup

    group = Cgroup(path)
    try:
        enabled = group.read("cgroup.subtree_control").split()
        if not os.access(f"{group.path}/cgroup.subtree_control", _WRITE):
            return enabled
        inhabited = group.read("cgroup.procs").strip() and os.path.exists(f"{group.path}/cgroup.type")
    except OSError:
        return []
    # The kernel's own root, the one group without a type, may have both processes and controllers for its groups.
    return enabled if inhabited else group.controllers()
