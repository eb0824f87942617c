"""Scopes of a real systemd of the user, in a delegated tree that root has made (tests/support/delegation)."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_cgroups import detached, group, take_image, wait
from tests.support.delegation import MANAGER, Delegated, delegated

pytestmark = [
    pytest.mark.as_root,
    pytest.mark.skipif(not MANAGER.exists(), reason="needs systemd: it is not installed"),
]


@pytest.fixture(scope="module")
def cli(busybox_layout: Path) -> Iterator[Delegated]:
    """The program in a session of systemd, with an image."""
    with delegated(systemd=True) as fresh:
        take_image(fresh, busybox_layout)
        yield fresh


@pytest.fixture(autouse=True)
def _clean(cli: Delegated) -> Iterator[None]:
    yield
    cli.ok("rm", "--all", "--force", "--time", "0")
    wait(lambda: not cli.groups())


def systemctl(cli: Delegated, *arguments: str) -> str:
    """What systemctl of the user says."""
    environment = {**cli.environment, "DBUS_SESSION_BUS_ADDRESS": f"unix:path={cli.home}/run/bus"}
    words = cli.inside("systemctl", "--user", "--no-pager", *arguments)
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False).stdout


def scope(container: str, slice: str = "user.slice") -> str:
    return f"{slice}/rootless-{container}.scope"


def members(path: Path) -> list[int]:
    return [int(word) for word in (path / "cgroup.procs").read_text().split()]


def test_a_state_that_was_removed_is_found_again_with_its_scope(cli: Delegated) -> None:
    container = detached(cli, "--name=lost", "localhost/busybox", "sleep", "1000")
    stored = cli.home / "run/rootless/engine" / container / "state.json"
    before = json.loads(stored.read_text())
    stored.unlink()
    assert cli.ok("ps", "-q", "--no-trunc").strip() == container
    after = json.loads(stored.read_text())
    assert (after["cgroup"], after["cgroup_manager"]) == (before["cgroup"], "systemd")
    cli.ok("rm", "-f", "-t", "0", "lost")


def test_a_scope_has_the_payload_and_its_monitor_apart(cli: Delegated) -> None:
    container = detached(cli, "--name=web", "localhost/busybox", "sleep", "1000")
    assert cli.groups() == {scope(container)}
    top = group(cli, "web").parent
    state = json.loads((cli.home / "run/rootless/engine" / container / "state.json").read_text())
    assert (members(top), members(top / "container")) == ([], [state["pid"]])
    assert state["monitor"] in members(top / "supervisor")
    assert cli.ok("inspect", "--format", "{{.HostConfig.CgroupManager}}", "web") == "systemd\n"
    shown = systemctl(cli, "show", f"rootless-{container}.scope", "-p", "Description,Delegate,Slice,CollectMode")
    lines = {"Delegate=yes", "Slice=user.slice", "CollectMode=inactive-or-failed", f"Description=Container {container}"}
    assert set(shown.split("\n")) >= lines
    cli.ok("stop", "--time", "0", "web")
    wait(lambda: "rootless-" not in systemctl(cli, "list-units", "--all", "*.scope"))


def test_the_caller_of_a_container_in_the_foreground_stays_where_it_is(cli: Delegated) -> None:
    done = cli.ok("run", "--rm", "--network=none", "--cgroupns=host", "localhost/busybox", "cat", "/proc/self/cgroup")
    assert done.strip().endswith(".scope/container")
    with cli.popen("run", "--rm", "--network=none", "localhost/busybox", "sleep", "1000") as process:
        wait(lambda: any(name.endswith(".scope") for name in cli.groups()))
        wait(lambda: cli.ok("ps", "--quiet"))
        assert Path(f"/proc/{process.pid}/cgroup").read_text().strip().endswith("/init.scope")
        process.kill()
    wait(lambda: not cli.groups())


def test_a_restart_stays_in_its_scope(cli: Delegated) -> None:
    container = detached(cli, "--name=again", "--restart=on-failure:2", "localhost/busybox", "false")
    wait(lambda: cli.ok("inspect", "--format", "{{.State.Status}}", "again") == "exited\n", 20)
    assert cli.ok("inspect", "--format", "{{.RestartCount}}", "again") == "2\n"
    wait(lambda: not cli.groups())
    for _ in range(3):
        cli.ok("start", container)
        wait(lambda: cli.ok("inspect", "--format", "{{.State.Status}}", "again") == "exited\n", 20)


def test_quick_restarts_by_hand(cli: Delegated) -> None:
    container = detached(cli, "--name=quick", "localhost/busybox", "sleep", "1000")
    for _ in range(5):
        cli.ok("restart", "--time", "0", "quick")
    assert f"{scope(container)}/container" == str(group(cli, "quick")).partition(cli.group + "/")[2]


def test_pause_and_limits(cli: Delegated) -> None:
    detached(cli, "--name=box", "--cgroup-conf=cgroup.max.descendants=7", "localhost/busybox", "sleep", "1000")
    assert (group(cli, "box") / "cgroup.max.descendants").read_text() == "7\n"
    cli.ok("pause", "box")
    assert cli.ok("inspect", "--format", "{{.State.Status}}", "box") == "paused\n"
    assert "systemd" in systemctl(cli, "status")  # the manager itself goes on
    cli.ok("unpause", "box")
    assert "not delegated" in cli.fails(125, "run", "--rm", "--memory=64m", "localhost/busybox", "true")


def test_the_slice_can_be_named(cli: Delegated) -> None:
    container = detached(cli, "--cgroup-parent=web-blue.slice", "localhost/busybox", "sleep", "1000")
    assert str(group(cli, container)).partition(cli.group + "/")[2] == (
        f"{scope(container, 'web.slice/web-blue.slice')}/container"
    )
    arguments = ("run", "--rm", "--cgroup-parent=/x", "localhost/busybox", "true")
    message = cli.fails(125, "--cgroup-manager=systemd", *arguments)
    assert "cannot use the parent" in message


def test_another_manager_can_be_asked_for(cli: Delegated) -> None:
    cli.ok("--cgroup-manager=cgroupfs", "run", "-d", "--name=fs", "--network=none", "localhost/busybox", "sleep", "99")
    assert str(group(cli, "fs")).endswith("/init.scope/rootless-" + cli.ok("ps", "-q", "--no-trunc").strip())


def test_a_monitor_may_stay_with_its_caller(cli: Delegated) -> None:
    container = detached(cli, "--cgroups=no-conmon", "localhost/busybox", "sleep", "1000")
    state = json.loads((cli.home / "run/rootless/engine" / container / "state.json").read_text())
    assert Path(f"/proc/{state['monitor']}/cgroup").read_text().strip().endswith("/init.scope")
    assert members(group(cli, container)) == [state["pid"]]


def test_a_bus_that_does_not_answer_is_done_without(cli: Delegated) -> None:
    """A socket without anybody behind it: the delegated tree is used, or the start refused if systemd was asked for."""
    dead = {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={cli.home}/nowhere"}
    arguments = ("run", "--rm", "--network=none", "--cgroupns=host", "localhost/busybox", "cat", "/proc/self/cgroup")
    done = cli.run(*arguments, env=dead)
    assert done.returncode == 0 and "/init.scope/rootless-" in done.stdout, done.stderr
    done = cli.run("--cgroup-manager=systemd", *arguments, env=dead)
    assert done.returncode == 125 and "cannot make a scope" in done.stderr
    assert cli.ok("ps", "--all", "--quiet") == ""


def test_a_killed_monitor_takes_the_scope_with_it(cli: Delegated) -> None:
    container = detached(cli, "--name=orphan", "localhost/busybox", "sleep", "1000")
    state = json.loads((cli.home / "run/rootless/engine" / container / "state.json").read_text())
    os.kill(state["monitor"], 9)
    wait(lambda: cli.ok("inspect", "--format", "{{.State.Status}}", "orphan") == "exited\n")
    wait(lambda: not cli.groups())
    cli.ok("start", "orphan")
