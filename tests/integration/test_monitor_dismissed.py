"""A service manager asks the monitor to end, as systemd does at a logout: the container ends in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.test_monitor_faults import alive
from tests.integration.test_detached import about, begin, eventually, log, state
from tests.integration.test_run_flags import IMAGE
from tests.support.cli import Cli

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")

POLITE = ("sh", "-c", "trap 'echo asked; exit 7' TERM; echo up; while :; do sleep 0.1; done")
# A parent that inherits the monitor, as a service manager does, ends it by a signal and prints its exit code.
MANAGER = """
import os, subprocess, sys
from rootless.linux import libc
libc.prctl(libc.PR_SET_CHILD_SUBREAPER, 1)
file, number, *command = sys.argv[1:]
subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
pid = int(open(file).read())
if int(number):
    os.kill(pid, int(number))
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.fixture(autouse=True)
def _clean(shared_cli: Cli) -> Iterator[None]:
    yield
    shared_cli.ok("rm", "-af", "-t", "0")


def dismiss(cli: Cli, name: str, monitor: int = 0) -> None:
    """Send SIGTERM to the monitor and wait for the end of the container."""
    monitor = monitor or int(about(cli, name)["State"]["ConmonPid"])
    assert monitor > 1
    os.kill(monitor, signal.SIGTERM)
    eventually(lambda: state(cli, name) == "exited", "the container has ended")
    eventually(lambda: not alive(monitor), "the monitor has ended")


def managed(cli: Cli, pidfile: Path, number: int, *arguments: str) -> int:
    """The exit code of the monitor of ``run --detach ARGUMENTS``, to which the signal ``number`` is sent."""
    command = cli.command("run", "--detach", "--network", "none", "--conmon-pidfile", str(pidfile), *arguments)
    helper = [sys.executable, "-c", MANAGER, str(pidfile), str(number), *command]
    done = subprocess.run(helper, env=cli.environment, capture_output=True, text=True, timeout=60, check=True)
    return int(done.stdout)


def test_the_container_is_asked_to_end(shared_cli: Cli) -> None:
    """By its stop signal; what it says and its exit code are kept, and it was not the user who stopped it."""
    begin(shared_cli, "--name", "polite", IMAGE, *POLITE)
    eventually(lambda: log(shared_cli, "polite") == "up\n", "the trap is set")
    dismiss(shared_cli, "polite")
    assert log(shared_cli, "polite") == "up\nasked\n"
    found = about(shared_cli, "polite")["State"]
    assert (found["ExitCode"], found["StoppedByUser"]) == (7, False)


def test_a_container_that_does_not_end_is_killed(shared_cli: Cli) -> None:
    """After the time-out that the container has; and that is put down."""
    begin(shared_cli, "--name", "deaf", "--stop-timeout", "1", IMAGE, "sleep", "1000")
    dismiss(shared_cli, "deaf")
    found = about(shared_cli, "deaf")["State"]
    assert (found["ExitCode"], found["Error"]) == (137, "")


def test_restarts_wait_for_resume(shared_cli: Cli) -> None:
    """The policy does not bring back at once what the manager wants gone, but the next boot may."""
    begin(shared_cli, "--name", "wanted", "--restart", "unless-stopped", IMAGE, *POLITE)
    eventually(lambda: log(shared_cli, "wanted") == "up\n", "the trap is set")
    dismiss(shared_cli, "wanted")
    assert about(shared_cli, "wanted")["RestartCount"] == 0
    assert shared_cli.ok("resume") == "wanted\n"
    assert state(shared_cli, "wanted") == "running"


def test_a_restart_that_is_due_is_left(shared_cli: Cli, tmp_path: Path) -> None:
    """A monitor that waits before the next start gives it up."""
    pidfile = tmp_path / "pid"
    begin(shared_cli, "--name", "failing", "--restart", "always", "--conmon-pidfile", str(pidfile), IMAGE, "false")
    eventually(lambda: about(shared_cli, "failing")["RestartCount"] >= 3, "the wait is long")
    eventually(lambda: state(shared_cli, "failing") == "restarting", "the next start is waited for")
    dismiss(shared_cli, "failing", int(pidfile.read_text()))
    assert about(shared_cli, "failing")["State"]["ExitCode"] == 1


@pytest.mark.parametrize("temporary", [(), ("--rm",)], ids=["kept", "rm"])
def test_the_monitor_ends_with_the_code_of_the_container(
    shared_cli: Cli, tmp_path: Path, temporary: tuple[str, ...]
) -> None:
    """So that a unit of systemd fails when its container does; also when it was asked to end."""
    failing = (*temporary, IMAGE, "sh", "-c", "sleep 0.3; exit 3")
    assert managed(shared_cli, tmp_path / "pid", 0, *failing) == 3
    deaf = (*temporary, "--stop-timeout", "1", IMAGE, "sleep", "1000")
    assert managed(shared_cli, tmp_path / "pid", signal.SIGTERM, *deaf) == 137
