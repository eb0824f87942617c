"""Control groups as a way out: the host's tree is not writable, whichever version it has, and no agent can be set."""

from __future__ import annotations

import errno
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_run_flags import IMAGE
from tests.support import bundles, programs
from tests.support.cli import CHECKOUT, Cli, entry_point
from tests.support.of_user import OfUser, of_user

pytestmark = pytest.mark.needs("busybox")
VIEWS = {
    "hybrid": "mount -t tmpfs none /sys/fs/cgroup; for kind in memory pids; do mkdir /sys/fs/cgroup/$kind; "
    "mount -t cgroup -o $kind none /sys/fs/cgroup/$kind || rmdir /sys/fs/cgroup/$kind; done; "
    "mkdir /sys/fs/cgroup/unified; mount -t cgroup2 none /sys/fs/cgroup/unified",
    "v1": "mount -t tmpfs none /sys/fs/cgroup; for kind in memory pids; do mkdir /sys/fs/cgroup/$kind; "
    "mount -t cgroup -o $kind none /sys/fs/cgroup/$kind || rmdir /sys/fs/cgroup/$kind; done",
    "v2": "mount -t cgroup2 none /sys/fs/cgroup",
}
# Everything that could be written or made: what could is printed. A file is opened, not changed.
SCRIPT = """
mount -o remount,rw,bind /sys/fs/cgroup 2>/dev/null && echo remounted
find /sys/fs/cgroup -maxdepth 3 -type d | while read d; do mkdir $d/x 2>/dev/null && echo $d && rmdir $d/x; done
find /sys/fs/cgroup -maxdepth 3 -type f | head -n 300 | while read f; do ( : >>$f ) 2>/dev/null && echo $f; done
echo done
"""


def view(kind: str) -> list[str]:
    """The words before a command that see a host with such a tree."""
    script = f"set -e\n{VIEWS[kind]}\nexec \"$@\""
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]


@pytest.fixture(scope="module")
def user() -> Iterator[OfUser]:
    """The program of the unprivileged user."""
    with of_user() as cli:
        yield cli


@pytest.mark.as_root
@pytest.mark.parametrize("kind", VIEWS)
@pytest.mark.parametrize("mode", ["private", "host"])
def test_tree_of_the_host_for_a_user_row_53(user: OfUser, kind: str, mode: str) -> None:
    """CVE-2023-25809: with a control group namespace and without, in each version's tree."""
    user.before = view(kind)
    for flags in ((), ("-u", "1000"), ("--security-opt", "seccomp=unconfined")):
        run = ("run", "--rm", "--network=none", f"--cgroupns={mode}", *flags, IMAGE, "sh", "-c", SCRIPT)
        assert user.ok(*run) == "done\n"


@pytest.mark.as_root
@pytest.mark.parametrize("kind", VIEWS)
@pytest.mark.parametrize("namespace", [True, False])
def test_tree_of_the_host_for_root_row_53(tmp_path: Path, kind: str, namespace: bool) -> None:
    """For root no permission is in the way: the tree is there to be read only."""
    bundles.make_root(tmp_path / "rootfs")
    given = bundles.spec("sh", "-c", SCRIPT)
    given["linux"]["namespaces"] = [
        one for one in given["linux"]["namespaces"] if one["type"] != "user" and (namespace or one["type"] != "cgroup")
    ]
    (tmp_path / "config.json").write_text(json.dumps(given))
    command = [*entry_point("rootless-oci"), "--root", str(tmp_path / "state"), "run", "-b", str(tmp_path), "tree"]
    done = subprocess.run([*view(kind), *command], capture_output=True, text=True, check=False, cwd=CHECKOUT)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stdout + done.stderr


@pytest.mark.needs("userns", "gcc")
@pytest.mark.parametrize("flags", ["", "-u 1000", "--hardened", "--cap-add sys_admin", "--cap-add mknod", "--nested",
                                   "--privileged", "--privileged --cgroupns=host"])  # fmt: skip
def test_agents_and_devices_row_54(shared_cli: Cli, tmp_path: Path, flags: str) -> None:
    """CVE-2022-0492: no hierarchy of version 1 lends its agent, no device file is made or opened."""
    programs.build("doors", tmp_path)
    tmp_path.chmod(0o755)
    run = ("run", "--rm", "--network=none", "-v", f"{tmp_path}:/tools:ro", "--tmpfs=/tmp:mode=777", *flags.split())
    found = programs.answers(shared_cli.ok(*run, IMAGE, "/tools/doors", "control-groups"))
    agents = [found.pop(name) for name in list(found) if name.startswith("agent")]
    assert set(agents) <= {errno.EPERM, errno.EACCES}
    made = {found.pop(name) for name in ("mknod", "mknod-disk")}
    opened = {found.pop(name) for name in ("open", "open-disk")}
    assert made == {errno.EPERM} and opened == {errno.ENOENT}
    if flags in ("", "-u 1000", "--hardened", "--cap-add mknod"):
        assert set(found.values()) == {errno.EPERM}, found
