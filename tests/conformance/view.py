"""Run the conformance suite where a runtime can have cgroups: ``python -m tests.conformance.view WHO COMMAND …``.

WHO is ``root`` or ``user``. Root of a container or of CI mounts the unified control group tree over ``/sys/fs/cgroup``
in a mount namespace of the command's own, makes a group for the command there, with the controllers that can be had,
and gives it to the test user. Anybody else gets the command as it is: the tests use the group that the session gives
them. As ``root`` the command is run only for root, where the machine may be changed.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import time
from pathlib import Path

from tests.support import as_user
from tests.support.machine import may_change_machine

TREE = Path("/sys/fs/cgroup")
MOUNT = 'test -e /sys/fs/cgroup/cgroup.controllers || mount -t cgroup2 none /sys/fs/cgroup; exec "$@"'
DELEGATED = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")
NO_TESTS_COLLECTED = 5
INSIDE = "ROOTLESS_TEST_VIEW"
USER = "ROOTLESS_TEST_USER"


def make_group(owner: int) -> Path:
    """A group with all controllers there are, given to ``owner``, and the caller moved into a leaf of it."""
    group = TREE / f"rootless-conformance-{os.getpid()}"
    leaf = group / "tests"
    leaf.mkdir(parents=True)
    for name in (TREE / "cgroup.controllers").read_text().split():
        for directory in (TREE, group):
            try:
                (directory / "cgroup.subtree_control").write_text(f"+{name}")
            except OSError:
                break
    for directory in (group, leaf):
        for path in (directory, *(directory / name for name in DELEGATED)):
            os.chown(path, owner, owner)
    (leaf / "cgroup.procs").write_text(str(os.getpid()))
    return group


def remove_group(group: Path) -> None:
    """Move the caller out, kill what is left and remove the group."""
    (TREE / "cgroup.procs").write_text(str(os.getpid()))
    (group / "cgroup.kill").write_text("1")
    for directory, _, _ in os.walk(group, topdown=False):
        for _ in range(100):
            try:
                os.rmdir(directory)
                break
            except OSError:
                time.sleep(0.02)


def as_somebody(name: str) -> dict[str, str] | None:
    """The environment of the user ``name`` after becoming him; root stays what he is."""
    return None if name == "root" else as_user.become(name)


def inside(name: str, command: list[str]) -> int:
    """Run ``command`` as the user ``name`` in a group of its own; its exit code."""
    group = make_group(pwd.getpwnam(name).pw_uid)
    try:
        child = os.fork()
        if child == 0:
            try:
                environment = as_somebody(name) or dict(os.environ)
                os.execvpe(command[0], command, environment)
            except BaseException as error:
                os.write(2, f"cannot run {command[0]}: {error}\n".encode())
            os._exit(127)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        remove_group(group)


def main(who: str, command: list[str]) -> int:
    """Run ``command``; its exit code, 0 where there was nothing to run."""
    if INSIDE in os.environ:
        return inside(os.environ.pop(INSIDE), command)
    if os.getuid() != 0:
        if who == "root":
            print("not root of a container or of CI: the tests of root are left out")
            return 0
        return subprocess.run(command, check=False).returncode
    if not may_change_machine():
        raise SystemExit("root tests this only in a container or with CI=true: run it as an ordinary user")
    name = "root" if who == "root" else os.environ.get(USER) or as_user.provisioned_user()
    if name != "root" and sys.prefix != sys.base_prefix:
        Path(sys.prefix).parent.chmod(0o755)  # tox closes the directory of its environments to other users
    again = ["unshare", "--mount", "--propagation", "private", "sh", "-c", MOUNT, "sh"]
    again += [sys.executable, "-m", "tests.conformance.view", who, *command]
    code = subprocess.run(again, env={**os.environ, INSIDE: name}, check=False).returncode
    return 0 if code == NO_TESTS_COLLECTED else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
