"""From the Spec's ``process`` to what the child is to make of itself: shared by a start and by what joins later."""

from __future__ import annotations

import os
import sys

from rootless.errors import RootlessError
from rootless.init.plan import Capabilities, Limit, Listener, User
from rootless.linux.seccomp import FLAG_NEW_LISTENER, Filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.idmaps import IdMap
    from rootless.init.process import Attributes
    from rootless.runtime.spec import Extras, Linux, Process

_RLIMITS = (
    "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME".split()
)
_PERSONALITIES = {"LINUX": 0x0000, "LINUX32": 0x0008}


def environment(process: Process) -> dict[str, str]:
    """The variables; an entry without ``=`` is none (CVE-2026-57231), a later one wins."""
    found = {}
    for entry in process.get("env", []):
        key, separator, value = entry.partition("=")
        if key and separator:
            found[key] = value
    return found


def user(process: Process, extras: Extras) -> User:
    """Who the process is to be: the text of ``extras`` if there is one, else the numbers of the Spec."""
    numbers = process.get("user", {})
    account = extras.get("account")
    return User(
        text=extras.get("user"),
        uid=numbers.get("uid", 0),
        gid=numbers.get("gid", 0),
        groups=numbers.get("additionalGids") or [],
        extra_groups=list(extras.get("groups", [])),
        keep_groups=extras.get("keep_groups", False),
        umask=numbers.get("umask"),
        account=(account[0], account[1], account[2]) if account else None,
    )


def capabilities(process: Process, warnings: list[str] | None = None) -> Capabilities:
    """The five sets. Names that there are not are left out, with a warning (config.md, "Linux Process")."""
    from rootless.security.capabilities import NAMES, mask

    sets: dict[str, list[str]] = process.get("capabilities") or {}  # type: ignore[assignment]
    known = {}
    for kind, names in sets.items():
        known[kind] = mask(name for name in names or [] if name in NAMES)
        unknown = [name for name in names or [] if name not in NAMES]
        if unknown and warnings is not None:
            warnings.append(f"unknown capabilities in {kind} are left out: {', '.join(unknown)[:200]}")
    bounding, permitted = known.get("bounding", 0), known.get("permitted", 0)
    # A program can only keep what it may inherit, and may inherit only what is not out of bounds (capabilities(7)).
    ambient = known.get("ambient", 0) & permitted & bounding
    inheritable = known.get("inheritable", 0) & bounding | ambient
    if warnings is not None and ambient != known.get("ambient", 0):
        warnings.append("ambient capabilities that are not permitted or not in the bounding set are left out")
    effective = known.get("effective", 0) & permitted
    return Capabilities(bounding, effective, permitted, inheritable, ambient)


def call_filter(linux: Linux, process: Process, extras: Extras) -> bytes | None:
    """The compiled system call filter: that of ``extras`` if it is given there, else ``linux.seccomp``."""
    if "seccomp" in extras:
        return extras["seccomp"]
    profile = linux.get("seccomp")
    if not profile:
        return None
    from rootless.security.seccomp import program

    return program(profile, (process.get("capabilities") or {}).get("bounding", []))


def labels(process: Process) -> tuple[str, str]:
    """The AppArmor profile and the SELinux label that the program is to run with, empty for the caller's own.

    They are applied by `linux.lsm.label_next_program`. Raises ``RootlessError`` for one that cannot be had here.
    """
    profile, label = process.get("apparmorProfile"), process.get("selinuxLabel")
    if profile:
        from rootless.security import apparmor

        profile = apparmor.require(profile)
    if label:
        from rootless.security import selinux

        label = selinux.require(label)
    return profile or "", label or ""


def limits(process: Process) -> list[Limit]:
    """The resource limits. Raises ``RootlessError`` for those that make no sense."""
    found = []
    for limit in process.get("rlimits") or []:
        name = limit["type"].upper().removeprefix("RLIMIT_")
        if name not in _RLIMITS:
            raise RootlessError(f"cannot set the limit {limit['type']}: there is none of that name")
        if limit["soft"] > limit["hard"]:
            raise RootlessError(f"cannot set the limit {name}: soft {limit['soft']} is above hard {limit['hard']}")
        found.append(Limit(name, _RLIMITS.index(name), limit["soft"], limit["hard"], limit.get("explicit", True)))
    return found


def personality(linux: Linux) -> int | None:
    """The execution domain for personality(2), ``None`` for no change."""
    chosen = linux.get("personality")
    if not chosen:
        return None
    domain = chosen.get("domain", "LINUX")
    if domain not in _PERSONALITIES:
        raise RootlessError(f"cannot use the personality {domain!r}", f"it is one of {', '.join(_PERSONALITIES)}")
    if chosen.get("flags"):
        raise RootlessError("cannot use flags of linux.personality: the specification knows none yet")
    return _PERSONALITIES[domain]


def attributes(process: Process) -> Attributes | None:
    """Scheduling, I/O priority and processors, ``None`` where the Spec says nothing of them."""
    if all(process.get(key) is None for key in ("scheduler", "ioPriority", "execCPUAffinity")):
        return None
    from rootless.runtime.attributes import of_process

    return of_process(process)


def memory_policy(linux: Linux) -> tuple[int, bytes] | None:
    """Mode and nodes for set_mempolicy(2), ``None`` for no change."""
    if not linux.get("memoryPolicy"):
        return None
    from rootless.runtime.attributes import memory_policy as read

    return read(linux)


def listener(linux: Linux, call_filter: bytes | None) -> Listener | None:
    """Whom the filter asks about system calls, ``None`` if it asks nobody."""
    if not isinstance(call_filter, Filter) or not call_filter.flags & FLAG_NEW_LISTENER:
        return None
    found = listener_of(linux)
    if not found:
        raise RootlessError("cannot ask another program about system calls: config.json names no listenerPath")
    return found


def listener_of(linux: Linux) -> Listener | None:
    """The program that ``linux.seccomp`` names for questions about system calls, if any."""
    profile = linux.get("seccomp") or {}
    path = profile.get("listenerPath")
    return Listener(path, profile.get("listenerMetadata") or "") if path else None


def needs_airlock(idmap: IdMap, selinux: str, notes: list[str]) -> bool:
    """Whether root of a container with this map may change the file of this interpreter; loads `rootless.init.airlock`.

    With a label of SELinux it may not, whoever owns the file; and what a container's domain is entered by must have a
    label that memory has not. ``notes`` gets the machine for which there is no airlock.
    """
    if selinux or not idmap.may_change(os.stat("/proc/self/exe")):
        return False
    from rootless.init import airlock

    if not airlock.known():
        notes.append(f"the container can reach the file of the interpreter {sys.executable}, which it may change")
        return False
    return True
