"""Where other programs call the OCI runtime from: the user's own session, or a place of its own made by the test.

A place has processes, mounts, /run and /dev/shm of its own: when it is left the kernel kills everything in it, and what
a daemon left there is gone. Made by root it has a part of the control group tree besides, shown as if it were all.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.as_user import provisioned_user
from tests.support.images import remove_tree

OWN = "user"
"""The session in which the tests run."""
ROOT = "root"
DELEGATED = "delegated"
"""The test user, in a control group tree that root has given him."""
USERNS = "userns"
"""Root of a user namespace with the user's subordinate ids."""

AS_ROOT = [pytest.param(kind, marks=pytest.mark.as_root) for kind in (ROOT, DELEGATED)]

_HOLD = """
read -r pid _ </proc/self/stat
mount -t proc proc /proc
mount -t tmpfs -o mode=755 none /run
mount -t tmpfs none /dev/shm
if [ "$1" = groups ]; then
    mount -t tmpfs none /sys/fs/cgroup
    mount -t cgroup2 none /sys/fs/cgroup
    echo 0 >/sys/fs/cgroup/init/cgroup.procs
    for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
        echo "+$controller" 2>/dev/null >/sys/fs/cgroup/cgroup.subtree_control || true
    done
fi
echo "$pid"
read -r _ || exit 0
"""
# The tmpfs below: the kernel refuses a file system on top of itself.
_WITH_GROUPS = """
mount -t tmpfs none /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
group=/sys/fs/cgroup/$1
mkdir -p "$group/init"
for path in "$group" "$group/init"; do
    chown "$2" "$path" "$path/cgroup.procs" "$path/cgroup.subtree_control" "$path/cgroup.threads"
done
unshare --mount --pid --fork --kill-child sh -ec "$3" sh "$group" "$4" || true
echo 1 >"$group/cgroup.kill"
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
    sleep 0.1
done
"""
_ENTER = 'echo 0 >"$1/cgroup.procs"; exec unshare --cgroup sh -ec "$2" sh groups'
_JOIN = 'echo 0 >/sys/fs/cgroup/init/cgroup.procs; exec "$@"'


class Place:
    """Commands of one kind of caller. ``home`` is his, ``environment`` all that the commands get."""

    def __init__(self, kind: str, home: Path, user: str, prefix: Sequence[str]) -> None:
        self.kind = kind
        self.home = home
        self.user = user
        self._prefix = list(prefix)
        self.environment = {
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "PATH": os.environ.get("PATH", "/usr/bin:/bin:/usr/sbin:/sbin"),
            "TERM": "dumb",
            "XDG_CONFIG_HOME": str(home / ".config"),
            "XDG_DATA_HOME": str(home / "data"),
            "XDG_RUNTIME_DIR": str(home / "run"),
        }
        for name in (".config", "data", "run"):
            self.directory(name)

    def directory(self, name: str) -> Path:
        """A directory of the caller's below his home, closed to others."""
        path = self.home / name
        path.mkdir(mode=0o700, exist_ok=True)
        self.give(path)
        return path

    def give(self, path: Path) -> None:
        """Make it the caller's."""
        if os.getuid() == 0 and self.user != "root":
            shutil.chown(path, self.user, self.user)

    def write(self, name: str, text: str) -> Path:
        """A file below his home."""
        path = self.home / name
        path.write_text(text)
        self.give(path)
        return path

    def command(self, *words: str | Path) -> list[str]:
        """The command line that runs ``words`` there."""
        return [*self._prefix, *map(str, words)]

    def run(
        self, *words: str | Path, stdin: str = "", env: Mapping[str, str] | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; never raises for an exit code."""
        return subprocess.run(
            self.command(*words), input=stdin, capture_output=True, text=True, check=False, timeout=timeout,
            env={**self.environment, **(env or {})}, cwd=self.home,
        )  # fmt: skip

    def ok(self, *words: str | Path, stdin: str = "", timeout: float = 60) -> str:
        """Run what must succeed; its standard output."""
        done = self.run(*words, stdin=stdin, timeout=timeout)
        assert done.returncode == 0, f"{' '.join(map(str, words))} exits {done.returncode}: {done.stderr}{done.stdout}"
        return done.stdout


@contextmanager
def place(kind: str) -> Iterator[Place]:
    """A place of this kind. Those with control groups are made by root (`tests.support.as_root`)."""
    user = provisioned_user() if kind == DELEGATED else pwd.getpwuid(os.getuid()).pw_name
    home = Path(f"/var/tmp/rl-{secrets.token_hex(4)}")  # short for sockets, and fit to be part of an image's name
    home.mkdir(0o755)
    if kind == DELEGATED:
        shutil.chown(home, user, user)
    try:
        if kind == OWN:
            yield Place(kind, home, user, [])
            return
        with _holder(kind, user, home.name) as prefix:
            yield Place(kind, home, user, prefix)
    finally:
        remove_tree(home)


@contextmanager
def _holder(kind: str, user: str, name: str) -> Iterator[list[str]]:
    """Make the namespaces and keep them; what enters them."""
    if kind == USERNS:
        words = ["unshare", "--user", "--map-root-user", "--map-auto", "--mount", "--pid", "--fork", "--kill-child"]
        words += ["sh", "-ec", _HOLD, "sh", "alone"]
    else:
        words = ["unshare", "--mount", "--propagation", "private"]
        words += ["sh", "-ec", _WITH_GROUPS, "sh", f"rootless-callers-{name}", f"{user}:", _ENTER, _HOLD]
    holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout
        pid = holder.stdout.readline().strip()
        assert pid, "the place cannot be made"
        enter = ["nsenter", "--target", pid, "--mount", "--pid"]
        if kind == USERNS:
            yield [*enter, "--user", "--"]
            return
        drop = ["setpriv", "--reuid", user, "--regid", user, "--init-groups"] if kind == DELEGATED else []
        yield [*enter, "--cgroup", "--", "sh", "-ec", _JOIN, "sh", *drop]
    finally:
        holder.communicate(timeout=60)
