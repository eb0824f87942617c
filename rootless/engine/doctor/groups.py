"""Control groups: who makes them and what they can hold."""

from __future__ import annotations

import os

from rootless.engine.doctor.check import LESS, OK, Check, as_root, user
from rootless.errors import RootlessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def checks() -> Iterator[Check]:
    """The session of systemd's, then the groups."""
    yield systemd()
    yield controllers()


def _linger() -> str:
    return as_root(f"loginctl enable-linger {user()}")


def session() -> tuple[str, str]:
    """The command that gives the user a session of systemd's, and what is to be done then; empty without systemd."""
    return (_linger(), "then log in anew") if os.path.isdir("/run/systemd/system") else ("", "")


def systemd() -> Check:
    """Whether it serves the user, and for how long."""
    from rootless.cgroups.systemd import address

    where = address()
    if not where:
        command, advice = session()
        told = "there is no session of the user's systemd"
        return Check("systemd", LESS, told, "no scope for a container", command=command, advice=advice)
    if os.geteuid() and not os.path.exists(f"/var/lib/systemd/linger/{user()}"):
        return Check("systemd", LESS, where, "containers end when you log out", command=_linger())
    return Check("systemd", OK, where)


def controllers() -> Check:
    """What a container's group can hold."""
    from rootless.cgroups import manager, tree

    name = "control groups"
    try:
        found = manager.choose(manager.Wish("doctor"))
    except (RootlessError, OSError) as error:
        told, advice = getattr(error, "message", "") or str(error), getattr(error, "hint", "")
        return Check(name, LESS, told, "nothing can be limited", advice=advice)
    if found.kind == "none":
        command, advice = session()
        if not tree.hierarchy()[1]:
            command, advice = "", "boot with systemd.unified_cgroup_hierarchy=1"
        return Check(name, LESS, f"none: {found.why}", "nothing can be limited", command=command, advice=advice)
    missing = [each for each in manager.USEFUL if each not in found.controllers]
    told = f"{found.kind}: {' '.join(sorted(found.controllers)) or 'no controller'}"
    if not missing:
        return Check(name, OK, told)
    told = f"{told}; without {' '.join(missing)}"
    command, advice = _delegate(missing)
    return Check(name, LESS, told, "what is missing cannot be limited", command=command, advice=advice)


def _delegate(missing: list[str]) -> tuple[str, str]:
    """The command that makes systemd give these controllers to users, and what is to be done then."""
    from rootless.cgroups.v2 import DROP_IN, delegation, delegation_hint

    names = delegation(*missing)
    if not names or not os.path.isdir("/run/systemd/system"):
        return "", delegation_hint(*missing)
    lines = f"[Service]\\nDelegate={' '.join(names)}\\n"
    script = f"mkdir -p {os.path.dirname(DROP_IN)} && printf '{lines}' >{DROP_IN} && systemctl daemon-reload"
    return as_root(f'sh -c "{script}"'), "then run systemctl --user daemon-reexec, or log in anew"
