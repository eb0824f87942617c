"""Capabilities by name (capabilities(7)), and which a container gets.

The five sets are those of ``process.capabilities`` in the OCI runtime specification: sorted lists of ``CAP_*`` names.
"""

from __future__ import annotations

from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypedDict

    class CapabilitySets(TypedDict):
        """``process.capabilities`` of a Spec."""

        bounding: list[str]
        effective: list[str]
        permitted: list[str]
        inheritable: list[str]
        ambient: list[str]


# In the order of their numbers, linux/capability.h.
NAMES = tuple(
    "CAP_" + name
    for name in (
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
        "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT "
        "SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL "
        "SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
    ).split()
)
DEFAULT = tuple(
    "CAP_" + name
    for name in (
        "CHOWN DAC_OVERRIDE FOWNER FSETID KILL NET_BIND_SERVICE SETFCAP SETGID SETPCAP SETUID SYS_CHROOT"
    ).split()
)
"""podman's eleven."""

HARDENED = tuple(name for name in DEFAULT if name != "CAP_SETPCAP")
"""The set of ``--hardened``: nothing in a container gives capabilities away."""


def parse(text: str) -> str:
    """``CAP_NET_RAW`` for ``net_raw``, ``NET_RAW``, ``cap_net_raw``…; ``ALL`` stays. Raises ``UsageError``."""
    name = text.upper()
    if name == "ALL":
        return name
    if not name.startswith("CAP_"):
        name = "CAP_" + name
    if name not in NAMES:
        raise UsageError(f"cannot use {text[:40]!r} as a capability: unknown", "capabilities(7) lists the names")
    return name


def mask(wanted: Iterable[str]) -> int:
    """The set of ``wanted`` names as a number with bit N for capability N. Raises ``ValueError``."""
    bits = 0
    for name in wanted:
        bits |= 1 << NAMES.index(name)
    return bits


def names(bits: int) -> list[str]:
    """The names of the capabilities in the set ``bits``; numbers without a name are left out."""
    return [name for number, name in enumerate(NAMES) if bits >> number & 1]


def compute(
    cap_add: Iterable[str],
    cap_drop: Iterable[str],
    privileged: bool = False,
    user_is_root: bool = True,
    hardened: bool = False,
) -> CapabilitySets:
    """The capability sets of a container.

    ``cap_add`` and ``cap_drop`` are the flags' words (see :func:`parse`), which count from podman's default set, from
    all capabilities when ``privileged``. A user other than root starts with none but those of ``cap_add``, which
    become ambient so that they survive ``execve``; its bounding set stays, for programs with the set-user-ID bit,
    except when ``hardened``. The inheritable set is otherwise empty (CVE-2022-24769). Raises ``UsageError``.
    """
    add = {parse(word) for word in cap_add}
    drop = {parse(word) for word in cap_drop}
    if "ALL" in add and "ALL" in drop:
        raise UsageError("cannot add all capabilities and drop all of them", "give ALL to one of the two flags")
    both = sorted(add & drop)
    if both:
        raise UsageError(f"cannot both add and drop the capability {both[0]}", "give it to one of the two flags")
    chosen = set(NAMES) if privileged or "ALL" in add else set(HARDENED if hardened else DEFAULT)
    if "ALL" in drop:
        chosen = set()
    explicit = (set(NAMES) if "ALL" in add else add) - drop
    chosen = (chosen | explicit) - drop
    bounding = sorted(chosen)
    if user_is_root:
        return {
            "bounding": bounding, "effective": bounding, "permitted": bounding, "inheritable": [], "ambient": [],
        }  # fmt: skip
    own = sorted(explicit)
    return {
        "bounding": own if hardened else bounding,
        "effective": own, "permitted": own, "inheritable": own, "ambient": own,
    }  # fmt: skip
