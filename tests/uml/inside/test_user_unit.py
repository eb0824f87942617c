"""A container as a service of the user's systemd."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.uml.inside.session import IMAGE, Session, cgroup, systemctl, until

UNITS = Path.home() / ".config/systemd/user"
NAME = "web.service"
# What podman's generators write.
UNIT = """
[Service]
Type=notify
NotifyAccess=all
Delegate=yes
KillMode=mixed
TimeoutStopSec=20
ExecStart=/opt/rootless/bin/rootless run --detach --rm --name web --cgroups=split --network none {arguments}
ExecStopPost=-/opt/rootless/bin/rootless rm --force --ignore --time 1 web
"""


@pytest.fixture(autouse=True)
def _clean(rootless: Session) -> Iterator[None]:
    yield
    systemctl("stop", NAME)
    systemctl("reset-failed", NAME)
    (UNITS / NAME).unlink(missing_ok=True)


def start(arguments: str, unit: str = UNIT) -> subprocess.CompletedProcess[str]:
    """Write the unit and start it."""
    UNITS.mkdir(parents=True, exist_ok=True)
    (UNITS / NAME).write_text(unit.format(arguments=arguments))
    systemctl("daemon-reload")
    return subprocess.run(["systemctl", "--user", "start", NAME], capture_output=True, text=True, check=False)


def main_process() -> Path:
    """/proc of the unit's main process."""
    return Path("/proc") / systemctl("show", "--property=MainPID", "--value", NAME)


def test_monitor_is_the_main_process(rootless: Session) -> None:
    """The unit is up when the container runs, both are in the unit's group, and they go together."""
    started = start(f"--sdnotify=conmon {IMAGE} sleep 1000")
    assert started.returncode == 0, systemctl("status", NAME)
    assert systemctl("is-active", NAME) == "active"
    assert b"monitor" in (main_process() / "cmdline").read_bytes()
    unit = Path("/sys/fs/cgroup" + systemctl("show", "--property=ControlGroup", "--value", NAME))
    assert unit in cgroup(rootless, "web").parents
    assert systemctl("stop", NAME) == ""
    assert systemctl("is-active", NAME) in {"inactive", "failed"}
    assert not unit.exists()
    assert rootless.ok("ps", "--all", "--quiet") == ""


def test_unit_ends_with_the_container(rootless: Session) -> None:
    """A container that fails is a unit that failed, with its exit code."""
    start(f"--sdnotify=conmon {IMAGE} sh -c 'sleep 1; exit 3'")
    until(lambda: systemctl("is-active", NAME) == "failed", "the unit has failed")
    assert systemctl("show", "--property=ExecMainStatus", "--value", NAME) == "3"
    assert rootless.ok("ps", "--all", "--quiet") == ""


def test_container_says_when_it_is_ready(rootless: Session) -> None:
    """``--sdnotify=container``: the message is the program's own. (The root is the machine's, which has the tool.)"""
    told = "systemd-notify --status=half-way; sleep 2; systemd-notify --ready --status=done; exec sleep 1000"
    started = start(f'--sdnotify=container --rootfs /:O sh -c "{told}"')
    assert started.returncode == 0, systemctl("status", NAME)
    assert systemctl("show", "--property=StatusText", "--value", NAME) == "done"


def test_unit_with_a_limit_and_the_journal(rootless: Session) -> None:
    """The container's words are in the unit's journal, its limit holds in the unit's group, its code is the unit's."""
    hog = "echo before; sleep 1; tail /dev/zero; echo after $?; exit 4"
    started = start(f'--sdnotify=conmon --log-driver=journald -m 30m {IMAGE} sh -c "{hog}"')
    assert started.returncode == 0, systemctl("status", NAME)
    until(lambda: systemctl("is-active", NAME) == "failed", "the unit has failed")
    assert systemctl("show", "--property=ExecMainStatus", "--value", NAME) == "4"
    journal = ["journalctl", "--user", "--quiet", "--output=cat", f"--user-unit={NAME}"]

    def said() -> list[str]:
        return subprocess.run(journal, capture_output=True, text=True, check=True).stdout.splitlines()

    until(lambda: "after 137" in said(), "the journal of the unit has what was said")
    assert said().index("before") < said().index("after 137")


def test_foreground_run_as_a_simple_unit(rootless: Session) -> None:
    """Without any of systemd's protocols: stopping the unit stops the container."""
    unit = "[Service]\nExecStart=/opt/rootless/bin/rootless run --rm --name web --network none {arguments}\n"
    start(f"{IMAGE} sh -c 'trap \"exit 0\" TERM; while :; do sleep 0.1; done'", unit)
    until(lambda: rootless.ok("ps", "--quiet"), "the container runs")
    systemctl("stop", NAME)
    assert systemctl("is-active", NAME) == "inactive"
    assert rootless.ok("ps", "--all", "--quiet") == ""
