"""What this machine lets the tests do, found by trying it.

Each capability has a name, a line that says what it is for, and a probe that does the real thing (mounts the
overlay, opens the device, starts the helper) as the user who runs the tests. A version number is never taken for
an answer. Probes run once a process and only when they are asked for.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

TIMEOUT = 5.0  # seconds for one probe


class Finding(NamedTuple):
    """Whether the machine gives a capability, and the fact that says so."""

    present: bool
    detail: str


Probe = Callable[[], Finding]
_probes: dict[str, tuple[str, Probe]] = {}


def _capability(name: str, purpose: str) -> Callable[[Probe], Probe]:
    def register(probe: Probe) -> Probe:
        _probes[name] = (purpose, probe)
        return probe

    return register


def names() -> list[str]:
    """The names of all capabilities, in the order of the report."""
    return list(_probes)


def purpose(name: str) -> str:
    """One line that says what the capability is for."""
    return _probes[name][0]


@functools.cache
def find(name: str) -> Finding:
    """Try the capability ``name``; a probe that fails to run is an absent capability."""
    try:
        return _probes[name][1]()
    except (OSError, subprocess.SubprocessError) as error:
        return Finding(False, str(error))


def report() -> list[str]:
    """One line for each capability of the machine, for the head of a test run."""
    lines = []
    for name in names():
        finding = find(name)
        lines.append(f"  {'+' if finding.present else '-'} {name:<15} {finding.detail}")
    return lines


def _try(*command: str, data: str = "", detail: str = "") -> Finding:
    """Run a command; its exit code is the answer, and its last line of complaint the reason of a refusal."""
    done = subprocess.run(command, input=data, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    if done.returncode == 0:
        return Finding(True, detail or (done.stdout.strip() or "works").splitlines()[0])
    complaint = (done.stderr or done.stdout).strip().splitlines()
    return Finding(False, complaint[-1] if complaint else f"{command[0]} exits {done.returncode}")


def _program(name: str, *version: str) -> Finding:
    """A program that is installed and answers a harmless call."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        return Finding(False, f"{name} is not installed")
    return _try(path, *version)


def _device(path: str) -> Finding:
    """A device node that this user may open for reading and writing."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return Finding(False, f"{path}: {error.strerror}")
    return Finding(True, f"{path} opens")


def _in_userns(script: str, detail: str) -> Finding:
    """Run a shell script as root of a new user and mount namespace, in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="rootless-probe-") as directory:
        command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", f'cd "$0"\n{script}', directory]
        return _try(*command, detail=detail)


@_capability("userns", "a user namespace of one's own")
def _userns() -> Finding:
    return _try("unshare", "--user", "--map-root-user", "true", detail="unshare --user works")


def subid_range(database: str) -> tuple[int, int] | None:
    """The first range ``(start, length)`` that ``/etc/subuid`` or ``/etc/subgid`` gives this user."""
    keys = {str(os.getuid()), _user_name()}
    try:
        lines = Path(database).read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        fields = line.split(":")
        if len(fields) == 3 and fields[0] in keys:
            return int(fields[1]), int(fields[2])
    return None


def _user_name() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


@_capability("subuid", "a range of 65,536 subordinate user and group ids")
def _subuid() -> Finding:
    uids, gids = subid_range("/etc/subuid"), subid_range("/etc/subgid")
    if uids is None or gids is None:
        return Finding(False, f"/etc/subuid and /etc/subgid give {_user_name()} nothing")
    return Finding(min(uids[1], gids[1]) >= 65536, f"uids {uids[0]}+{uids[1]}, gids {gids[0]}+{gids[1]}")


@_capability("newuidmap", "the set-uid helper that maps the range")
def _newuidmap() -> Finding:
    uids, gids = subid_range("/etc/subuid"), subid_range("/etc/subgid")
    if uids is None or gids is None:
        return Finding(False, "no range to map")
    script = "echo; read go; test $(wc -l </proc/self/uid_map) = 2 && test $(wc -l </proc/self/gid_map) = 2"
    with subprocess.Popen(
        ["unshare", "--user", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin and child.stdout
        child.stdout.readline()
        for helper, own, given in (("newuidmap", os.getuid(), uids), ("newgidmap", os.getgid(), gids)):
            finding = _try(helper, str(child.pid), "0", str(own), "1", "1", str(given[0]), str(given[1]))
            if not finding.present:
                child.kill()
                return finding
        child.stdin.write("\n")
        child.stdin.close()
        return Finding(child.wait(TIMEOUT) == 0, "newuidmap and newgidmap map the range")


@_capability("overlay", "the kernel's overlay in a user namespace")
def _overlay() -> Finding:
    return _in_userns(
        "mkdir lower upper work merged; echo lower >lower/file\n"
        "mount -t overlay overlay -o userxattr,lowerdir=lower,upperdir=upper,workdir=work merged\n"
        "echo upper >merged/file; test $(cat upper/file) = upper; umount merged; rm -rf work",
        "mounts in a user namespace",
    )


@_capability("fuse", "file systems in user space")
def _fuse() -> Finding:
    return _device("/dev/fuse")


@_capability("fuse-overlayfs", "the overlay for kernels without their own")
def _fuse_overlayfs() -> Finding:
    if shutil.which("fuse-overlayfs") is None:
        return Finding(False, "fuse-overlayfs is not installed")
    return _in_userns(
        "mkdir lower upper work merged; echo lower >lower/file\n"
        "fuse-overlayfs -o lowerdir=lower,upperdir=upper,workdir=work merged\n"
        "echo upper >merged/file; test $(cat upper/file) = upper; umount merged; rm -rf work",
        "mounts in a user namespace",
    )


@_capability("tun", "a tap interface for pasta and slirp4netns")
def _tun() -> Finding:
    opened = _device("/dev/net/tun")
    if not opened.present:
        return opened
    attach = (
        "import fcntl, os, struct\n"
        "fcntl.ioctl(os.open('/dev/net/tun', os.O_RDWR), 0x400454CA, struct.pack('16sH22x', b'tap0', 0x1002))"
    )
    command = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-IS", "-c", attach]
    return _try(*command, detail="gives a tap in a network namespace")


@_capability("pasta", "the network of a plain run")
def _pasta() -> Finding:
    if shutil.which("pasta") is None:
        return Finding(False, "pasta is not installed (package passt)")
    if os.getuid() == 0:
        return Finding(False, "not tried as root: it would become nobody and never end")
    return _try("pasta", "--config-net", "true", detail="connects a network namespace")


@_capability("slirp4netns", "the network where pasta is missing")
def _slirp4netns() -> Finding:
    return _program("slirp4netns", "--version")


@_capability("libseccomp", "compiling seccomp profiles")
def _libseccomp() -> Finding:
    for name in ("libseccomp.so.2", "libseccomp.so"):
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        return Finding(bool(library.seccomp_syscall_resolve_name(b"openat2") == 437), f"{name} loads")
    return Finding(False, "libseccomp.so.2 is not installed (package libseccomp2)")


@_capability("seccomp", "system call filters")
def _seccomp() -> Finding:
    actions = Path("/proc/sys/kernel/seccomp/actions_avail")
    return Finding(actions.exists(), actions.read_text().strip() if actions.exists() else "not in this kernel")


@_capability("landlock", "file system rules for an unprivileged process")
def _landlock() -> Finding:
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(444, None, ctypes.c_size_t(0), 1)  # landlock_create_ruleset, LANDLOCK_CREATE_RULESET_VERSION
    return Finding(version > 0, f"ABI {version}" if version > 0 else os.strerror(ctypes.get_errno()))


@_capability("apparmor", "AppArmor enforcing")
def _apparmor() -> Finding:
    switch = Path("/sys/module/apparmor/parameters/enabled")
    present = switch.exists() and switch.read_text().strip() == "Y"
    return Finding(present, "on" if present else "not in this kernel, or off")


@_capability("selinux", "SELinux loaded")
def _selinux() -> Finding:
    switch = Path("/sys/fs/selinux/enforce")
    if not switch.exists():
        return Finding(False, "not in this kernel, or off")
    return Finding(True, "enforcing" if switch.read_text().strip() == "1" else "permissive")


@_capability("systemd", "a systemd session of the user")
def _systemd() -> Finding:
    if shutil.which("systemctl") is None:
        return Finding(False, "systemd is not installed")
    done = subprocess.run(
        ["systemctl", "--user", "is-system-running"], capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    state = done.stdout.strip() or "no user session"
    return Finding(state in {"running", "degraded", "starting"}, state)


@_capability("cgroup2", "the unified control group tree with controllers for the user")
def _cgroup2() -> Finding:
    controllers = Path("/sys/fs/cgroup/cgroup.controllers")
    if not controllers.exists():
        return Finding(False, "/sys/fs/cgroup is not the unified tree")
    own = Path("/proc/self/cgroup").read_text().rpartition("::")[2].strip()
    group = Path("/sys/fs/cgroup") / own.lstrip("/")
    delegated = (group / "cgroup.controllers").read_text().strip() if os.access(group, os.W_OK) else ""
    return Finding("memory" in delegated.split(), delegated or f"{group} is not delegated to this user")


@_capability("reflink", "copies that share blocks")
def _reflink() -> Finding:
    import fcntl

    with tempfile.TemporaryFile(dir=Path.home()) as source, tempfile.TemporaryFile(dir=Path.home()) as target:
        source.write(b"x" * 4096)
        source.flush()
        try:
            fcntl.ioctl(target.fileno(), 0x40049409, source.fileno())  # FICLONE
        except OSError as error:
            return Finding(False, f"{Path.home()}: {error.strerror}")
    return Finding(True, f"{Path.home()} can")


@_capability("loop", "a file system in a file, with reflinks")
def _loop() -> Finding:
    if os.getuid() != 0:
        return Finding(False, "only root mounts files")
    with tempfile.TemporaryDirectory() as directory:
        image = Path(directory, "image")
        with image.open("wb") as disk:
            disk.truncate(120 << 20)
        script = 'mkfs.btrfs -q "$1" && mkdir "$2" && mount -o loop "$1" "$2"'
        return _try(
            "unshare", "-m", "--propagation", "private", "sh", "-euc", script, "sh", str(image), f"{directory}/place",
            detail="Btrfs mounts",
        )  # fmt: skip


@_capability("ipv6", "IPv6 on loopback")
def _ipv6() -> Finding:
    import socket

    try:
        with socket.socket(socket.AF_INET6) as listener:
            listener.bind(("::1", 0))
    except OSError as error:
        return Finding(False, str(error))
    return Finding(True, "::1 binds")


@_capability("set-uid", "set-uid programs keep their power here")
def _setuid() -> Finding:
    status = Path("/proc/self/status").read_text()
    path = shutil.which("newuidmap") or "/usr/bin/newuidmap"
    try:
        privileged = bool(os.stat(path).st_mode & stat.S_ISUID) or "security.capability" in os.listxattr(path)
    except OSError as error:
        return Finding(False, str(error))
    if "NoNewPrivs:\t1" in status:
        return Finding(False, "no_new_privs is set on this process")
    return Finding(privileged, f"{path} is privileged" if privileged else f"{path} is a plain file")


@_capability("docker-registry", "a distribution registry on loopback")
def _docker_registry() -> Finding:
    return _program("docker-registry", "--version")


@_capability("skopeo", "a peer that pushes and reads image layouts")
def _skopeo() -> Finding:
    return _program("skopeo", "--version")


@_capability("ssh-agent", "builds whose commands use an ssh agent")
def _ssh_agent() -> Finding:
    return _try("ssh-agent", "sh", "-c", "ssh-add -l; test $? = 1", detail="works")


@_capability("gpg", "making and verifying OpenPGP signatures")
def _gpg() -> Finding:
    return _program("gpgv", "--version") if shutil.which("gpg") else _program("gpg", "--version")


@_capability("buildah", "the peer of builds")
def _buildah() -> Finding:
    return _program("buildah", "--version")


@_capability("podman", "the peer of the benchmark and of interchange")
def _podman() -> Finding:
    return _program("podman", "--version")


@_capability("conmon", "the monitor of podman and CRI-O, which calls an OCI runtime")
def _conmon() -> Finding:
    return _program("conmon", "--version")


@_capability("containerd", "containerd, its client ctr and its shim, which call an OCI runtime")
def _containerd() -> Finding:
    for name, option in (("containerd-shim-runc-v2", "-v"), ("ctr", "--version")):
        finding = _program(name, option)
        if not finding.present:
            return finding
    return _program("containerd", "--version")


@_capability("crun", "podman's runtime in the benchmark")
def _crun() -> Finding:
    return _program("crun", "--version")


@_capability("runc", "a peer of the OCI runtime in the benchmark")
def _runc() -> Finding:
    return _program("runc", "--version")


@_capability("busybox", "a static busybox for images made here")
def _busybox() -> Finding:
    from tests.support.images import busybox_path

    path = busybox_path()
    return Finding(path is not None, path or "no static busybox (package busybox-static)")


@_capability("debootstrap", "a Debian image made here, from a Debian mirror")
def _debootstrap() -> Finding:
    return _program("debootstrap", "--version")


@_capability("mandoc", "a linter for manual pages")
def _mandoc() -> Finding:
    path = shutil.which("mandoc")
    return Finding(path is not None, path or "mandoc is not installed")


@_capability("bindfs", "a file system that refuses what network file systems do")
def _bindfs() -> Finding:
    if shutil.which("bindfs") is None:
        return Finding(False, "bindfs is not installed")
    return _in_userns(
        "mkdir real shown; bindfs --no-allow-other --chown-deny real shown; touch shown/file; test -e real/file\n"
        "umount shown",
        "mounts in a user namespace",
    )


@_capability("strace", "system call traces of one's own processes")
def _strace() -> Finding:
    return _try("strace", "-o", "/dev/null", "true", detail="traces")


@_capability("gcc", "small C programs that attack or measure")
def _gcc() -> Finding:
    return _program("gcc", "--version")


@_capability("atheris", "coverage-guided fuzzing")
def _atheris() -> Finding:
    if importlib.util.find_spec("atheris") is None:
        return Finding(False, "the package atheris is not installed (it has none for every version of Python)")
    return Finding(True, "installed")
