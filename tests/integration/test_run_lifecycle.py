"""A container's life: created, started again and again, listed, killed, removed; and what a killed command leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.integration.test_run_flags import IMAGE
from tests.support.cli import Cli

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")
NONE = "--network=none"


@pytest.fixture(autouse=True)
def _clean(shared_cli: Cli) -> Iterator[None]:
    yield
    shared_cli.ok("rm", "-af")
    shared_cli.ok("volume", "rm", "-af")


def state(cli: Cli, name: str) -> dict[str, object]:
    found: list[dict[str, dict[str, object]]] = json.loads(cli.ok("inspect", name))
    return found[0]["State"]


def wait_for(cli: Cli, name: str) -> int:
    """The pid of a container, as soon as it runs."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        done = cli.run("inspect", "--format", "{{.State.Pid}}", name)
        if done.returncode == 0 and int(done.stdout) > 0:
            return int(done.stdout)
        time.sleep(0.02)
    raise AssertionError(f"{name} does not start")


def test_create_and_start(shared_cli: Cli) -> None:
    script = "echo line >> /log; cat /log; exit $(wc -l < /log)"
    container = shared_cli.ok("create", NONE, "--name", "c", IMAGE, "sh", "-c", script).strip()
    assert len(container) == 64
    assert state(shared_cli, "c")["Status"] == "created"
    for count in (1, 2, 3):
        done = shared_cli.run("start", "-a", "c")
        assert (done.returncode, done.stdout) == (count, "line\n" * count)
    assert state(shared_cli, "c")["ExitCode"] == 3
    assert shared_cli.ok("start", "c") == "c\n"
    assert shared_cli.ok("wait", "c") == "4\n"
    assert shared_cli.ok("rm", "c") == "c\n"
    shared_cli.fails(1, "rm", "c")


def test_names(shared_cli: Cli) -> None:
    shared_cli.ok("create", NONE, "--name", "taken", IMAGE, "true")
    assert "in use" in shared_cli.fails(125, "run", "--rm", NONE, "--name", "taken", IMAGE, "true")
    assert shared_cli.ok("run", "--rm", NONE, "--replace", "--name", "taken", IMAGE, "echo", "new") == "new\n"
    assert shared_cli.ok("ps", "-aq") == ""
    for name in ("../x", "a/b", ".", "-x", "x" * 300, ""):
        if name:
            shared_cli.fails(125, "create", NONE, f"--name={name}", IMAGE, "true")


def test_listing(shared_cli: Cli) -> None:
    shared_cli.ok("create", NONE, "--name", "one", "--label", "k=v", IMAGE, "true")
    shared_cli.run("run", NONE, "--name", "two", IMAGE, "sh", "-c", "exit 5")
    rows = json.loads(shared_cli.ok("ps", "-a", "--format", "json"))
    assert [row["Names"] for row in rows] == [["one"], ["two"]]
    assert [row["State"] for row in rows] == ["created", "exited"] and rows[1]["ExitCode"] == 5
    assert rows[0]["Labels"]["k"] == "v" and rows[1]["Status"].startswith("Exited (5)")
    assert json.loads(shared_cli.ok("ps", "--format", "json")) == []
    assert shared_cli.ok("ps", "-a", "--filter", "label=k=v", "--format", "{{.Names}}") == "one\n"
    assert shared_cli.ok("ps", "-a", "--filter", "exited=5", "--format", "{{.Names}}") == "two\n"
    assert shared_cli.ok("ps", "-a", "--filter", "status=created", "--format", "{{.Names}}") == "one\n"
    assert shared_cli.ok("ps", "-a", "--filter", "name=^t", "--format", "{{.Names}}") == "two\n"
    assert set(shared_cli.ok("container", "prune", "-f").split()) == {row["Id"] for row in rows}


def test_running_container(shared_cli: Cli) -> None:
    child = shared_cli.popen("run", NONE, "--name", "long", IMAGE, "sleep", "60")
    try:
        pid = wait_for(shared_cli, "long")
        assert os.path.exists(f"/proc/{pid}")
        assert "Up" in shared_cli.ok("ps")
        shared_cli.fails(2, "rm", "long")
        assert shared_cli.ok("rm", "-f", "-t", "0", "long") == "long\n"
        assert child.wait(timeout=10) == 137
        assert not os.path.exists(f"/proc/{pid}")
    finally:
        child.kill()
        child.communicate()


def test_signals_are_passed_on(shared_cli: Cli) -> None:
    script = "trap 'echo got; exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    child = shared_cli.popen("run", "--rm", NONE, IMAGE, "sh", "-c", script)
    assert child.stdout is not None and child.stdout.readline() == b"ready\n"
    child.send_signal(signal.SIGTERM)
    assert child.communicate(timeout=10)[0] == b"got\n"
    assert child.returncode == 9


def test_killed_command(shared_cli: Cli) -> None:
    """A ``--rm`` container without a terminal has no monitor: it ends with its caller."""
    child = shared_cli.popen("run", "--rm", NONE, "--name", "victim", IMAGE, "sleep", "60")
    pid = wait_for(shared_cli, "victim")
    child.kill()
    child.communicate()
    deadline = time.monotonic() + 5
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not os.path.exists(f"/proc/{pid}")
    assert state(shared_cli, "victim")["Status"] == "exited"
    assert state(shared_cli, "victim")["ExitCode"] == 137
    assert shared_cli.ok("rm", "victim") == "victim\n"


def test_failed_start_leaves_nothing(shared_cli: Cli) -> None:
    for arguments in (
        ("--volume=things:/x", "--network=none", "--cap-add=wrong"),
        ("--network=none", "--volume=/no/such/place:/x", "--volume=things:/y"),
        ("--network=bridge",),
        ("--network=none", "--publish=80"),
        ("--publish=x:y",),
        ("--name=x", "--network=none", "--add-host=bad"),
    ):
        shared_cli.fails(125, "run", *arguments, IMAGE, "true")
    assert shared_cli.ok("ps", "-aq") == "" and shared_cli.ok("volume", "ls", "-q") == ""
    assert os.listdir(shared_cli.data / "tmp") == os.listdir(shared_cli.data / "trash") == []


def test_inspect(shared_cli: Cli) -> None:
    shared_cli.ok("create", NONE, "--name", "i", "-e", "A=1", "--label=k=v", "-v", "vol:/data:ro", IMAGE, "true", "x")
    found = json.loads(shared_cli.ok("container", "inspect", "i"))[0]
    assert found["Path"] == "true" and found["Args"] == ["x"] and found["Name"] == "i"
    assert "A=1" in found["Config"]["Env"] and found["Config"]["Labels"]["k"] == "v"
    mount = found["Mounts"][0]
    assert (mount["Type"], mount["Name"], mount["Destination"], mount["RW"]) == ("volume", "vol", "/data", False)
    assert set(found["Isolation"]) == {"UserIDs", "RootFS", "Network", "Cgroup", "Seccomp", "LSM"}
    assert all(list(line) == ["Got", "Why", "Less", "Has"] and line["Got"] for line in found["Isolation"].values())
    assert shared_cli.run("inspect", "no-such").stdout.strip() == "[]"


def test_log(shared_cli: Cli) -> None:
    shared_cli.ok("run", NONE, "--name", "talk", IMAGE, "sh", "-c", "echo out; echo err >&2")
    path = json.loads(shared_cli.ok("inspect", "talk"))[0]["HostConfig"]["LogConfig"]["Path"]
    with open(path, encoding="utf-8") as file:
        lines = [line.split(" ", 3)[1:] for line in file.read().splitlines()]
    assert sorted(lines) == [["stderr", "F", "err"], ["stdout", "F", "out"]]


def test_info(shared_cli: Cli) -> None:
    report = json.loads(shared_cli.ok("info", "--format", "json"))
    assert report["host"]["security"]["rootless"] is True
    assert report["store"]["graphDriverName"] in ("overlay", "fuse-overlayfs", "copy")
    assert "runc" not in shared_cli.ok("info")
    assert set(report["Isolation"]) == {"UserIDs", "RootFS", "Network", "Cgroup", "Seccomp", "LSM"}
    host = report["host"]
    assert host["eventLogger"] == "file"
    assert host["networkBackend"] == "none" or f"{host['networkBackend']} is used" in shared_cli.run("doctor").stdout
    disabled = json.loads(shared_cli.ok("--cgroup-manager=disabled", "info", "--format", "json"))["host"]
    assert disabled["cgroupManager"] == "disabled"
    shared_cli.ok("run", "-d", NONE, "--name", "grouped", IMAGE, "sleep", "100")
    found = json.loads(shared_cli.ok("inspect", "grouped"))[0]
    shared_cli.ok("rm", "-f", "-t", "0", "grouped")
    assert host["cgroupManager"] == (found["HostConfig"]["CgroupManager"] or "disabled")


def drivers() -> list[object]:
    return ["overlay", pytest.param("fuse-overlayfs", marks=pytest.mark.needs("fuse-overlayfs", "fuse")), "copy"]


@pytest.mark.parametrize("driver", drivers())
def test_drivers(shared_cli: Cli, driver: str) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return shared_cli.run("--storage-driver", driver, *arguments)

    script = "cat /srv/second-layer; rm /srv/second-layer; echo own > /etc/own; chown 1000 /etc/own; ls /srv; id -u"
    done = run("run", NONE, "--name", "d", IMAGE, "sh", "-c", script)
    assert done.stdout == "second\n0\n", done.stderr
    assert run("start", "-a", "d").stdout == "0\n"
    assert run("rm", "d").returncode == 0
    assert run("run", "--rm", NONE, "--userns=keep-id", IMAGE, "stat", "-c", "%u", "/etc/passwd").stdout == "0\n"
    assert os.listdir(shared_cli.data / "trash") == []


def test_ps_removes_what_a_killed_run_should_have_removed(shared_cli: Cli) -> None:
    child = shared_cli.popen("run", "--rm", NONE, "--name", "gone", IMAGE, "sleep", "60")
    wait_for(shared_cli, "gone")
    child.kill()
    child.communicate()
    deadline = time.monotonic() + 10
    while shared_cli.ok("ps", "--quiet") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert shared_cli.ok("ps", "--all", "--quiet") == ""
    assert shared_cli.ok("run", "--rm", NONE, "--name", "gone", IMAGE, "echo", "again") == "again\n"


def test_what_a_power_cut_leaves_of_run_rm(shared_cli: Cli) -> None:
    """Its record was not on disk, as nothing else of it: ps and whoever wants its name remove it, check mends it."""
    commands = (["ps", "-a"], ["create", NONE, "--name", "cut", IMAGE], ["system", "check", "--repair"])
    for number, command in enumerate(commands):
        lost = shared_cli.ok("create", NONE, "--name", "cut", IMAGE).strip()
        kept = shared_cli.ok("create", NONE, "--name", f"kept{number}", IMAGE).strip()
        containers = shared_cli.data / "containers"
        for file in filter(os.path.isfile, (containers / lost).iterdir()):
            file.write_bytes(b"")
        told = shared_cli.run("system", "check")
        assert told.returncode == 0 and told.stdout.startswith(f"leftover {lost}: "), told
        shared_cli.ok(*command)
        assert not (containers / lost).exists() and (containers / kept).exists()
        shared_cli.ok("system", "check")
        shared_cli.run("rm", "cut")
