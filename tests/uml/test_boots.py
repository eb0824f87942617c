"""What becomes of containers when their user logs out, and when the machine goes down and comes up again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.uml.inside.session import IMAGE
from tests.uml.machine import Machine
from tests.uml.second import PACKAGES

pytestmark = pytest.mark.timeout(900)

RUN = "rootless run --detach --network none"
RESUME = (
    f"install -D -m 644 {PACKAGES}/contrib/systemd/rootless-resume.service -t ~/.config/systemd/user"
    " && systemctl --user daemon-reload && systemctl --user enable --quiet rootless-resume.service"
)
RESUMED = (
    "for n in $(seq 600); do systemctl --user is-active --quiet rootless-resume && break; sleep 0.1; done;"
    " systemctl --user is-active --quiet rootless-resume || exit"
)
# Ends when it is asked to, and says so; pid 1 has no default actions.
POLITE = "sh -c 'trap \"echo asked; exit 7\" TERM; echo up; while :; do sleep 0.2; done'"


def state(machine: Machine, name: str) -> dict[str, Any]:
    """The ``State`` of a container, seen in a new login session."""
    found: dict[str, Any] = json.loads(machine.ok(f"rootless inspect {name}"))[0]["State"]
    return found


def said(machine: Machine, name: str) -> list[str]:
    """What the container has said; that its sleep was ended too its shell may say or not."""
    return [line for line in machine.ok(f"rootless logs {name}").splitlines() if line != "Terminated"]


@pytest.fixture(autouse=True)
def _clean(booted: Machine) -> Iterator[None]:
    """A test that fails leaves nothing to the next."""
    yield
    booted.run("rootless rm --all --force --time 0")


def remove_all(machine: Machine) -> None:
    """No container is left, by ``rm --force`` and as the user sees it."""
    machine.ok("rootless rm --all --force --time 0 && test -z \"$(rootless ps --all --quiet)\"")


def manager_is(machine: Machine, wanted: str) -> None:
    """Wait until the user's systemd is up or has gone; it lives on for ten seconds after the last session."""
    check = f"[ $(systemctl is-active user@1000.service) = {wanted} ]"
    command = f"for n in $(seq 900); do {check} && exit; sleep 0.1; done; systemctl status user@1000.service; exit 1"
    machine.ok(command, user="root")


def test_logout_with_linger(booted: Machine) -> None:
    """The container outlives the session that it was started in, and belongs to no session."""
    booted.ok(f"{RUN} --name stays {IMAGE} sleep 1000")
    before = state(booted, "stays")
    assert booted.ok("loginctl list-sessions --no-legend | wc -l", user="root") == "0\n", "the session has ended"
    assert before["Status"] == "running"
    assert state(booted, "stays")["Pid"] == before["Pid"]
    assert booted.ok("rootless exec stays echo in") == "in\n"
    remove_all(booted)


def test_logout_without_linger(booted: Machine) -> None:
    """The user's systemd ends and takes the containers along: they are asked to end, and known to have ended."""
    booted.ok("loginctl disable-linger user", user="root")
    try:
        booted.ok(f"{RUN} --name polite {IMAGE} {POLITE} && {RUN} --rm --name gone {IMAGE} sleep 1000")
        booted.ok(f"{RUN} --name always --restart always {IMAGE} sleep 1000")
        manager_is(booted, "inactive")
        assert booted.run("pgrep -u user -f 'sleep 1000|monitor'", user="root").output == ""
        found = state(booted, "polite")
        assert (found["Status"], found["ExitCode"]) == ("exited", 7)
        assert said(booted, "polite") == ["up", "asked"]
        assert state(booted, "always")["Status"] == "exited"
        assert booted.ok("rootless ps --all --format '{{.Names}}'").split() == ["polite", "always"]
        assert booted.ok("rootless resume") == "always\n"
        assert state(booted, "always")["Status"] == "running"
    finally:
        booted.ok("loginctl enable-linger user", user="root")
    manager_is(booted, "active")
    remove_all(booted)


def test_login_brings_them_back(booted: Machine) -> None:
    """Without linger the unit of contrib starts at the next login what the logout has ended."""
    booted.ok(RESUME)
    booted.ok("loginctl disable-linger user", user="root")
    try:
        booted.ok(f"{RUN} --name always --restart always {IMAGE} {POLITE}; {RUN} --name plain {IMAGE} {POLITE}")
        manager_is(booted, "inactive")
        listed = booted.ok(f"{RESUMED}; rootless ps --all --format '{{{{.Names}}}} {{{{.State}}}}'").split("\n")
        assert sorted(filter(None, listed)) == ["always running", "plain exited"]
    finally:
        booted.ok("loginctl enable-linger user", user="root")
    manager_is(booted, "active")
    booted.ok("systemctl --user disable rootless-resume.service")
    remove_all(booted)


def test_reboot(booted: Machine) -> None:
    """Containers are asked to end; afterwards the unit of contrib starts those that a policy wants."""
    booted.ok(RESUME)
    booted.ok(f"{RUN} --name polite {IMAGE} {POLITE}; {RUN} --name plain {IMAGE} sleep 1000")
    for policy in ("always", "unless-stopped", "on-failure"):
        booted.ok(f"{RUN} --name {policy} --restart {policy} {IMAGE} {POLITE}")
    booted.ok(f"{RUN} --name stopped --restart unless-stopped {IMAGE} {POLITE}; rootless stop stopped")
    booted.reboot()
    booted.ok(RESUMED)
    listed = dict(line.split() for line in booted.ok("rootless ps -a --format '{{.Names}} {{.State}}'").splitlines())
    wanted = dict.fromkeys(("always", "unless-stopped", "on-failure"), "running")
    assert listed == wanted | dict.fromkeys(("polite", "plain", "stopped"), "exited")
    assert state(booted, "polite")["ExitCode"] == 7
    assert state(booted, "plain")["ExitCode"] != 0
    assert said(booted, "always") == ["up", "asked", "up"]
    booted.ok("systemctl --user disable rootless-resume.service")
    remove_all(booted)


def test_power_cut_of_running_containers(booted: Machine) -> None:
    """What ran is known to run no more, with an exit code that is no success, and can be started again."""
    booted.ok(f"{RUN} --name cut {IMAGE} sleep 1000; {RUN} --rm --name rm {IMAGE} sleep 1000; sync")
    booted.cut_power()
    booted.boot()
    found = state(booted, "cut")
    assert (found["Status"], found["Running"], found["Pid"]) == ("exited", False, 0)
    assert found["ExitCode"] != 0
    assert booted.ok("rootless ps --quiet") == ""
    booted.ok("rootless start cut && rootless exec cut true")
    booted.ok(f"{RUN} --name rm {IMAGE} true")  # the name is free
    remove_all(booted)
