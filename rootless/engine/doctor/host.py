"""The kernel, user namespaces, the ids in them, and the user's runtime directory."""

from __future__ import annotations

import os

from rootless.engine.doctor.check import BROKEN, LESS, OK, Check, as_root, nothing, package, profiles, user
from rootless.engine.doctor.ranges import others
from rootless.engine.isolation import ENOUGH
from rootless.errors import RootlessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_OLDEST = (5, 12)  # mount_setattr(2) with which every mount is restricted


def checks() -> Iterator[Check]:
    """What a start needs first."""
    yield kernel()
    yield user_namespace()
    yield ids()
    yield procfs()
    yield runtime_directory()


def kernel() -> Check:
    """Its release."""
    release = os.uname().release
    numbers = [part for part in release.replace("-", ".").split(".")[:2] if part.isdigit()]
    if tuple(map(int, numbers)) < _OLDEST:
        return Check("kernel", BROKEN, f"Linux {release}", advice="boot Linux 5.12 or later")
    return Check("kernel", OK, f"Linux {release}")


def user_namespace() -> Check:
    """Whether one can be made."""
    from rootless import idmaps, userns

    name = "user namespace"
    try:
        userns.run_in_userns(nothing, idmaps.single_map())
    except (RootlessError, OSError) as error:
        found = getattr(error, "message", "") or str(error)
        command, advice = userns.obstacle()
        if command:
            command = as_root(command)
        elif userns.needs_profile():
            command, advice = profiles(), "in the sources"
        return Check(name, BROKEN, found, "no container runs", command=command, advice=advice)
    return Check(name, OK, "one can be made")


def ids() -> Check:
    """How many ids a container has."""
    from rootless import idmaps, userns
    from rootless.cgroups.devices import is_in_user_namespace
    from rootless.paths import helper

    name = "subordinate ids"
    found = idmaps.default_map()
    count = min(sum(row[2] for row in found.uids), sum(row[2] for row in found.gids))
    first = 100000 + (os.getuid() % 10000) * ENOUGH
    ranges = f"{first}-{first + ENOUGH - 1}"
    add = as_root(f"usermod --add-subuids {ranges} --add-subgids {ranges} {user()}")
    if os.geteuid() == 0 and found.name and is_in_user_namespace():
        return Check(name, OK, f"{count} ids, all of the container that this is in")
    if os.geteuid() == 0 and found.name:
        told, cost = "root has no range in /etc/subuid and /etc/subgid", "containers see the machine's own ids"
        return Check(name, LESS, told, cost, command=add)
    uids, gids = idmaps.subid_ranges(os.getuid())
    total = min(sum(length for _, length in uids), sum(length for _, length in gids))
    alone = "a container has a single user"
    if sharing := others(uids, gids):
        told = f"{', '.join(sharing[:3])}{' and more' if sharing[3:] else ''} also have ids of this user's ranges"
        cost = "their files and those of containers are within each other's reach"
        return Check(name, LESS, told, cost, command=add, advice="and take the ranges away that overlap")
    if total < ENOUGH:
        told = f"{total or 'none'} in /etc/subuid and /etc/subgid"
        return Check(name, LESS, told, "a container has few users" if total else alone, command=add)
    if os.geteuid() and not (helper("newuidmap") and helper("newgidmap")):
        command, advice = package("newuidmap")
        return Check(name, LESS, "newuidmap is not installed", alone, command=command, advice=advice)
    try:
        userns.run_in_userns(nothing, found)
    except (RootlessError, OSError) as error:
        told = getattr(error, "message", "") or str(error)
        mend = as_root("chmod u+s /usr/bin/newuidmap /usr/bin/newgidmap")
        return Check(name, BROKEN, told, "no container runs", command=mend)
    if count <= 1:
        advice = "run it outside of the container or of the no_new_privs process that it is in"
        return Check(name, LESS, "newuidmap has no power here", alone, advice=advice)
    return Check(name, OK, f"{count} ids in a container")


def procfs() -> Check:
    """Whether a container can have a procfs of its own: the kernel makes none where parts of the caller's are hidden.
    """
    from rootless import idmaps, userns

    try:
        refused = userns.run_in_userns(_mount_proc, idmaps.default_map(), mount_ns=True).decode()
    except (RootlessError, OSError) as error:
        refused = getattr(error, "message", "") or str(error)
    if not refused:
        return Check("procfs", OK, "containers have their own")
    advice = "start the container that this is in with --security-opt unmask=ALL"
    return Check("procfs", LESS, refused, "containers start with --pid=host only", advice=advice)


def _mount_proc() -> bytes:
    """Mount a procfs of a new pid namespace; why not, or nothing."""
    from rootless.linux.libc import CLONE_NEWPID, unshare
    from rootless.linux.mountapi import new_mount

    unshare(CLONE_NEWPID)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            new_mount("proc", [], 0)
            code = 0
        finally:
            os._exit(code)
    return b"" if os.waitpid(child, 0)[1] == 0 else b"parts of /proc are hidden here"


def runtime_directory() -> Check:
    """Where the state of running containers is."""
    from rootless import paths
    from rootless.engine.doctor.groups import session

    name = "runtime directory"
    path = paths.runtime_home()
    if path or os.geteuid() == 0:
        return Check(name, OK, path or "/run")
    command, advice = session()
    told, cost = "the user has none of his own", "a directory in /tmp is used"
    return Check(name, LESS, told, cost, command=command, advice=advice)
