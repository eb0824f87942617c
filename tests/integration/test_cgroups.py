"""A container's control group in a delegated tree without systemd, for an unprivileged user; root makes the tree."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.delegation import Delegated, delegated

pytestmark = pytest.mark.as_root


@pytest.fixture(scope="module")
def cli(busybox_layout: Path) -> Iterator[Delegated]:
    """The program in a delegated tree, with an image."""
    with delegated() as fresh:
        take_image(fresh, busybox_layout)
        yield fresh


def take_image(cli: Delegated, layout: Path) -> None:
    """Pull the image into the user's store."""
    copy = cli.home / "layout"
    shutil.copytree(layout, copy)
    subprocess.run(["chown", "-R", f"{cli.user}:", str(copy)], check=True)
    image = cli.ok("pull", "--quiet", f"oci:{copy}:latest").strip()
    cli.ok("tag", image, "localhost/busybox:latest")


@pytest.fixture(autouse=True)
def _clean(cli: Delegated) -> Iterator[None]:
    yield
    cli.ok("rm", "--all", "--force", "--time", "0")
    wait(lambda: not cli.groups())


def wait(condition: Callable[[], object], seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.02)


def run(cli: Delegated, *arguments: str) -> str:
    return cli.ok("run", "--rm", "--network=none", *arguments)


def detached(cli: Delegated, *arguments: str) -> str:
    """A container in the background; its id."""
    return cli.ok("run", "--detach", "--network=none", *arguments).strip()


def group(cli: Delegated, name: str) -> Path:
    return cli.path(cli.ok("inspect", "--format", "{{.State.CgroupPath}}", name).strip())


def test_the_payload_has_a_group_of_its_own_while_it_runs(cli: Delegated) -> None:
    container = detached(cli, "localhost/busybox", "sleep", "1000")
    assert cli.groups() == {f"init.scope/rootless-{container}"}
    pids = (group(cli, container) / "cgroup.procs").read_text().split()
    assert pids == [cli.ok("inspect", "--format", "{{.State.Pid}}", container).strip()]
    found = json.loads(cli.ok("inspect", container))[0]
    assert found["HostConfig"]["CgroupManager"] == "cgroupfs"
    assert "made by cgroupfs" in found["Isolation"]["Cgroup"]["Got"]
    cli.ok("stop", "--time", "0", container)
    assert cli.groups() == set()
    cli.ok("start", container)
    assert cli.groups() == {f"init.scope/rootless-{container}"}


def test_run_rm_leaves_none(cli: Delegated) -> None:
    assert run(cli, "localhost/busybox", "cat", "/proc/self/cgroup").strip().endswith("0::/")
    assert cli.groups() == set()
    cli.fails(127, "run", "--rm", "--network=none", "localhost/busybox", "nope")
    assert cli.groups() == set()


def test_without_a_namespace_the_group_is_seen_and_is_not_writable_row_53(cli: Delegated) -> None:
    """CVE-2023-25809: with or without a namespace nothing of the host's tree can be changed."""
    assert "rootless-" in run(cli, "--cgroupns=host", "localhost/busybox", "cat", "/proc/self/cgroup")
    script = "mkdir /sys/fs/cgroup/x; echo 0 > /sys/fs/cgroup/cgroup.procs; echo 1 > /sys/fs/cgroup/cgroup.freeze"
    for mode in ("private", "host"):
        done = cli.run("run", "--rm", "--network=none", f"--cgroupns={mode}", "localhost/busybox", "sh", "-c", script)
        assert done.returncode == 1
        words = ("Read-only", "nonexistent", "No such")
        told = [line for line in done.stderr.splitlines() if any(word in line for word in words)]
        assert len(told) == 3, done.stderr


def test_programs_can_read_their_limits(cli: Delegated) -> None:
    script = "cat /sys/fs/cgroup/hugetlb.2MB.max; stat -c %a /sys/fs/cgroup"
    limit = "--cgroup-conf=hugetlb.2MB.max=max"
    assert run(cli, "--user=1000", limit, "localhost/busybox", "sh", "-c", script) == "max\n755\n"


def test_pause(cli: Delegated) -> None:
    container = detached(cli, "--name=paused", "localhost/busybox", "sh", "-c", "while :; do echo x; sleep 0.01; done")
    assert cli.ok("pause", "paused") == "paused\n"
    assert cli.ok("inspect", "--format", "{{.State.Status}} {{.State.Paused}}", "paused") == "paused true\n"
    log = cli.data / "containers" / container / "ctr.log"
    size = log.stat().st_size
    assert "it is paused, not running" in cli.fails(125, "pause", "paused")
    time.sleep(0.1)
    assert log.stat().st_size == size
    assert cli.ok("unpause", "paused") == "paused\n"
    wait(lambda: log.stat().st_size > size)
    assert "not paused" in cli.fails(125, "unpause", "paused")


def test_a_paused_container_can_be_stopped_and_removed(cli: Delegated) -> None:
    detached(cli, "--name=a", "localhost/busybox", "sleep", "1000")
    detached(cli, "--name=b", "localhost/busybox", "sleep", "1000")
    cli.ok("pause", "a", "b")
    cli.ok("stop", "--time", "1", "a")
    cli.ok("rm", "--force", "--time", "0", "b")
    assert cli.ok("ps", "--all", "--format", "{{.Names}} {{.State}}") == "a exited\n"


def test_a_limit_is_in_the_group_of_the_payload(cli: Delegated) -> None:
    detached(cli, "--name=limited", "--cgroup-conf=hugetlb.2MB.max=0", "localhost/busybox", "sleep", "1000")
    assert (group(cli, "limited") / "hugetlb.2MB.max").read_text() == "0\n"
    assert "unified" in cli.path(cli.ok("inspect", "--format", "{{.OCIConfigPath}}", "limited").strip()).read_text()


def test_what_is_not_delegated_is_refused_with_the_drop_in(cli: Delegated) -> None:
    message = cli.fails(125, "run", "--rm", "--memory=64m", "localhost/busybox", "true")
    assert "the memory controller of control groups is not delegated" in message
    there = cli.path("/sys/fs/cgroup/cgroup.controllers").read_text().split()
    if "memory" in there:
        assert "Delegate=cpu cpuset io memory pids" in message and "user@.service.d" in message
    else:  # version 1 has it, or the kernel has none: no drop-in gives it to anybody
        assert "this machine has no memory controller" in message
    message = cli.fails(125, "run", "--rm", "--cgroups=disabled", "--memory=64m", "localhost/busybox", "true")
    assert "--cgroups=disabled" in message
    assert cli.ok("ps", "--all", "--quiet") == ""


def test_processes_are_bounded_by_a_limit_of_the_user_where_no_controller_counts_them_row_94(cli: Delegated) -> None:
    assert run(cli, "--pids-limit=40", "localhost/busybox", "sh", "-c", "ulimit -u").strip() == "40"
    assert run(cli, "localhost/busybox", "sh", "-c", "ulimit -u").strip() == "2048"


def test_update(cli: Delegated) -> None:
    container = detached(cli, "--name=box", "--cgroup-conf=hugetlb.2MB.max=0", "localhost/busybox", "sleep", "1000")
    assert "not delegated" in cli.fails(125, "update", "--memory=64m", "box")
    record = json.loads((cli.data / "containers" / container / "container.json").read_text())
    assert "memory" not in record["options"]["resources"]
    assert cli.ok("update", "--cgroup-conf=hugetlb.2MB.max=4194304", "box").strip() == container
    assert (group(cli, "box") / "hugetlb.2MB.max").read_text() == "4194304\n"
    assert "not delegated" in cli.fails(125, "update", "--pids-limit=9", "box")
    cli.ok("stop", "--time", "0", "box")
    cli.ok("update", "--pids-limit=9", "box")
    assert cli.ok("inspect", "--format", "{{.HostConfig.PidsLimit}}", "box") == "9\n"
    cli.ok("start", "box")
    assert (group(cli, "box") / "hugetlb.2MB.max").read_text() == "4194304\n"
    assert "cannot update nothing" in cli.fails(125, "update", "box")


def test_stats(cli: Delegated) -> None:
    container = detached(cli, "--name=busy", "localhost/busybox", "sh", "-c", "while :; do :; done")
    wait(lambda: float(stats(cli, "busy")["avg_cpu"].rstrip("%")) > 5)
    found = stats(cli, "busy")
    assert (found["id"], found["name"], found["pids"]) == (container[:12], "busy", "1")
    assert found["cpu_time"].endswith("s") and found["net_io"] == "0B / 0B"
    lines = cli.ok("stats", "--no-stream", "--no-trunc").splitlines()
    assert lines[0].split("  ")[0] == "ID" and lines[1].startswith(container)
    cli.ok("stop", "--time", "0", "busy")
    assert "--" in cli.ok("stats", "--no-stream", "--all")
    assert "it does not run" in cli.fails(125, "stats", "--no-stream", "busy")


def stats(cli: Delegated, name: str) -> dict[str, str]:
    found: list[dict[str, str]] = json.loads(cli.ok("stats", "--no-stream", "--format=json", name))
    return found[0]


def test_stats_go_on(cli: Delegated) -> None:
    detached(cli, "--name=busy", "localhost/busybox", "sh", "-c", "while :; do :; done")
    with cli.popen("stats", "--interval=1", "--format={{.Name}} {{.CPUPerc}}", "busy") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        process.terminate()
    assert [line.split()[0] for line in lines] == [b"busy"] * 3
    assert float(lines[-1].split()[1].rstrip(b"%")) > 5


def test_no_group_when_none_is_wanted(cli: Delegated) -> None:
    for flags in (["run", "--cgroups=disabled"], ["--cgroup-manager=disabled", "run"]):
        cli.ok(*flags, "--detach", "--name=none", "--network=none", "localhost/busybox", "sleep", "1000")
        assert cli.groups() == set()
        assert "has no control group (--cgroup" in cli.fails(125, "pause", "none")
        cli.ok("rm", "--force", "--time", "0", "none")


def test_the_parent_can_be_named(cli: Delegated) -> None:
    container = detached(cli, "--cgroup-parent=a/b", "localhost/busybox", "sleep", "1000")
    assert cli.groups() == {f"init.scope/a/b/rootless-{container}"}
    for parent, word in (("../x", "without . and .."), ("x.slice", "no systemd session"), ("/nope", "not delegated")):
        message = cli.fails(125, "run", "--rm", f"--cgroup-parent={parent}", "localhost/busybox", "true")
        assert word in message, message


def test_split_shares_the_callers_group(cli: Delegated) -> None:
    """As a unit of systemd with Delegate=yes has it: its own processes make room for the container."""
    holder = cli.inside("sh", "-c", "mkdir -p /sys/fs/cgroup$0/unit", cli.group)
    subprocess.run(holder, check=True, env=cli.environment)
    command = cli.command("run", "--rm", "--network=none", "--cgroups=split", "--cgroupns=host", "localhost/busybox")
    words = [word.replace("init.scope", "unit") for word in command]
    done = subprocess.run(
        [*words, "sh", "-c", "cat /proc/self/cgroup; exit 3"], env=cli.environment, capture_output=True, text=True
    )
    assert done.returncode == 3, done.stderr
    assert f"{cli.group}/unit/container-" in done.stdout
    subprocess.run(["rmdir", str(cli.path(f"/sys/fs/cgroup{cli.group}/unit/supervisor"))], check=True)


def test_a_group_whose_owner_was_killed_is_no_obstacle(cli: Delegated) -> None:
    container = detached(cli, "--name=orphan", "localhost/busybox", "sleep", "1000")
    monitor = json.loads((cli.home / "run/rootless/engine" / container / "state.json").read_text())["monitor"]
    subprocess.run(["kill", "-9", str(monitor)], check=True)
    wait(lambda: cli.ok("inspect", "--format", "{{.State.Status}}", "orphan") == "exited\n")
    cli.ok("start", "orphan")
    assert cli.groups() == {f"init.scope/rootless-{container}"}


def test_a_state_that_was_removed_is_found_again_with_its_group(cli: Delegated) -> None:
    container = detached(cli, "--name=lost", "localhost/busybox", "sleep", "1000")
    stored = cli.home / "run/rootless/engine" / container / "state.json"
    before = json.loads(stored.read_text())
    stored.unlink()
    assert cli.ok("ps", "-q", "--no-trunc").strip() == container
    after = json.loads(stored.read_text())
    forgotten = ("crc32", "cgroup_why", "notes")
    assert {**after, **dict.fromkeys(forgotten)} == {**before, **dict.fromkeys(forgotten)}
    cli.ok("pause", "lost")
    assert cli.ok("inspect", "--format", "{{.State.Status}}", "lost") == "paused\n"
    cli.ok("rm", "-f", "-t", "0", "lost")
    assert cli.groups() == set()
