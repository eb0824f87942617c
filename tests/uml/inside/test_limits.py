"""Limits that hold, because the user's systemd has the controllers."""

from __future__ import annotations

import json
import os
import time

from tests.uml.inside.session import IMAGE, Session, cgroup, systemctl, until, usage

DETACHED = ("run", "--detach", "--network", "none")
SPIN = ("sh", "-c", "while :; do :; done")


def test_scope_of_the_user_holds_the_container(rootless: Session) -> None:
    """The container is a scope of the user's systemd, which goes when the container ends."""
    identity = rootless.ok(*DETACHED, "--name", "scoped", IMAGE, "sleep", "1000").strip()
    group = cgroup(rootless, "scoped")
    assert f"user@{os.getuid()}.service" in group.parts
    assert group.parts[-2:] == (f"rootless-{identity}.scope", "container")
    assert not (group.parent / "cgroup.procs").read_text(), "systemd demands that a delegated group has no processes"
    rootless.ok("stop", "--time", "0", "scoped")
    until(lambda: not group.parent.exists(), "the scope has gone")
    assert "rootless-" not in systemctl("list-units", "--type=scope", "--plain")


def test_memory_hog_is_killed(rootless: Session) -> None:
    """Who takes more memory than he may is killed by the kernel, and it is told."""
    rootless.fails(137, "run", "--network", "none", "--name", "hog", "-m", "30m", IMAGE, "tail", "/dev/zero")
    state = json.loads(rootless.ok("inspect", "hog"))[0]["State"]
    assert state["OOMKilled"] is True
    assert state["ExitCode"] == 137


def test_memory_hog_of_rm_is_killed(rootless: Session) -> None:
    """The same without a monitor."""
    rootless.fails(137, "run", "--rm", "--network", "none", "-m", "30m", IMAGE, "tail", "/dev/zero")
    assert rootless.ok("ps", "--all", "--quiet") == ""


def test_ended_by_a_signal_is_not_out_of_memory(rootless: Session) -> None:
    """137 alone does not mean that memory was short."""
    rootless.ok(*DETACHED, "--name", "killed", "-m", "30m", IMAGE, "sleep", "1000")
    rootless.ok("kill", "killed")
    rootless.ok("wait", "killed")
    state = json.loads(rootless.ok("inspect", "killed"))[0]["State"]
    assert (state["OOMKilled"], state["ExitCode"]) == (False, 137)


def test_processes_are_bounded_row_94(rootless: Session) -> None:
    """A fork bomb stays small."""
    bomb = "(i=0; while [ $i -lt 40 ]; do sleep 1000 & i=$((i + 1)); done); exec sleep 1000"
    rootless.ok(*DETACHED, "--name", "bomb", "--pids-limit", "12", IMAGE, "sh", "-c", bomb)
    group = cgroup(rootless, "bomb")
    until(lambda: (group / "pids.events").read_text().split()[1] != "0", "the limit is met")
    assert (group / "pids.max").read_text() == "12\n"
    assert 11 <= int((group / "pids.current").read_text()) <= 12


def test_processes_are_bounded_by_default_row_94(rootless: Session) -> None:
    """As podman does, at 2048."""
    rootless.ok(*DETACHED, "--name", "plain", IMAGE, "sleep", "1000")
    assert (cgroup(rootless, "plain") / "pids.max").read_text() == "2048\n"


def test_processor_is_bounded(rootless: Session) -> None:
    """A fifth of a processor is not much more than that."""
    rootless.ok(*DETACHED, "--name", "spinner", "--cpus", "0.2", IMAGE, *SPIN)
    group = cgroup(rootless, "spinner")
    assert (group / "cpu.max").read_text() == "20000 100000\n"
    began, used = time.monotonic(), usage(group)
    time.sleep(4)
    share = (usage(group) - used) / (time.monotonic() - began)
    assert 0.05 < share < 0.35, f"it used {share:.2f} of a processor"


def test_stats_are_plausible(rootless: Session) -> None:
    """Memory, processes and processor time are those of the container."""
    work = "head -c 20m /dev/zero >/tmp/x; sleep 1000 & sleep 1000 & while :; do :; done"
    rootless.ok(*DETACHED, "--name", "busy", "-m", "64m", "--tmpfs", "/tmp", IMAGE, "sh", "-c", work)
    time.sleep(2)
    entry = json.loads(rootless.ok("stats", "--no-stream", "--format", "json", "busy"))[0]
    assert entry["name"] == "busy"
    used, limit = (part.strip() for part in entry["mem_usage"].split("/"))
    assert limit == "67.11MB"
    assert used.endswith("MB") and 20 < float(used.removesuffix("MB")) < 60
    assert int(entry["pids"]) == 3
    assert 10 < float(entry["cpu_percent"].removesuffix("%")) <= 110


def test_limits_are_changed_while_it_runs(rootless: Session) -> None:
    """``update`` reaches the running container."""
    rootless.ok(*DETACHED, "--name", "changed", "--pids-limit", "100", IMAGE, "sleep", "1000")
    group = cgroup(rootless, "changed")
    rootless.ok("update", "--memory", "40m", "--cpus", "0.5", "--pids-limit", "33", "changed")
    assert (group / "memory.max").read_text() == f"{40 << 20}\n"
    assert (group / "cpu.max").read_text() == "50000 100000\n"
    assert (group / "pids.max").read_text() == "33\n"


def test_any_other_limit(rootless: Session) -> None:
    """``--cgroup-conf`` is written as it is, shares become a weight."""
    odd = ("--cgroup-conf", "memory.high=20000000", "--cpu-shares", "2048")
    rootless.ok(*DETACHED, "--name", "odd", *odd, IMAGE, "sleep", "1000")
    group = cgroup(rootless, "odd")
    assert 19_990_000 < int((group / "memory.high").read_text()) <= 20_000_000
    assert 70 < int((group / "cpu.weight").read_text()) < 250


def test_limit_without_its_controller_is_refused(rootless: Session) -> None:
    """This kernel has no cpuset, and that is told: nothing is dropped silently, and no drop-in would help."""
    for flag in ("--cpuset-cpus", "--cpuset-mems"):
        told = rootless.fails(125, "run", "--rm", "--network", "none", flag, "0", IMAGE, "true")
        assert "the cpuset controller of control groups is not delegated" in told
        assert "hint: this machine has no cpuset controller" in told and "Delegate=" not in told


def test_without_a_group(rootless: Session) -> None:
    """``--cgroups=disabled`` leaves the container in the caller's group, and refuses limits."""
    rootless.ok(*DETACHED, "--name", "free", "--cgroups", "disabled", IMAGE, "sleep", "1000")
    assert "rootless-" not in str(cgroup(rootless, "free"))
    rootless.fails(125, "run", "--rm", "--network", "none", "--cgroups", "disabled", "-m", "30m", IMAGE, "true")


def test_exec_counts_as_the_container(rootless: Session) -> None:
    """What ``exec`` starts is in the container's group, so that its limits hold for it."""
    rootless.ok(*DETACHED, "--name", "joined", "-m", "30m", IMAGE, "sleep", "1000")
    group = cgroup(rootless, "joined")
    rootless.ok("exec", "--detach", "joined", "sleep", "1000")
    until(lambda: (group / "pids.current").read_text() == "2\n", "the process is in the container's group")
    assert rootless.run("exec", "joined", "tail", "/dev/zero").returncode == 137
