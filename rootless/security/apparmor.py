"""AppArmor: whether the machine has it, which profiles are loaded, and which one a container gets (apparmor(7)).

A profile is loaded by root (``contrib/apparmor/install``) and entered by anybody: the process that becomes the program
asks for it right before execve(2), see `rootless.linux.lsm`.
"""

from __future__ import annotations

import os

from rootless.errors import RootlessError, UsageError
from rootless.linux import lsm

DEFAULT = "rootless-container"
"""The profile of contrib/apparmor/rootless-container.in."""

UNCONFINED = "unconfined"
_SWITCH = "/sys/module/apparmor/parameters/enabled"
_PROFILES = "/sys/kernel/security/apparmor/policy/profiles"
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


def enabled() -> bool:
    """Whether AppArmor is in the kernel and switched on."""
    try:
        fd = os.open(_SWITCH, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.read(fd, 1) == b"Y"
    finally:
        os.close(fd)


def loaded(name: str) -> bool:
    """Whether this process may enter the profile ``name``.

    The list of profiles is root's to read, but not the directory with an entry ``NAME.NUMBER`` for each. Where that
    cannot be seen, and to learn whether the caller's own confinement lets it go there, the kernel is asked: the word
    ``permprofile`` changes nothing (aa_change_profile in the kernel's security/apparmor/domain.c). A profile that is
    missing would leave a line in the log each time it is asked for, so the directory comes first.
    """
    if _PLAIN.issuperset(name):
        try:
            if not any(entry.rpartition(".")[0] == name for entry in os.listdir(_PROFILES)):
                return False
        except OSError:
            pass
    proc = lsm.open_proc()
    try:
        lsm.write_attribute(proc, "apparmor/current", f"permprofile {name}")
    except OSError:
        return False
    finally:
        os.close(proc)
    return True


def check_name(name: str) -> None:
    """Refuse what cannot be the name of a profile, which becomes part of a command to the kernel: ``UsageError``."""
    if not name or len(name) > 255 or not name.isprintable() or name != name.strip():
        raise UsageError(f"cannot use {name[:80]!r} as the name of an AppArmor profile")


def require(name: str) -> str:
    """The profile to enter for ``name``, which was asked for: "" for ``unconfined``.

    Raises ``RootlessError`` where it cannot be entered: a confinement that is silently left out is worse than none
    that was asked for (CVE-2025-64750).
    """
    if name in ("", UNCONFINED):
        return ""
    check_name(name)
    if not enabled():
        hint = f"leave the profile out, or say {UNCONFINED}"
        raise RootlessError(f"cannot apply the AppArmor profile {name}: this machine has no AppArmor", hint)
    if not loaded(name):
        hint = "root loads a profile with: apparmor_parser --replace FILE"
        raise RootlessError(f"cannot apply the AppArmor profile {name}: it is not loaded", hint)
    return name


def default() -> tuple[str, str]:
    """(profile, why) of a container for which nothing was asked: "" where there is none to enter."""
    if not enabled():
        return "", "this machine has no AppArmor"
    if not loaded(DEFAULT):
        return "", f"the profile {DEFAULT} is not loaded"
    return DEFAULT, "the default"
