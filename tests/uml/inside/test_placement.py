"""Where in systemd's tree a container is: --cgroups and --cgroup-parent."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.uml.inside.session import IMAGE, Session, cgroup, systemctl, until

DETACHED = ("run", "--detach", "--network", "none")
IN_A_SCOPE = ("systemd-run", "--user", "--scope", "--quiet", "--property=Delegate=yes")


def monitor(session: Session, container: str) -> str:
    """The control group of who looks after the container, as /proc tells it."""
    pid = session.ok("inspect", "--format", "{{.State.ConmonPid}}", container).strip()
    return Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::")


@pytest.fixture
def batch() -> Iterator[str]:
    """The name of a slice that may take 60 MiB as a whole."""
    systemctl("set-property", "--runtime", "batch.slice", "MemoryMax=60M", "MemorySwapMax=0")
    yield "batch.slice"
    systemctl("stop", "batch.slice")
    systemctl("revert", "batch.slice")


def test_slice_of_ones_choice(rootless: Session, batch: str) -> None:
    """A slice's limit holds for all the containers in it, and its victims are told of."""
    identity = rootless.ok(*DETACHED, "--name", "in", "--cgroup-parent", "batch-night.slice", IMAGE, "sleep", "1000")
    group = cgroup(rootless, "in")
    assert group.parts[-4:] == (batch, "batch-night.slice", f"rootless-{identity.strip()}.scope", "container")
    assert "batch-night.slice" in monitor(rootless, "in")
    rootless.fails(137, "run", "--network=none", "--name=hog", "--cgroup-parent", batch, IMAGE, "tail", "/dev/zero")
    assert json.loads(rootless.ok("inspect", "hog"))[0]["State"]["OOMKilled"] is True
    rootless.ok("exec", "in", "true")


def test_monitor_stays_with_its_caller(rootless: Session) -> None:
    """``no-conmon``: the payload alone is in the scope."""
    rootless.ok(*DETACHED, "--name", "apart", "--cgroups", "no-conmon", "-m", "30m", IMAGE, "sleep", "1000")
    assert cgroup(rootless, "apart").parent.name.startswith("rootless-")
    assert monitor(rootless, "apart") == Path("/proc/self/cgroup").read_text().strip().removeprefix("0::")
    assert (cgroup(rootless, "apart") / "memory.max").read_text() == f"{30 << 20}\n"
    rootless.ok("stop", "--time", "0", "apart")


def test_enabled_is_the_default(rootless: Session) -> None:
    """By whatever name: a scope with the payload and, apart from it, the monitor."""
    for number, flags in enumerate(((), ("--cgroups", "enabled"))):
        rootless.ok(*DETACHED, "--name", f"c{number}", *flags, IMAGE, "sleep", "1000")
        scope = cgroup(rootless, f"c{number}").parent
        assert scope.name.startswith("rootless-") and f"user@{os.getuid()}.service" in scope.parts
        assert monitor(rootless, f"c{number}").endswith(f"/{scope.name}/supervisor")


def test_split_shares_the_callers_scope(rootless: Session) -> None:
    """Limits hold in a part of the caller's own group, which another made."""
    command = rootless.command(*DETACHED, "--name", "part", "--cgroups", "split", "-m", "30m", IMAGE, "sleep", "1000")
    subprocess.run([*IN_A_SCOPE, "--unit=mine.scope", *command], check=True, stdout=subprocess.DEVNULL)
    group = cgroup(rootless, "part")
    assert group.parent.name == "mine.scope" and group.name.startswith("container-")
    assert monitor(rootless, "part").endswith("/mine.scope/supervisor")
    assert rootless.run("exec", "part", "tail", "/dev/zero").returncode == 137
    rootless.ok("stop", "--time", "0", "part")
    until(lambda: not group.parent.exists(), "the scope has gone")


def test_a_delegated_group_without_systemd(rootless: Session) -> None:
    """A part of the tree that is the user's is used directly, limits and all, as in a job of a batch system."""
    script = (
        "cd /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup) && mkdir job && echo $$ >job/cgroup.procs"
        " && echo '+memory +pids' >cgroup.subtree_control && exec \"$@\""
    )
    words = ("--cgroup-manager=cgroupfs", "run", "--rm", "--network=none", "--memory=30m", "--cgroupns=host", IMAGE)
    command = [*IN_A_SCOPE, "sh", "-c", script, "sh", *rootless.command(*words)]
    told = subprocess.run([*command, "cat", "/proc/self/cgroup"], capture_output=True, text=True, check=True).stdout
    assert ".scope/" in told and "/rootless-" in told
    assert subprocess.run([*command, "tail", "/dev/zero"], check=False).returncode == 137
