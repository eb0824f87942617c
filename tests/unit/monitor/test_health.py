"""The clock of health checks: one at a time, the next after the last, with nothing of the monitor's in its hands."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from rootless.monitor.health import Checks


def checks(script: str, manager: str = "", **wanted: Any) -> Checks:
    """A clock whose engine is a shell with ``script``."""
    settings = {
        "engine": ["/bin/sh", "-c", script, "sh"],
        "id": "ID",
        "manager": manager,
        "health": {"interval": 100.0, "started": True, "ready": bool(manager), **wanted},
    }
    return Checks(settings)  # type: ignore[arg-type]


def collect(clock: Checks) -> None:
    """Wait for the check that runs."""
    clock.ended(os.waitpid(-1, 0)[0])


def test_the_first_comes_at_the_start_and_the_next_after_its_end(tmp_path: Path) -> None:
    clock = checks(f'echo "$*" >>{tmp_path}/called; sleep 0.1')
    assert clock.due() == 0.0
    assert clock.due() == 0.0, "there is one at a time"
    before = time.monotonic()
    collect(clock)
    assert before + 99 < clock.due() < time.monotonic() + 101
    assert (tmp_path / "called").read_text() == "healthcheck run ID\n"


@pytest.mark.parametrize("wanted", [{"interval": -1.0}, {"started": False}])
def test_there_may_be_none_by_the_clock(wanted: dict[str, Any]) -> None:
    clock = checks("exit 0", **wanted)
    assert clock.due() == 0.0
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, 0)


def test_a_report_sets_the_clock(tmp_path: Path) -> None:
    clock = checks(f"echo >>{tmp_path}/called", started=False)
    assert clock.heard(b"starting 0.0 none") == b"none"
    assert clock.due() == 0.0, "it is due at once"
    collect(clock)
    assert clock.due() > time.monotonic() + 99, "and once, if nothing more is heard"
    assert clock.heard(b"unhealthy 5.0 restart") == b"restart"
    assert clock.due() < time.monotonic() + 6
    clock.heard(b"healthy -1.0 none")
    assert clock.due() == 0.0
    assert clock.heard(b"nonsense") == clock.heard(b"") == clock.heard(b"a b c") == b""
    assert (tmp_path / "called").read_text() == "\n"


def test_another_child_is_no_check() -> None:
    clock = checks("sleep 0.1")
    clock.due()
    clock.ended(1)
    assert clock.due() == 0.0
    collect(clock)
    assert clock.due() > 0


def test_a_check_that_cannot_be_begun_is_tried_again() -> None:
    clock = checks("exit 0")
    clock._command = ["/no/such/program"]
    assert clock.due() > time.monotonic() + 99


def test_the_check_gets_no_descriptor(tmp_path: Path) -> None:
    """Security row 41: of the monitor the lock, the terminal and the sockets stay its own."""
    leaked = os.open("/", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    clock = checks(f"ls /proc/$$/fd >{tmp_path}/open")
    clock.due()
    collect(clock)
    os.close(leaked)
    assert str(leaked) not in (tmp_path / "open").read_text().split()


def test_the_service_manager_is_told_once(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(0.2)
        clock = checks("exit 0", str(tmp_path / "notify"), started=False)
        clock.heard(b"starting 1.0 none")
        clock.heard(b"unhealthy 1.0 none")
        with pytest.raises(TimeoutError):
            manager.recv(100)
        clock.heard(b"healthy 1.0 none")
        assert manager.recv(100) == b"READY=1\nMAINPID=%d" % os.getpid()
        clock.heard(b"healthy 1.0 none")
        with pytest.raises(TimeoutError):
            manager.recv(100)
