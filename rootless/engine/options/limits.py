"""``--ulimit`` and ``--sysctl``."""

from __future__ import annotations

from rootless.engine.options.values import is_digits
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypedDict

    class Rlimit(TypedDict):
        """``process.rlimits`` of the OCI runtime specification."""

        type: str
        soft: int
        hard: int


UNLIMITED = (1 << 64) - 1
RLIMITS = frozenset(
    ("as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio")
    + ("rttime", "sigpending", "stack")
)

# sysctl(2) names that belong to a namespace of the container; everything else would reach the host.
_IPC_SYSCTLS = frozenset(
    ("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni")
    + ("kernel.shm_rmid_forced",)
)
_SYSCTL_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-:")


def parse_ulimits(entries: Iterable[str]) -> tuple[bool, list[Rlimit]]:
    """(``host`` was asked for, limits) from ``name=soft[:hard]``; -1 and ``unlimited`` mean no limit."""
    inherit = False
    limits: dict[str, Rlimit] = {}
    for entry in entries:
        if entry == "host":
            inherit = True
            continue
        name, equals, values = entry.partition("=")
        name = name.lower().removeprefix("rlimit_")
        soft_text, colon, hard_text = values.partition(":")
        if not equals or name not in RLIMITS:
            raise UsageError(f"cannot use {entry[:80]!r} for --ulimit", "write it like nofile=1024:4096 or host")
        soft = _limit(soft_text, entry)
        hard = _limit(hard_text, entry) if colon else soft
        if soft > hard:
            raise UsageError(f"cannot use {entry[:80]!r} for --ulimit: the soft limit is above the hard limit")
        limits[name] = {"type": "RLIMIT_" + name.upper(), "soft": soft, "hard": hard}
    return inherit, list(limits.values())


def _limit(text: str, entry: str) -> int:
    if text in ("-1", "unlimited"):
        return UNLIMITED
    if not is_digits(text) or len(text) > 20 or int(text) > UNLIMITED:
        raise UsageError(f"cannot use {entry[:80]!r} for --ulimit: {text[:40]!r} is not a limit")
    return int(text)


def parse_sysctls(entries: Iterable[str], private: Iterable[str]) -> dict[str, str]:
    """``key=value`` for keys that belong to one of the ``private`` namespaces (``ipc``, ``network``, ``uts``).

    Raises UsageError for a key of the host, for one whose namespace is shared with the host, and for characters that
    would make one entry into two.
    """
    namespaces = frozenset(private)
    sysctls: dict[str, str] = {}
    for entry in entries:
        key, equals, value = entry.partition("=")
        key = key.strip().replace("/", ".")
        if not equals or not key or not _SYSCTL_CHARACTERS.issuperset(key) or ".." in key or not value.isprintable():
            raise UsageError(f"cannot use {entry[:80]!r} for --sysctl: it must be key=value")
        needed = _sysctl_namespace(key)
        if not needed:
            raise UsageError(f"cannot set sysctl {key[:80]!r}: it belongs to the host, not to a container")
        if needed not in namespaces:
            raise UsageError(f"cannot set sysctl {key[:64]!r}: its {needed} namespace is the host's")
        sysctls[key] = value
    return sysctls


def _sysctl_namespace(key: str) -> str:
    if key in _IPC_SYSCTLS or key.startswith("fs.mqueue."):
        return "ipc"
    if key.startswith("net."):
        return "network"
    return "uts" if key == "kernel.domainname" else ""
