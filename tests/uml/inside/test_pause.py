"""Containers that stand still."""

from __future__ import annotations

import time

from tests.uml.inside.session import IMAGE, Session, cgroup, until, usage

DETACHED = ("run", "--detach", "--network", "none")


def test_paused_container_stands_still(rootless: Session) -> None:
    """All of its processes stop, are told of as paused, and go on."""
    rootless.ok(*DETACHED, "--name", "spinner", IMAGE, "sh", "-c", "(while :; do :; done) & while :; do :; done")
    group = cgroup(rootless, "spinner")
    assert rootless.ok("pause", "spinner") == "spinner\n"
    used = usage(group)
    time.sleep(1)
    assert usage(group) - used < 0.05
    assert rootless.ok("ps", "--all", "--format", "{{.State}}") == "paused\n"
    assert rootless.ok("unpause", "spinner") == "spinner\n"
    until(lambda: usage(group) > used + 0.2, "it goes on")
    assert rootless.ok("ps", "--format", "{{.State}}") == "running\n"


def test_paused_container_is_not_entered(rootless: Session) -> None:
    """``exec`` says why instead of standing still too."""
    rootless.ok(*DETACHED, "--name", "still", IMAGE, "sleep", "1000")
    rootless.ok("pause", "still")
    assert "paused" in rootless.fails(255, "exec", "still", "true")


def test_paused_container_is_stopped_and_removed(rootless: Session) -> None:
    """A container that stands still can be ended."""
    rootless.ok(*DETACHED, "--name", "still", IMAGE, "sleep", "1000")
    rootless.ok("pause", "still")
    rootless.ok("rm", "--force", "--time", "1", "still")
    assert rootless.ok("ps", "--all", "--quiet") == ""
