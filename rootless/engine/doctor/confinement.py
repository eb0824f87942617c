"""System call filters, security modules, and what the program does to itself."""

from __future__ import annotations

import os

from rootless.engine.doctor.check import BROKEN, LESS, OK, Check, as_root, profiles
from rootless.errors import RootlessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def checks() -> Iterator[Check]:
    """The filter, then the modules."""
    yield seccomp()
    yield apparmor()
    yield selinux()
    yield landlock()


def seccomp() -> Check:
    """The filter of system calls."""
    from rootless.security import capabilities, seccomp

    unconfined = "use --security-opt seccomp=unconfined"
    try:
        code = seccomp.program(None, capabilities.DEFAULT)
    except RootlessError as error:
        return Check("seccomp", BROKEN, error.message, "no container runs", advice=error.hint or unconfined)
    if not os.path.exists("/proc/sys/kernel/seccomp/actions_avail"):
        told = "the kernel has no filters of system calls"
        return Check("seccomp", BROKEN, told, "no container runs", advice=unconfined)
    return Check("seccomp", OK, f"a filter of {len(code) // 8} instructions")


def apparmor() -> Check:
    """The profile for containers."""
    from rootless.security import apparmor

    if not apparmor.enabled():
        return Check("AppArmor", OK, "not on this machine")
    profile, why = apparmor.default()
    if profile:
        return Check("AppArmor", OK, f"containers have the profile {profile}")
    return Check("AppArmor", LESS, why, "containers go without", command=profiles(), advice="in the sources")


def selinux() -> Check:
    """The label for containers."""
    from rootless.security import selinux

    if not selinux.enabled():
        return Check("SELinux", OK, "not on this machine")
    process, files = selinux.contexts()
    if process and selinux.valid(process) and selinux.valid(files):
        return Check("SELinux", OK, f"containers have the label {process} with categories of their own")
    command, advice = as_root("dnf install container-selinux"), "or your distribution's package"
    told = "the policy has no label for containers"
    return Check("SELinux", LESS, told, "containers go without", command=command, advice=advice)


def landlock() -> Check:
    """How helpers confine themselves."""
    from rootless.linux import landlock

    if landlock.is_usable():
        return Check("Landlock", OK, f"version {landlock.version()}: helpers are confined to their directories")
    cost = "helpers are confined by filters of system calls alone"
    return Check(
        "Landlock", LESS, "not in this kernel", cost, advice="boot with lsm=landlock,… on Linux 5.19 or later"
    )  # fmt: skip
