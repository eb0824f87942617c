"""The six lines of defence between a container and the machine: what it got of each, and why not more.

`inspect` and `info` show them under ``Isolation``, ``--require`` and ``--strict`` ask for them. Each line is::

    Got   what it is, in words
    Why   for what reason, and why it is not more
    Less  whether the machine gave less than it could give a container, unasked for
    Has   what can be relied on, in the words of `NAMES`
"""

from __future__ import annotations

from rootless.cgroups.manager import USEFUL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from rootless.idmaps import Row

    Line = dict[str, Any]
    Lines = dict[str, Line]

NAMES = {
    "ids": "UserIDs",
    "ids.range": "UserIDs",
    "rootfs.shared": "RootFS",
    "rootfs.overlay": "RootFS",
    "network.private": "Network",
    "network.connected": "Network",
    "cgroup": "Cgroup",
    "cgroup.cpu": "Cgroup",
    "cgroup.cpuset": "Cgroup",
    "cgroup.io": "Cgroup",
    "cgroup.memory": "Cgroup",
    "cgroup.pids": "Cgroup",
    "seccomp": "Seccomp",
    "lsm": "LSM",
    "lsm.apparmor": "LSM",
    "lsm.selinux": "LSM",
}
"""What can be relied on, and the line that it is a part of."""

ENOUGH = 65536
"""How many ids an image may take for granted."""

ASKED = "it was asked for"
"""What a storage driver says that was named by the user."""


def line(got: str, why: str, *, less: bool = False, has: Iterable[str] = ()) -> Line:
    """One of the six."""
    return {"Got": got, "Why": why, "Less": less, "Has": sorted(has)}


def user_ids(uids: Sequence[Row], gids: Sequence[Row], mode: str, *, nested: bool = False) -> Line:
    """By the maps of a container's ids; ``mode``: of ``--userns``, empty where nothing was asked for; ``nested``: the
    caller is in a user namespace himself."""
    count = min(sum(row[2] for row in uids), sum(row[2] for row in gids))
    got = f"{count} user ids" if count > 1 else "one user id"
    has = ["ids", "ids.range"] if count > 1 else ["ids"]
    if mode not in ("", "host"):
        why = f"--userns={mode}"
        if count == 1:
            why += "; the user had no range in /etc/subuid that could be mapped"
        return line(got, why, less=count == 1, has=has)
    if count == 1:
        return line(got, "the user had no range in /etc/subuid that could be mapped", less=True, has=has)
    if all(inside == outside for inside, outside, _ in uids):
        if nested:
            return line(f"{got}, those of the container that this is in", "its root has them all", has=has)
        return line(f"{got}, those of the machine", "root has no range in /etc/subuid", less=True, has=["ids.range"])
    return line(got, "the ranges of /etc/subuid", less=count < ENOUGH, has=has)


def root_fs(driver: str, why: str) -> Line:
    """By the storage driver and the reason for it; none for a directory of the host."""
    if not driver:
        return line("the directory as it is", "--rootfs")
    has = {"overlay": ["rootfs.overlay", "rootfs.shared"], "fuse-overlayfs": ["rootfs.shared"]}.get(driver, [])
    return line(driver, why, less=driver != "overlay" and why != ASKED, has=has)


def network(asked: str, kind: str, why: str) -> Line:
    """By ``--network`` and what it came to; ``why``: for what reason a container that wanted a network has none."""
    reason = f"--network={asked}" if asked else why or "the default"
    if kind == "host":
        return line("the host's", reason)
    if kind == "none":
        return line("its own, without a way out", reason, less=bool(why), has=["network.private"])
    return line(f"its own, connected by {kind}", reason, has=["network.connected", "network.private"])


def cgroup(kind: str, why: str, controllers: Iterable[str], *, asked: bool = False, bound: str = "") -> Line:
    """By who made the group (``none``: nobody) and what it has; ``asked``: whether the user wants none; ``bound``: what
    limits processes without it."""
    if kind in ("", "none", "disabled"):
        return line(f"the caller's{bound}", why, less=not asked)
    held = sorted(controllers)
    missing = [name for name in USEFUL if name not in held]
    told = f"{why}; not delegated: {' '.join(missing)}" if missing else why
    got = f"one of its own, made by {kind}, with {' '.join(held) or 'no controller'}{bound}"
    known = [name for name in (f"cgroup.{controller}" for controller in held) if name in NAMES]
    return line(got, told, less=bool(missing), has=["cgroup", *known])


def seccomp(profile: str, *, hardened: bool = False, privileged: bool = False) -> Line:
    """By the profile: ``default``, ``unconfined`` or a path. It is never left out unasked."""
    if profile == "unconfined":
        return line("no filter", "--privileged" if privileged else "--security-opt seccomp=unconfined")
    if profile != "default":
        return line(profile, f"--security-opt seccomp={profile}", has=["seccomp"])
    got = "the hardened profile" if hardened else "the built-in profile"
    return line(got, "the default", has=["seccomp"])


def lsm(profile: str, label: str, apparmor_why: str, selinux_why: str, *, less: bool) -> Line:
    """By the AppArmor profile and the SELinux label, and for what reasons these or none; ``less``: whether the machine
    has a module that gives the container nothing, unasked for."""
    got, has = [], []
    if profile:
        got.append(f"the AppArmor profile {profile}")
        has.append("lsm.apparmor")
    if label:
        got.append(f"the SELinux label {label}")
        has.append("lsm.selinux")
    why = f"AppArmor: {apparmor_why}; SELinux: {selinux_why}"
    return line(" and ".join(got) or "the caller's own confinement", why, less=less, has=["lsm", *has] if has else [])
