"""A part of the control group tree that belongs to the unprivileged test user, made by root.

The machine may have version 1, or both: so it is shown in a mount namespace of its own, where nothing but version 2 is
mounted. ``hugetlb`` is the controller that nobody else has there; whatever else is free comes with it. With ``systemd``
the user's manager runs in it, with a bus of its own, as it does after a login.

``python -m tests.support.delegation hold …`` and ``… enter …`` are the two processes of it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.as_user import provisioned_user
from tests.support.cli import CHECKOUT, Cli, entry_point
from tests.support.images import remove_tree

TREE = Path("/sys/fs/cgroup")
MANAGER = Path("/lib/systemd/systemd")
_FILES = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")


class Delegated(Cli):
    """The program as the test user calls it, from a process in the delegated tree. ``group``: the tree's path."""

    def __init__(self, home: Path, user: str, holder: subprocess.Popen[str], group: str) -> None:
        super().__init__(home)
        self.user = user
        self.group = group
        self._holder = holder

    def inside(self, *words: str, below: str = "init.scope") -> list[str]:
        """The command line that runs ``words`` as the user in the group ``below`` the delegated one."""
        view = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--"]
        arguments = [sys.executable, "-m", "tests.support.delegation", "enter", self.user, f"{self.group}/{below}"]
        return [*view, *arguments, *words]

    def command(self, *arguments: str) -> list[str]:
        return self.inside(*entry_point(), *arguments)

    def path(self, cgroup: str) -> Path:
        """Where this process sees a group of the delegated view."""
        return Path(f"/proc/{self._holder.pid}/root{cgroup}")

    def groups(self) -> set[str]:
        """The groups of containers that are there, by the part of their path after the delegated one."""
        top = self.path(str(TREE)) / self.group.lstrip("/")
        return {str(found.relative_to(top)) for found in top.rglob("*rootless-*") if found.is_dir()}


@contextmanager
def delegated(*, systemd: bool = False) -> Iterator[Delegated]:
    """A tree for the test user, and the program in it. Called by root in a mount namespace of its own."""
    user = provisioned_user()
    entry = pwd.getpwnam(user)
    home = Path(tempfile.mkdtemp(prefix="rl-", dir="/var/tmp"))
    group = f"/rootless-test-{os.getpid()}-{home.name}.slice/user@{entry.pw_uid}.service"
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "tests.support.delegation"]
    words = ["hold", user, group, str(home), "systemd" if systemd else "alone"]
    holder = subprocess.Popen(
        [*command, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        cli = Delegated(home, user, holder, group)
        subprocess.run(["chown", "-R", f"{user}:", str(home)], check=True)
        yield cli
    finally:
        holder.communicate(timeout=60)
        remove_tree(home)


def hold(user: str, group: str, home: str, kind: str) -> None:
    """Make the tree, wait until standard input ends, and take it away."""
    subprocess.run(["mount", "-t", "cgroup2", "none", str(TREE)], check=True)
    top = TREE / group.lstrip("/")
    for parent in (TREE, top.parent):
        parent.mkdir(exist_ok=True)
        try:
            (parent / "cgroup.subtree_control").write_text("+hugetlb")
        except OSError:
            continue
    for directory in (top, top / "init.scope"):
        directory.mkdir(parents=True)
        for name in ("", *_FILES):
            shutil.chown(directory / name, user, user)
    manager = start_manager(user, group, home) if kind == "systemd" else None
    print("ready", flush=True)
    sys.stdin.read()
    if manager:
        manager.kill()
        manager.wait()
    clear(top.parent)


def start_manager(user: str, group: str, home: str) -> subprocess.Popen[bytes]:
    """The user's systemd, as pam_systemd has it started; it makes the bus."""
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
    Path("/run/systemd/system").mkdir(parents=True)  # sd_booted(3)
    runtime = Path(home) / "run"
    runtime.mkdir(mode=0o700, exist_ok=True)
    for path in (Path(home), runtime):
        shutil.chown(path, user, user)
    words = ["enter", user, f"{group}/init.scope", str(MANAGER), "--user", "--log-target=null"]
    environment = {
        "HOME": home, "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "PYTHONPATH": str(CHECKOUT),
        "XDG_RUNTIME_DIR": str(runtime),
    }  # fmt: skip
    arguments = [sys.executable, "-m", "tests.support.delegation", *words]
    manager = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 30
    while not ((runtime / "bus").exists() and (runtime / "systemd/private").exists()):
        if time.monotonic() > until or manager.poll() is not None:
            raise SystemExit("the user's systemd does not start")
        time.sleep(0.05)
    return manager


def clear(top: Path) -> None:
    """Kill whatever is in the tree, and remove it."""
    until = time.monotonic() + 20
    while top.exists() and time.monotonic() < until:
        (top / "cgroup.kill").write_text("1")
        for directory, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(directory)
            except OSError:
                continue
        time.sleep(0.02)
    try:
        (TREE / "cgroup.subtree_control").write_text("-hugetlb")
    except OSError:
        return  # another tree uses it


def enter(user: str, group: str, *command: str) -> None:
    """Join the group and run a command as the user."""
    (TREE / group.lstrip("/") / "cgroup.procs").write_text("0")
    entry = pwd.getpwnam(user)
    os.initgroups(user, entry.pw_gid)
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    os.umask(0o022)
    os.execvp(command[0], command)


if __name__ == "__main__":
    {"hold": hold, "enter": enter}[sys.argv[1]](*sys.argv[2:])  # type: ignore[operator]
