"""``rootless-oci --systemd-cgroup``: an engine names a slice and a scope, and the user's systemd makes it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.support import HIDDEN, Box, Runtime, become_subreaper, new_home, reap, until
from tests.uml.inside.session import systemctl, usage

MANAGER = f"/user.slice/user-{os.getuid()}.slice/user@{os.getuid()}.service"


@pytest.fixture
def box() -> Iterator[Box]:
    """A bundle whose container is to be the scope engine-ID.scope of a slice."""
    become_subreaper()
    with new_home() as home:
        made = Box(Runtime(("rootless-oci", "--systemd-cgroup")), home)
        made.environment = {**os.environ, "PATH": f"/opt/rootless/bin:{made.environment['PATH']}"}
        made.linux["cgroupsPath"] = f"batch.slice:engine:{made.id}"
        made.namespace("cgroup")
        made.mount("/sys/fs/cgroup", "cgroup", *HIDDEN, "ro")
        memory = {"limit": 30 << 20, "swap": 30 << 20}
        made.linux["resources"] = {"memory": memory, "pids": {"limit": 40}, "cpu": {"shares": 512}}
        disk = os.stat("/dev/ubda").st_rdev
        rate = {"major": os.major(disk), "minor": os.minor(disk), "rate": 1 << 20}
        made.linux["resources"]["blockIO"] = {"throttleWriteBpsDevice": [rate]}
        try:
            yield made
        finally:
            made.clean()
        reap()


def group_of(pid: int) -> Path:
    """The control group of a process."""
    return Path("/sys/fs/cgroup" + Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::"))


def test_whole_life(box: Box) -> None:
    """create, start, exec, update, pause, resume, events, ps, kill and delete, each felt in the scope."""
    box.create("sh", "-c", "sleep 1000 & while :; do :; done")
    group = group_of(box.pid)
    assert str(group).startswith(f"/sys/fs/cgroup{MANAGER}/batch.slice/engine-{box.id}.scope")
    shown = systemctl("show", f"engine-{box.id}.scope", "-p", "Delegate,Slice,ActiveState")
    assert set(shown.splitlines()) == {"Delegate=yes", "Slice=batch.slice", "ActiveState=active"}
    limits = {name: (group / name).read_text().strip() for name in ("memory.max", "pids.max", "cpu.weight")}
    assert limits == {"memory.max": str(30 << 20), "pids.max": "40", "cpu.weight": "59"}
    assert "wbps=1048576" in (group / "io.max").read_text()
    box.start()
    assert box.executed("cat", "/proc/self/cgroup") == "0::/\n"
    assert box.exec("tail", "/dev/zero").code == 137
    box.ok("update", "--memory", "60m", "--cpu-quota", "20000", "--pids-limit", "7", box.id)
    found = [(group / name).read_text().strip() for name in ("memory.max", "cpu.max", "pids.max")]
    assert found == [str(60 << 20), "20000 100000", "7"]
    event = json.loads(box.ok("events", "--stats", box.id))
    memory, pids = event["data"]["memory"]["usage"], event["data"]["pids"]["current"]
    assert (memory["limit"], pids, event["data"]["cpu"]["usage"]["total"] > 0) == (60 << 20, 2, True)
    box.ok("pause", box.id)
    used = usage(group)
    assert box.status() == "paused" and usage(group) - used < 0.05
    box.ok("resume", box.id)
    until(lambda: usage(group) > used, "it goes on")
    assert len(json.loads(box.ok("ps", "--format", "json", box.id))) == 2
    box.kill("KILL")
    box.wait()
    box.until_status("stopped")
    box.delete()
    until(lambda: not group.parent.exists(), "the scope has gone")


def test_out_of_memory_is_an_event(box: Box) -> None:
    """``events`` tells of the kill, as it happens."""
    box.launch("sh", "-c", "trap 'tail /dev/zero' USR1; while :; do sleep 0.1; done")
    watching = box.begin("events", "--interval", "200ms", box.id)
    until(lambda: '"stats"' in watching.texts()[0], "the first event")
    box.kill("USR1")
    until(lambda: '"type":"oom"' in watching.texts()[0].replace(" ", ""), "the event")
    box.delete("--force")
    box.wait()


def test_ends_by_itself(box: Box) -> None:
    """A container that was run leaves no scope; its name can be used again at once."""
    for _ in range(2):
        assert box.sh("cat /sys/fs/cgroup/pids.max") == "40\n"
    until(lambda: "engine-" not in systemctl("list-units", "--all", "--plain", "*.scope"), "the scope has gone")


def test_what_is_not_there_is_refused(box: Box) -> None:
    """A controller that the machine lacks, and a path in the other form; nothing is left."""
    box.linux["resources"] = {"cpu": {"cpus": "0"}}
    assert "cpuset" in box.refused()
    box.linux["cgroupsPath"] = f"/some/{box.id}"
    assert "cgroupsPath" in box.refused()
    assert "engine-" not in systemctl("list-units", "--all", "--plain", "*.scope")
