"""What the machine has that other places of the tests lack."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.uml.inside.session import IMAGE, Session, systemctl


def test_systemd_of_the_user_runs() -> None:
    """The bus of the user answers, and nothing has failed."""
    assert systemctl("is-system-running") == "running"


def test_controllers_are_delegated() -> None:
    """The user's systemd may divide processor time, input and output, memory and the number of processes."""
    slice_ = Path(f"/sys/fs/cgroup/user.slice/user-{os.getuid()}.slice/user@{os.getuid()}.service")
    assert {"cpu", "io", "memory", "pids"} <= set((slice_ / "cgroup.controllers").read_text().split())


def test_tests_are_in_a_login_session() -> None:
    """As after a login: in a scope that is root's, beside the user's systemd."""
    assert f"/user.slice/user-{os.getuid()}.slice/session-" in Path("/proc/self/cgroup").read_text()


def test_kernel_overlay_is_chosen(rootless: Session) -> None:
    """Linux 6.1 has overlays in user namespaces, but takes all layers as one option."""
    info = json.loads(rootless.ok("info", "--format", "json"))
    assert info["store"]["graphDriverName"] == "overlay"


def test_run(rootless: Session) -> None:
    """A container runs."""
    assert rootless.ok("run", "--rm", "--network", "none", IMAGE, "cat", "/srv/second-layer") == "second\n"
