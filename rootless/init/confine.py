"""Giving up power: limits, ids, capabilities, no_new_privs and the system call filter."""

from __future__ import annotations

import errno
import os

from rootless.errors import RootlessError
from rootless.linux import caps, seccomp
from rootless.linux.libc import PR_SET_KEEPCAPS, PR_SET_NO_NEW_PRIVS, getrlimit, prctl, setrlimit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from rootless.idmaps import IdMap
    from rootless.init.identity import Identity
    from rootless.init.plan import Capabilities, Keeper, Limit, User

    class Plan(Protocol):
        """What counts here of `rootless.init.plan.Plan`, and of a process that joins a container."""

        capabilities: Capabilities
        keeper: Keeper | None
        no_new_privileges: bool
        seccomp: bytes | None
        user: User

    class Site(Protocol):
        """Whoever keeps the notes of what was left out."""

        notes: list[str]

_CANNOT_INVOKE = 126


def raise_hard_limits(limits: list[Limit]) -> None:
    """Raise the hard limits that are asked for above the caller's; only real root may, so it is only tried.

    It happens before the user namespace is made, where CAP_SYS_RESOURCE still counts. The rest waits for
    :func:`apply_limits`, as a low limit would hinder the start itself.
    """
    for limit in limits:
        soft, hard = getrlimit(limit.number)
        if limit.hard > hard:
            try:
                setrlimit(limit.number, soft, limit.hard)
            except OSError:
                continue


def apply_limits(limits: list[Limit], site: Site) -> None:
    """Set the limits. One above the hard limit is lowered to it, unless the user asked for it by name."""
    for limit in limits:
        soft, hard = getrlimit(limit.number)
        if limit.hard > hard:
            if limit.explicit:
                raise RootlessError(
                    f"cannot set the limit {limit.name} to {limit.hard}: the caller's hard limit is {hard}",
                    hint="lower it, or raise the hard limit of your session",
                )
            site.notes.append(f"{limit.name} is lowered to the caller's hard limit {hard}")
        setrlimit(limit.number, min(limit.soft, limit.hard, hard), min(limit.hard, hard))


def check_mapped(identity: Identity, idmap: IdMap, site: Site) -> None:
    """Refuse ids that the container's map lacks; supplementary groups that it lacks are left out."""
    for kind, number, host in (
        ("user", identity.uid, idmap.host_uid(identity.uid)),
        ("group", identity.gid, idmap.host_gid(identity.gid)),
        *(("group", group, idmap.host_gid(group)) for group in identity.asked),
    ):
        if host is None:
            raise RootlessError(
                f"cannot run as {kind} id {number}: it is not in the container's id map",
                hint="give the user more subordinate ids in /etc/subuid and /etc/subgid, or choose another --user",
                exit_code=_CANNOT_INVOKE,
            )
    mapped = [group for group in identity.groups if idmap.host_gid(group) is not None]
    if len(mapped) != len(identity.groups):
        site.notes.append("supplementary groups that the id map lacks are left out")
        identity.groups = mapped


def drop_ids(plan: Plan, identity: Identity, site: Site) -> None:
    """Bounding set, groups, gid, uid, capabilities. CAP_SYS_ADMIN stays where the filter still needs it."""
    sets = plan.capabilities
    caps.limit_bounding(sets.bounding)
    if not plan.user.keep_groups:
        try:
            os.setgroups(identity.groups)
        except PermissionError:
            # setgroups(2) is denied where the map was written without a helper (user_namespaces(7)).
            if any(group != identity.gid for group in identity.groups):
                site.notes.append("supplementary groups need subordinate ids and are left out")
    prctl(PR_SET_KEEPCAPS, 1)
    os.setresgid(identity.gid, identity.gid, identity.gid)
    os.setresuid(identity.uid, identity.uid, identity.uid)
    held = 1 << caps.CAP_SYS_ADMIN if (plan.seccomp or plan.keeper) and not plan.no_new_privileges else 0
    try:
        caps.capset(sets.effective | held, sets.permitted | held, sets.inheritable)
    except PermissionError:
        keep_own(sets, site)
        caps.capset(sets.effective | held, sets.permitted | held, sets.inheritable)
    caps.set_ambient(sets.ambient)


def keep_own(sets: Capabilities, site: Site) -> None:
    """Leave out what cannot be granted, as the caller itself lacks it (config.md, "Linux Process")."""
    own = caps.permitted()
    lost = sets.permitted & ~own
    sets.permitted &= own
    sets.effective &= own
    sets.inheritable &= own
    sets.ambient &= own
    numbers = " ".join(str(number) for number in range(lost.bit_length()) if lost >> number & 1)
    site.notes.append(f"capabilities that the caller lacks are left out, by number: {numbers}")


def lock(plan: Plan) -> None:
    """The last steps: no_new_privs, the filters, and the capability that loading them needed.

    Only capset(2) and execve(2) follow the filter, so that a profile need not allow what the start itself uses.
    """
    if plan.no_new_privileges:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
    if not plan.seccomp and not plan.keeper:
        return
    try:
        if plan.keeper:
            from rootless.init.keeper import install  # loaded before the fork

            install(plan.keeper, plan.capabilities.bounding)
        if plan.seccomp:
            seccomp.load(plan.seccomp)
    except OSError as error:
        raise RootlessError(f"cannot load the seccomp filter: {os.strerror(error.errno or errno.EINVAL)}") from error
    if not plan.no_new_privileges:
        sets = plan.capabilities
        caps.capset(sets.effective, sets.permitted, sets.inheritable)
