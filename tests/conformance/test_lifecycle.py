"""runtime.md, "Lifecycle" and "Operations": create, start, kill, delete, and what each refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.support import Box, until


def test_create_does_not_run_the_program(box: Box) -> None:
    box.create("touch", "/ran")
    assert box.status() == "created"
    assert not (box.root / "ran").exists()
    box.start()
    assert box.wait() == 0
    assert (box.root / "ran").exists()


def test_start_runs_the_program(box: Box) -> None:
    started = box.launch("sh", "-c", "echo is here; sleep 1000")
    assert box.status() == "running"
    until(lambda: started.texts()[0] == "is here\n")


def test_program_that_ends_is_stopped(box: Box) -> None:
    box.launch("sh", "-c", "exit 7")
    assert box.wait() == 7
    box.until_status("stopped")
    box.delete()
    assert box.status() == "absent"


def test_exit_by_signal(box: Box) -> None:
    box.launch("sleep", "1000")
    box.kill("KILL")
    assert box.wait() == 137
    box.until_status("stopped")


def test_created_container_can_be_killed(box: Box) -> None:
    box.create("sleep", "1000")
    box.kill("KILL")
    box.wait()
    box.until_status("stopped")
    box.delete()


def test_signal_reaches_the_program(box: Box) -> None:
    started = box.launch("sh", "-c", "trap 'echo got; exit 9' USR1; echo ready; while :; do sleep 0.05; done")
    until(lambda: "ready" in started.texts()[0])
    box.kill("USR1")
    assert box.wait() == 9
    assert started.texts()[0] == "ready\ngot\n"


@pytest.mark.parametrize("name", ["TERM", "SIGTERM", "15"])
def test_spellings_of_a_signal(box: Box, name: str) -> None:
    started = box.launch("sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done")
    until(lambda: "ready" in started.texts()[0])
    box.kill(name)
    assert box.wait() == 9


def test_default_signal_is_term(box: Box) -> None:
    started = box.launch("sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done")
    until(lambda: "ready" in started.texts()[0])
    box.ok("kill", box.id)
    assert box.wait() == 9


def test_unknown_signal(box: Box) -> None:
    box.sleep()
    box.fails("kill", box.id, "NOPE")
    assert box.status() == "running"


def test_start_twice(box: Box) -> None:
    box.sleep()
    box.fails("start", box.id)
    assert box.status() == "running"


def test_start_of_a_stopped_container(box: Box) -> None:
    box.launch("true")
    box.wait()
    box.until_status("stopped")
    box.fails("start", box.id)
    assert box.status() == "stopped"


def test_kill_of_a_stopped_container(box: Box) -> None:
    box.launch("true")
    box.wait()
    box.until_status("stopped")
    box.fails("kill", box.id, "KILL")
    assert box.status() == "stopped"


def test_delete_of_a_running_container(box: Box) -> None:
    box.sleep()
    box.fails("delete", box.id)
    assert box.status() == "running"


def test_delete_of_a_created_container(box: Box) -> None:
    """The specification wants an error; the peers delete it. Nothing between the two will do."""
    box.create("touch", "/ran")
    done = box.call("delete", box.id)
    assert box.status() == ("created" if done.code else "absent")
    if done.code == 0:
        box.wait()
    assert not (box.root / "ran").exists()


@pytest.mark.parametrize("started", [True, False])
def test_delete_by_force(box: Box, started: bool) -> None:
    box.create("sleep", "1000")
    if started:
        box.start()
    box.delete("--force")
    assert box.status() == "absent"
    assert box.wait() == 137


def test_delete_by_force_of_what_does_not_exist(box: Box) -> None:
    box.ok("delete", "--force", "nobody")


@pytest.mark.parametrize("verb", ["state", "start", "kill", "delete", "exec"])
def test_container_that_does_not_exist(box: Box, verb: str) -> None:
    box.fails(verb, "nobody", *{"kill": ["KILL"], "exec": ["true"]}.get(verb, []))


@pytest.mark.parametrize("verb", ["create", "state", "start", "kill", "delete", "run"])
def test_missing_id(box: Box, verb: str) -> None:
    box.write()
    assert box.call(verb).code != 0


def test_id_in_use(box: Box, second: Box) -> None:
    box.sleep()
    second.write()
    second.fails("create", "--bundle", str(second.bundle), box.id)
    assert box.status() == "running" and box.state()["bundle"] == str(box.bundle)


def test_delete_leaves_the_bundle(box: Box) -> None:
    box.bind(box.bundle, "/bundle")
    box.launch("sh", "-c", "echo text >/made")
    box.wait()
    box.until_status("stopped")
    box.delete()
    assert (box.root / "made").read_text() == "text\n" and (box.root / "bin/busybox").exists()
    assert json.loads((box.bundle / "config.json").read_text()) == box.config


def test_id_is_free_again(box: Box) -> None:
    for _ in range(2):
        box.launch("true")
        box.wait()
        box.until_status("stopped")
        box.delete()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../../escape"])
def test_bad_id(box: Box, name: str) -> None:
    box.write()
    box.fails("create", "--bundle", str(box.bundle), "--", name)


def test_two_containers_of_one_bundle(box: Box) -> None:
    box.sleep()
    other = f"{box.id}-b"
    box.ok("create", "--bundle", str(box.bundle), other)
    box.pids.append(int(json.loads(box.ok("state", other))["pid"]))
    box.ok("start", other)
    assert json.loads(box.ok("state", other))["status"] == "running"
    box.ok("delete", "--force", other)
    assert box.status() == "running"


def test_config_changed_after_create(box: Box) -> None:
    started = box.create("echo", "before")
    box.process["args"] = ["echo", "after"]
    box.write()
    box.start()
    assert box.wait() == 0
    assert started.texts()[0] == "before\n"


def test_bundle_is_the_current_directory(box: Box) -> None:
    box.write()
    box.ok("create", box.id)
    box.pids.append(box.pid)
    assert box.state()["bundle"] == str(box.bundle)


def test_bundle_that_does_not_exist(box: Box) -> None:
    box.fails("create", "--bundle", "/nowhere", box.id)
    assert box.status() == "absent"


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"ociVersion": 1}'])
def test_config_that_is_none(box: Box, text: str | None) -> None:
    if text is not None:
        (box.bundle / "config.json").write_text(text)
    box.fails("create", "--bundle", str(box.bundle), box.id)
    assert box.status() == "absent"


def test_failed_create_leaves_nothing(box: Box) -> None:
    box.bind("/nowhere", "/data")
    box.write()
    before = Path("/proc/self/mountinfo").read_text()
    box.fails("create", "--bundle", str(box.bundle), box.id)
    assert box.status() == "absent"
    assert box.ok("list", "--quiet").split() == []
    assert Path("/proc/self/mountinfo").read_text() == before
    box.config["mounts"].pop()
    assert box.output("echo", "again") == "again\n"


def test_program_that_does_not_exist(box: Box) -> None:
    error = box.refused_program("/nope")
    assert "no such file" in error.lower() or "not found" in error.lower()


def test_program_that_is_not_executable(box: Box) -> None:
    error = box.refused_program("/etc/passwd").lower()
    assert "permission denied" in error or "not permitted" in error


def test_program_is_looked_up_in_path(box: Box) -> None:
    (box.root / "opt").mkdir()
    (box.root / "opt" / "mine").symlink_to("/bin/busybox")
    (box.root / "opt" / "hostname").write_text("#!/bin/sh\necho found\n")
    (box.root / "opt" / "hostname").chmod(0o755)
    box.process["env"] = ["PATH=/nowhere:/opt:/bin"]
    assert box.output("hostname") == "found\n"


def test_run_deletes_the_container(box: Box) -> None:
    assert box.output("echo", "hello") == "hello\n"
    assert box.status() == "absent"


@pytest.mark.parametrize("code", [0, 1, 42, 125, 127, 255])
def test_run_exits_as_the_program(box: Box, code: int) -> None:
    assert box.sh(f"exit {code}", code=code) == ""


def test_run_exits_by_signal(box: Box) -> None:
    started = box.begin_run("sh", "-c", "echo ready; while :; do sleep 0.05; done")
    until(lambda: "ready" in started.texts()[0])
    box.kill("KILL")
    assert started.end().code == 137


def test_run_passes_signals_on(box: Box) -> None:
    started = box.begin_run("sh", "-c", "trap 'exit 9' HUP; echo ready; while :; do sleep 0.05; done")
    until(lambda: "ready" in started.texts()[0])
    started.process.send_signal(1)
    assert started.end().code == 9


def test_run_detached(box: Box) -> None:
    box.process["args"] = ["sleep", "1000"]
    box.write()
    box.ok("run", "--detach", "--bundle", str(box.bundle), box.id)
    box.pids.append(box.pid)
    assert box.status() == "running"
    box.stop()
    box.delete()


def test_run_keeps_input_output_and_error_apart(box: Box) -> None:
    box.process["args"] = ["sh", "-c", "cat; echo error >&2"]
    done = box.run(stdin="given\n")
    assert done == (0, "given\n", "error\n")


@pytest.fixture
def pair(box: Box) -> Iterator[tuple[Box, int]]:
    """A container of two processes in the host's pid namespace, in a cgroup of its own, and the pid of the second."""
    box.host_namespace("pid")  # else the kernel ends them all with the first
    box.drop_mount("/proc")
    box.bind("/proc", "/proc")
    box.needs_cgroup()
    started = box.launch("sh", "-c", "sh -c 'echo $$; exec sleep 1000' & exec sleep 1000")
    until(lambda: started.texts()[0].endswith("\n"))
    yield box, int(started.texts()[0])


@pytest.mark.parametrize("name", ["KILL", "TERM"])
def test_kill_all(pair: tuple[Box, int], name: str) -> None:
    box, child = pair
    box.kill(name, "--all")
    box.wait()
    until(lambda: not Path(f"/proc/{child}/exe").exists())


def test_delete_ends_what_the_program_left_behind(pair: tuple[Box, int]) -> None:
    box, child = pair
    box.stop()
    box.delete("--force")
    until(lambda: not Path(f"/proc/{child}/exe").exists())


def test_end_takes_the_pid_namespace_with_it(box: Box) -> None:
    started = box.launch("sh", "-c", "sleep 1234 & echo ready; exec sleep 1000")
    until(lambda: started.texts()[0] == "ready\n")
    children = Path(f"/proc/{box.pids[0]}/task/{box.pids[0]}/children").read_text().split()
    assert len(children) == 1
    box.stop()
    until(lambda: not Path(f"/proc/{children[0]}/exe").exists())
    box.delete()
