"""``doctor``: what containers get of this machine, and for what is missing the command that mends it.

Each check tries the real thing where it can. Nothing is changed but what every command makes: the store's directories.
"""

from __future__ import annotations

import os
import shlex

from rootless.errors import RootlessError
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from rootless.engine.context import Engine

OK, LESS, BROKEN = "OK", "less", "BROKEN"
"""It is there; containers run with less; no container runs."""

_OLDEST = (5, 12)  # mount_setattr(2) with which every mount is restricted
_IDS = 65536
_PACKAGES = {
    "newuidmap": "uidmap", "fuse-overlayfs": "fuse-overlayfs", "pasta": "passt", "slirp4netns": "slirp4netns",
}  # fmt: skip


class Check:
    """One line of the report. ``state`` is one of `OK`, `LESS` and `BROKEN`; ``mend`` a command, or what to do."""

    __slots__ = ("found", "mend", "name", "state")

    def __init__(self, name: str, state: str, found: str, mend: str = "") -> None:
        self.name = name
        self.state = state
        self.found = found
        self.mend = mend


def examine(global_values: Mapping[str, Any]) -> Iterator[Check]:
    """Every check, in the order in which a start needs what it looks at; each is made when it is asked for."""
    yield _kernel()
    yield _user_namespace()
    yield _ids()
    yield _runtime_directory()
    try:
        from rootless.engine.context import open_engine

        engine = open_engine(global_values)
    except (RootlessError, StorageError) as error:
        yield Check("store", BROKEN, error.message, error.hint)
    else:
        yield Check("store", OK, engine.store.layout.data)
        yield (driver := _driver(engine))
        yield _fuse(driver.found.startswith("overlay:"))
    yield from _network()
    yield from _cgroups()
    yield _seccomp()
    yield _apparmor()
    yield _selinux()
    yield _landlock()


def _command(line: str) -> str:
    return line if os.geteuid() == 0 else f"sudo {line}"


def _install(program: str) -> str:
    return _command(f"apt install {_PACKAGES[program]}") + f" (or your distribution's package of {program})"


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _kernel() -> Check:
    release = os.uname().release
    numbers = [part for part in release.replace("-", ".").split(".")[:2] if part.isdigit()]
    if tuple(map(int, numbers)) < _OLDEST:
        return Check("kernel", BROKEN, f"Linux {release}", "boot Linux 5.12 or later")
    return Check("kernel", OK, f"Linux {release}")


def _nothing() -> bytes:
    return b""


def _user_namespace() -> Check:
    from rootless import idmaps, userns

    if os.geteuid() == 0:
        return Check("user namespace", OK, "root needs none")
    try:
        userns.run_in_userns(_nothing, idmaps.single_map())
    except (RootlessError, OSError) as error:
        message = getattr(error, "message", "") or str(error)
        return Check("user namespace", BROKEN, message, _userns_hint(getattr(error, "hint", "")))
    return Check("user namespace", OK, "one can be made")


def _userns_hint(hint: str) -> str:
    if _read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        return _profile_command()
    if _read("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        return _command("sysctl kernel.unprivileged_userns_clone=1")
    if _read("/proc/sys/user/max_user_namespaces") == "0":
        return _command("sysctl user.max_user_namespaces=15000")
    return hint


def _read(path: str) -> str:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(256).decode("ascii", "replace").strip()
    except OSError:
        return ""


def _ids() -> Check:
    from rootless import idmaps, userns
    from rootless.paths import helper

    name = "subordinate ids"
    found = idmaps.default_map()
    count = min(sum(row[2] for row in found.uids), sum(row[2] for row in found.gids))
    if os.geteuid() == 0 and found.name:
        return Check(name, OK, "root without a range: containers see the machine's own ids")
    uids, gids = idmaps.subid_ranges(os.getuid())
    total = min(sum(length for _, length in uids), sum(length for _, length in gids))
    if total < _IDS:
        first = 100000 + (os.getuid() % 10000) * _IDS
        ranges = f"{first}-{first + _IDS - 1}"
        mend = _command(f"usermod --add-subuids {ranges} --add-subgids {ranges} {shlex.quote(_user())}")
        told = f"{total} in /etc/subuid and /etc/subgid" if total else "none in /etc/subuid and /etc/subgid"
        return Check(name, LESS, f"{told}: a container has {'few ids' if total else 'a single user'}", mend)
    if os.geteuid() and not (helper("newuidmap") and helper("newgidmap")):
        return Check(name, LESS, "newuidmap is not installed: a container has a single user", _install("newuidmap"))
    try:
        userns.run_in_userns(_nothing, found)
    except (RootlessError, OSError) as error:
        message = getattr(error, "message", "") or str(error)
        return Check(name, BROKEN, message, _command("chmod u+s /usr/bin/newuidmap /usr/bin/newgidmap"))
    if count <= 1:
        return Check(name, LESS, "newuidmap has no power here: a container has a single user")
    return Check(name, OK, f"{count} ids in a container")


def _runtime_directory() -> Check:
    from rootless import paths

    path = paths.runtime_home()
    if path or os.geteuid() == 0:
        return Check("runtime directory", OK, path or "/run")
    return Check("runtime directory", LESS, "the user has none of his own: a directory in /tmp is used", _session())


def _linger() -> str:
    return _command(f"loginctl enable-linger {shlex.quote(_user())}")


def _session() -> str:
    """How the user gets a session of systemd's; empty where that does not run."""
    return f"{_linger()}, then log in anew" if os.path.isdir("/run/systemd/system") else ""


def _driver(engine: Engine) -> Check:
    try:
        driver = engine.driver
    except (RootlessError, StorageError) as error:
        return Check("root file system", BROKEN, error.message, error.hint)
    told = f"{driver.name}: {driver.why}"
    if driver.name != "copy":
        return Check("root file system", OK, told)
    return Check("root file system", LESS, f"{told} (each container copies its image)", _install("fuse-overlayfs"))


def _fuse(has_overlay: bool) -> Check:
    """What stands in where the kernel has no overlay for users."""
    from rootless.paths import helper

    path = helper("fuse-overlayfs")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        told, mend = "/dev/fuse cannot be opened", _command("modprobe fuse") + "; " + _command("chmod 666 /dev/fuse")
    elif not path:
        told, mend = "fuse-overlayfs is not installed", _install("fuse-overlayfs")
    else:
        return Check("fuse", OK, f"{path}, /dev/fuse opens")
    if has_overlay:
        return Check("fuse", OK, f"{told}, and is not needed")
    return Check("fuse", LESS, told, mend)


def _network() -> Iterator[Check]:
    from rootless import network
    from rootless.paths import helper

    if os.access("/dev/net/tun", os.R_OK | os.W_OK):
        yield Check("tun", OK, "/dev/net/tun opens")
    else:
        mend = _command("modprobe tun") + "; " + _command("chmod 666 /dev/net/tun")
        yield Check("tun", LESS, "/dev/net/tun cannot be opened: use --network none or host", mend)
    found = [f"{name} is {path}" for name in ("pasta", "slirp4netns") if (path := helper(name))]
    if found:
        try:
            used = f"{network.choose().kind} is used"
        except RootlessError as error:
            used = error.message
        yield Check("network", OK, f"{', '.join(found)}; {used}")
    else:
        yield Check("network", LESS, "neither pasta nor slirp4netns is installed", _install("pasta"))


def _cgroups() -> Iterator[Check]:
    from rootless.cgroups import manager, systemd, tree
    from rootless.cgroups.v2 import delegation_hint

    address = systemd.address()
    linger = f"/var/lib/systemd/linger/{_user()}"
    if not address:
        yield Check("systemd", LESS, "there is no session of the user's systemd", _session())
    elif os.geteuid() and not os.path.exists(linger):
        yield Check("systemd", LESS, f"{address}; containers end when you log out", _linger())
    else:
        yield Check("systemd", OK, address)
    try:
        found = manager.choose(manager.Wish("doctor"))
    except (RootlessError, OSError) as error:
        yield Check("control groups", LESS, getattr(error, "message", "") or str(error), getattr(error, "hint", ""))
        return
    if found.kind == "none":
        mend = "boot with systemd.unified_cgroup_hierarchy=1" if not tree.hierarchy()[1] else ""
        yield Check("control groups", LESS, f"none: {found.why}; nothing can be limited", mend)
        return
    missing = [name for name in manager.USEFUL if name not in found.controllers]
    told = f"{found.kind}: {' '.join(sorted(found.controllers)) or 'no controller'}"
    if missing:
        yield Check("control groups", LESS, f"{told}; without {' '.join(missing)}", delegation_hint(*missing))
    else:
        yield Check("control groups", OK, told)


def _seccomp() -> Check:
    from rootless.security import capabilities, seccomp

    try:
        code = seccomp.program(None, capabilities.DEFAULT)
    except RootlessError as error:
        return Check("seccomp", BROKEN, error.message, error.hint)
    if not os.path.exists("/proc/sys/kernel/seccomp/actions_avail"):
        told = "the kernel has no filters of system calls"
        return Check("seccomp", BROKEN, told, "use --security-opt seccomp=unconfined")
    return Check("seccomp", OK, f"a filter of {len(code) // 8} instructions")


def _profile_command() -> str:
    """How root loads the profiles of ``contrib/apparmor``, for the launcher that runs now."""
    import sys

    launcher = os.path.realpath(sys.argv[0]) if sys.argv and sys.argv[0] else "PATH_OF_ROOTLESS"
    return _command(f"sh contrib/apparmor/install {shlex.quote(launcher)}") + " (in the sources)"


def _apparmor() -> Check:
    from rootless.security import apparmor

    if not apparmor.enabled():
        return Check("AppArmor", OK, "not on this machine")
    profile, why = apparmor.default()
    if profile:
        return Check("AppArmor", OK, f"containers have the profile {profile}")
    return Check("AppArmor", LESS, f"{why}: containers go without", _profile_command())


def _selinux() -> Check:
    from rootless.security import selinux

    if not selinux.enabled():
        return Check("SELinux", OK, "not on this machine")
    process, files = selinux.contexts()
    if process and selinux.valid(process) and selinux.valid(files):
        return Check("SELinux", OK, f"containers have the label {process} with categories of their own")
    mend = _command("dnf install container-selinux") + " (or your distribution's package)"
    return Check("SELinux", LESS, "the policy has no label for containers: they go without", mend)


def _landlock() -> Check:
    from rootless.linux import landlock

    if landlock.is_usable():
        return Check("Landlock", OK, f"version {landlock.version()}: helpers are confined to their directories")
    told = "not in this kernel: helpers are confined by filters of system calls alone"
    return Check("Landlock", LESS, told, "boot with lsm=landlock,… on Linux 5.19 or later")
