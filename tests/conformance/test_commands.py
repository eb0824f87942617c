"""The other commands of runc's command line: ps, pause, resume, update, events, features, spec, logs, exit codes."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.conformance.support import HIDDEN, Box, Cgroup, until


def cgroup_of(pid: int) -> Path:
    text = Path(f"/proc/{pid}/cgroup").read_text()
    return Path("/sys/fs/cgroup") / text.rpartition("::")[2].strip().lstrip("/")


def test_ps(box: Box, cgroup: Cgroup) -> None:
    started = box.launch("sh", "-c", "sleep 1000 & echo ready; exec sleep 1000")
    until(lambda: started.texts()[0] == "ready\n")
    pids = json.loads(box.ok("ps", "--format", "json", box.id))
    assert box.pid in pids and len(pids) == 2


def test_pause_and_resume(box: Box, cgroup: Cgroup) -> None:
    started = box.launch("sh", "-c", "while :; do echo tick; sleep 0.02; done")
    until(lambda: "tick" in started.texts()[0])
    box.ok("pause", box.id)
    assert box.status() == "paused"
    assert "frozen 1" in (cgroup_of(box.pid) / "cgroup.events").read_text()
    box.ok("resume", box.id)
    assert box.status() == "running"
    before = len(started.texts()[0])
    until(lambda: len(started.texts()[0]) > before)


def test_killed_while_paused(box: Box, cgroup: Cgroup) -> None:
    box.sleep()
    box.ok("pause", box.id)
    box.kill("KILL")
    box.wait()
    box.until_status("stopped")


def test_deleted_by_force_while_paused(box: Box, cgroup: Cgroup) -> None:
    box.sleep()
    box.ok("pause", box.id)
    box.delete("--force")
    box.wait()
    assert not cgroup.directory.exists()


def test_exec_in_a_paused_container(box: Box, cgroup: Cgroup) -> None:
    box.sleep()
    box.ok("pause", box.id)
    box.fails("exec", box.id, "true")


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_pause_of_a_stopped_container(box: Box, cgroup: Cgroup, verb: str) -> None:
    box.launch("true")
    box.wait()
    box.until_status("stopped")
    box.fails(verb, box.id)


def test_resume_of_a_running_container(box: Box, cgroup: Cgroup) -> None:
    box.sleep()
    box.fails("resume", box.id)


def test_cgroup_path_is_used_and_removed(box: Box, cgroup: Cgroup) -> None:
    box.sleep()
    own = cgroup_of(box.pid)
    assert cgroup.directory == own or cgroup.directory in own.parents
    box.stop()
    box.delete()
    assert not cgroup.directory.exists()


def test_failed_create_leaves_no_cgroup(box: Box, cgroup: Cgroup) -> None:
    box.bind("/nowhere", "/data")
    box.refused()
    assert not cgroup.directory.exists()


def test_exec_joins_the_cgroup(box: Box, cgroup: Cgroup) -> None:
    box.sleep()
    box.ok("exec", "--detach", "--pid-file", str(box.home / "pid"), box.id, "sleep", "1000")
    pid = int((box.home / "pid").read_text())
    assert cgroup_of(pid) == cgroup_of(box.pid)
    os.kill(pid, 9)


def test_kill_all_by_cgroup(box: Box, cgroup: Cgroup) -> None:
    box.sleep()
    box.ok("exec", "--detach", "--pid-file", str(box.home / "pid"), box.id, "sleep", "1000")
    pid = int((box.home / "pid").read_text())
    box.kill("KILL", "--all")
    until(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid)  # else its namespace could not end
    box.wait()


def test_unified(box: Box, cgroup: Cgroup) -> None:
    box.linux["resources"] = {"unified": {"cgroup.max.descendants": "7", "cgroup.max.depth": "3"}}
    box.sleep()
    found = cgroup_of(box.pid)
    assert (found / "cgroup.max.descendants").read_text() == "7\n"
    assert (found / "cgroup.max.depth").read_text() == "3\n"


@pytest.mark.parametrize("given", [{"nonsense.max": "1"}, {"../cgroup.procs": "1"}, {"cgroup.max.depth": "nonsense"}])
def test_refused_unified(box: Box, cgroup: Cgroup, given: dict[str, str]) -> None:
    box.linux["resources"] = {"unified": given}
    box.refused()
    assert not cgroup.directory.exists()


@pytest.mark.as_root
def test_cgroup_is_owned_by_the_containers_root(box: Box, cgroup: Cgroup) -> None:
    """config-linux.md, "Cgroup ownership": with a cgroup namespace and a writable mount of its tree."""
    box.map_users()
    box.mount("/sys/fs/cgroup", "cgroup", *HIDDEN, "relatime", "rw", source="cgroup")
    assert box.sh("mkdir /sys/fs/cgroup/below && stat -c '%u %n' /sys/fs/cgroup/cgroup.procs") == (
        "0 /sys/fs/cgroup/cgroup.procs\n"
    )


CONVERTED = [
    ("pids", {"pids": {"limit": 20}}, "pids.max", "20"),
    ("pids", {"pids": {"limit": -1}}, "pids.max", "max"),
    ("memory", {"memory": {"limit": 64 << 20}}, "memory.max", str(64 << 20)),
    ("memory", {"memory": {"limit": 64 << 20, "swap": 96 << 20}}, "memory.swap.max", str(32 << 20)),
    ("memory", {"memory": {"reservation": 32 << 20}}, "memory.low", str(32 << 20)),
    ("memory", {"unified": {"memory.high": str(48 << 20)}}, "memory.high", str(48 << 20)),
    ("cpu", {"cpu": {"quota": 50000, "period": 100000}}, "cpu.max", "50000 100000"),
    ("cpu", {"cpu": {"shares": 1024}}, "cpu.weight", "100"),
    ("cpu", {"cpu": {"shares": 2}}, "cpu.weight", "1"),
    ("cpu", {"cpu": {"idle": 1}}, "cpu.idle", "1"),
    ("cpu", {"cpu": {"quota": 50000, "period": 100000, "burst": 10000}}, "cpu.max.burst", "10000"),
    ("cpuset", {"cpu": {"cpus": "0"}}, "cpuset.cpus", "0"),
    ("memory", {"memory": {"limit": 64 << 20, "swap": -1}}, "memory.swap.max", "max"),
    ("io", {"blockIO": {"weight": 500}}, "io.weight", "default 4950"),
    ("hugetlb", {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]}, "hugetlb.2MB.max", str(4 << 20)),
]


@pytest.mark.parametrize(("controller", "resources", "name", "value"), CONVERTED)
def test_resources(
    box: Box, cgroup: Cgroup, controller: str, resources: dict[str, object], name: str, value: str
) -> None:
    if controller not in cgroup.controllers:
        pytest.skip(f"needs the {controller} controller in a group of one's own")
    if not (cgroup.directory.parent / name).exists():
        pytest.skip(f"needs {name}, which this kernel does not have")
    box.linux["resources"] = resources
    box.sleep()
    assert (cgroup_of(box.pid) / name).read_text().strip() == value


@pytest.mark.parametrize("given", ["-", "file"])
def test_update(box: Box, cgroup: Cgroup, given: str) -> None:
    if "pids" not in cgroup.controllers:
        pytest.skip("needs the pids controller in a group of one's own")
    box.sleep()
    text = json.dumps({"pids": {"limit": 33}})
    (box.home / "file").write_text(text)
    path = "-" if given == "-" else str(box.home / "file")
    box.ok("update", "--resources", path, box.id, stdin=text)
    assert (cgroup_of(box.pid) / "pids.max").read_text() == "33\n"


def test_update_of_unified(box: Box, cgroup: Cgroup) -> None:
    box.sleep()
    text = json.dumps({"unified": {"cgroup.max.depth": "9"}})
    box.ok("update", "--resources", "-", box.id, stdin=text)
    assert (cgroup_of(box.pid) / "cgroup.max.depth").read_text() == "9\n"


def test_allowed_devices_are_accepted(box: Box) -> None:
    box.linux["resources"] = {
        "devices": [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"},
        ]
    }
    assert box.sh("echo x >/dev/null; echo ran") == "ran\n"


def test_events(box: Box, cgroup: Cgroup) -> None:
    box.sleep()
    event = json.loads(box.ok("events", "--stats", box.id))
    assert event["type"] == "stats" and event["id"] == box.id and "data" in event


def test_features(box: Box) -> None:
    found = json.loads(box.ok("features"))
    assert found["ociVersionMin"] == "1.0.0" and re.match(r"1\.\d+\.\d+", found["ociVersionMax"])
    assert {"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"} == set(
        found["hooks"]
    )
    assert {"bind", "rbind", "ro", "nosuid", "rprivate"} <= set(found["mountOptions"])
    assert {"user", "mount", "pid", "network", "ipc", "uts", "cgroup"} <= set(found["linux"]["namespaces"])
    assert "CAP_SYS_ADMIN" in found["linux"]["capabilities"]
    assert "SCMP_ACT_ERRNO" in found["linux"]["seccomp"]["actions"]


def test_features_that_are_said_are_there(box: Box) -> None:
    """What ``features`` says of the version is what it accepts."""
    found = json.loads(box.ok("features"))
    box.config["ociVersion"] = found["ociVersionMax"]
    assert box.output("echo", "ran") == "ran\n"


@pytest.mark.parametrize("rootless", [True, pytest.param(False, marks=pytest.mark.as_root)])
def test_spec_runs_as_it_is(box: Box, rootless: bool) -> None:
    words = ["spec", *["--rootless"] * rootless]
    box.ok(*words)
    written = json.loads((box.bundle / "config.json").read_text())
    written["process"] |= {"terminal": False, "args": ["echo", "ran"]}
    box.config = written
    if rootless and os.getuid() == 0:
        return
    assert box.output("echo", "ran") == "ran\n"


def test_spec_replaces_nothing(box: Box) -> None:
    (box.bundle / "config.json").write_text("mine")
    assert box.call("spec").code != 0
    assert (box.bundle / "config.json").read_text() == "mine"


def test_version(box: Box) -> None:
    first, *_ = box.ok("--version").splitlines()
    assert re.match(r"\S+ version \d+\.\d+", first)


def test_json_log(box: Box) -> None:
    log = box.home / "log"
    words = ["--log", str(log), "--log-format", "json"]
    assert box.call(*words, "state", "nobody").code != 0
    box.bind("/nowhere", "/data")
    box.write()
    assert box.call(*words, "create", "--bundle", str(box.bundle), box.id).code != 0
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert all({"level", "msg", "time"} <= set(entry) for entry in entries)
    errors = [entry["msg"] for entry in entries if entry["level"] == "error"]
    assert len(errors) >= 2 and "nowhere" in errors[-1]


def test_json_log_of_a_missing_program(box: Box) -> None:
    """By these words engines choose their exit code 127."""
    log = box.home / "log"
    box.process["args"] = ["nope"]
    box.write()
    words = ["--log", str(log), "--log-format", "json"]
    if box.call(*words, "create", "--bundle", str(box.bundle), box.id).code == 0:
        assert box.call(*words, "start", box.id).code != 0
    assert re.search("executable file .*not found in|no such file or directory", log.read_text(), re.I)


def test_text_log(box: Box) -> None:
    log = box.home / "log"
    assert box.call("--log", str(log), "state", "nobody").code != 0
    assert log.read_text().strip()


def test_silent_success(box: Box) -> None:
    done = box.run()
    assert done == (0, "", "")


@pytest.mark.parametrize("words", [["nonsense"], ["--nonsense", "list"], ["create", "--nonsense", "x"]])
def test_unknown_word(box: Box, words: list[str]) -> None:
    done = box.call(*words)
    assert done.code != 0 and "nonsense" in done.err + done.out


@pytest.mark.parametrize("flag", ["--no-pivot", "--no-new-keyring"])
def test_flags_of_engines(box: Box, flag: str) -> None:
    box.create("true", flags=[flag])
    box.start()
    assert box.wait() == 0
