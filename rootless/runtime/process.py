"""From the Spec's ``process`` to what the child is to make of itself: shared by a start and by what joins later."""

from __future__ import annotations

from rootless.errors import RootlessError
from rootless.init.plan import Capabilities, Limit, User

TYPE_CHECKING = False
if TYPE_CHECKING:
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
    return User(
        text=extras.get("user"),
        uid=numbers.get("uid", 0),
        gid=numbers.get("gid", 0),
        groups=numbers.get("additionalGids") or [],
        extra_groups=list(extras.get("groups", [])),
        keep_groups=extras.get("keep_groups", False),
        umask=numbers.get("umask"),
    )


def capabilities(process: Process) -> Capabilities:
    """The five sets. Inheritable is what ambient needs and no more (CVE-2022-27650 and its kin)."""
    from rootless.security.capabilities import NAMES, mask

    sets = process.get("capabilities") or {}
    for name in {name for names in sets.values() for name in names}:  # type: ignore[attr-defined]
        if name not in NAMES:
            raise RootlessError(f"cannot give the capability {name!r}: there is none of that name")
    bounding, permitted = mask(sets.get("bounding", [])), mask(sets.get("permitted", []))
    ambient = mask(sets.get("ambient", [])) & permitted
    return Capabilities(bounding, mask(sets.get("effective", [])) & permitted, permitted, ambient, ambient)


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
        found.append(Limit(name, _RLIMITS.index(name), limit["soft"], limit["hard"], limit.get("explicit", False)))
    return found


def personality(linux: Linux) -> int | None:
    """The execution domain for personality(2), ``None`` for no change."""
    if "personality" not in linux:
        return None
    domain = linux["personality"].get("domain", "LINUX")
    if domain not in _PERSONALITIES:
        raise RootlessError(f"cannot use the personality {domain!r}")
    return _PERSONALITIES[domain]
