"""config.md, "POSIX-platform Hooks"; runtime.md, "Lifecycle": when each hook runs, where, and what a failure means."""

from __future__ import annotations

import json
import shlex
import time
from typing import Any

import pytest

from tests.conformance.support import Box, namespace_id, until

HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
IN_RUNTIME = ("prestart", "createRuntime", "poststart", "poststop")


def trace(box: Box, moment: str) -> str:
    """The file into which hooks write, by its name where the hook runs."""
    return "/trace" if moment == "startContainer" else str(box.root / "trace")


def lines(box: Box) -> list[str]:
    path = box.root / "trace"
    return path.read_text().splitlines() if path.exists() else []


def note(box: Box, moment: str, script: str, **more: Any) -> None:
    """A hook that writes a line of its moment and what ``script`` prints."""
    box.hook(moment, f'echo "{moment} $({script})" >>{trace(box, moment)}', **more)


def states(box: Box) -> dict[str, dict[str, Any]]:
    return {moment: json.loads(text) for moment, _, text in (line.partition(" ") for line in lines(box))}


def test_all_run_in_order(box: Box) -> None:
    for moment in reversed(HOOKS):
        note(box, moment, "true")
    box.sh("echo program >>/trace; sleep 0.2")
    seen = [line.strip() for line in lines(box)]
    # The program and poststart are not in order with each other.
    assert [word for word in seen if word != "program"] == list(HOOKS)
    assert HOOKS.index("startContainer") < seen.index("program") < len(seen) - 1


def test_which_operation_runs_which(box: Box) -> None:
    for moment in HOOKS:
        note(box, moment, "true")
    box.create("sleep", "1000")
    assert [line.strip() for line in lines(box)] == ["prestart", "createRuntime", "createContainer"]
    box.start()
    until(lambda: len(lines(box)) == 5)
    assert [line.strip() for line in lines(box)[3:]] == ["startContainer", "poststart"]
    box.stop()
    assert len(lines(box)) == 5
    box.delete()
    assert lines(box)[5].strip() == "poststop"


def test_several_of_a_kind_run_in_order(box: Box) -> None:
    for moment in HOOKS:
        for number in (1, 2, 3):
            note(box, moment, f"echo {number}")
    box.output("true")
    for moment in HOOKS:
        assert [line for line in lines(box) if line.startswith(moment)] == [f"{moment} {n}" for n in (1, 2, 3)]


@pytest.mark.parametrize("moment", HOOKS)
def test_state_on_standard_input(box: Box, moment: str) -> None:
    box.config["annotations"] = {"a": "b c"}
    note(box, moment, "cat")
    box.output("sleep", "0.1")
    state = states(box)[moment]
    assert state["id"] == box.id and state["bundle"] == str(box.bundle)
    assert state["ociVersion"].startswith("1.") and state["annotations"] == {"a": "b c"}


STATUS = {
    "prestart": "creating",
    "createRuntime": "creating",
    "createContainer": "creating",
    "startContainer": "created",
    "poststart": "running",
    "poststop": "stopped",
}


@pytest.mark.parametrize("moment", HOOKS)
def test_status(box: Box, moment: str) -> None:
    note(box, moment, "cat")
    box.output("sleep", "0.1")
    assert states(box)[moment]["status"] == STATUS[moment]


@pytest.mark.parametrize("moment", ["prestart", "createRuntime", "poststart"])
def test_pid_is_the_hosts(box: Box, moment: str) -> None:
    note(box, moment, "cat")
    box.launch("sleep", "1000")
    until(lambda: bool(lines(box)))
    assert states(box)[moment]["pid"] == box.pid


@pytest.mark.parametrize("moment", HOOKS)
def test_namespaces(box: Box, moment: str) -> None:
    note(box, moment, "readlink /proc/self/ns/net")
    box.output("sleep", "0.1")
    (line,) = lines(box)
    assert (line.split()[1] == namespace_id("self", "net")) == (moment in IN_RUNTIME)


def test_create_runtime_can_enter_the_container(box: Box) -> None:
    pid = "$(tr -d '\\n' | sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/')"
    note(box, "createRuntime", f"echo $(readlink /proc/{pid}/ns/net) $(readlink /proc/self/ns/net)")
    box.sleep()
    _, container, runtime = lines(box)[0].split()
    assert container == namespace_id(box.pid, "net") and runtime == namespace_id("self", "net")


def test_path_is_of_the_runtime_or_of_the_container(box: Box) -> None:
    (box.root / "bin/inside").write_text("#!/bin/sh\necho inside >>/trace\n")
    (box.root / "bin/inside").chmod(0o755)
    (box.home / "outside").write_text(f"#!/bin/sh\necho outside >>{box.root}/trace\n")
    (box.home / "outside").chmod(0o755)
    box.config["hooks"] = {
        "createRuntime": [{"path": str(box.home / "outside")}],
        "createContainer": [{"path": str(box.home / "outside")}],
        "startContainer": [{"path": "/bin/inside"}],
    }
    box.output("true")
    assert lines(box) == ["outside", "outside", "inside"]


def test_create_container_sees_the_mounts_before_the_root_changes(box: Box) -> None:
    (box.home / "data").mkdir()
    (box.home / "data/file").write_text("mounted")
    box.bind(box.home / "data", "/data")
    note(box, "createContainer", f"cat {box.root}/data/file; ls -d {box.home}/data")
    box.output("true")
    assert lines(box)[0].startswith("createContainer mounted") and str(box.home) in " ".join(lines(box))


@pytest.mark.parametrize("moment", [name for name in HOOKS if name != "startContainer"])
def test_state_may_be_left_unread(box: Box, moment: str) -> None:
    box.config["annotations"] = {f"org.example.{number}": "x" * 1000 for number in range(200)}
    box.hook(moment, f"echo ran >>{trace(box, moment)}")
    box.output("true")
    assert lines(box) == ["ran"]


def test_arguments_and_environment(box: Box) -> None:
    box.environment["LEAKED"] = "1"
    box.hook("createRuntime", f'echo "$0 $1"; env >{trace(box, "createRuntime")}')
    box.config["hooks"]["createRuntime"][0] |= {"env": ["A=1", "PATH=/usr/bin:/bin"]}
    box.output("true")
    names = {line.partition("=")[0] for line in lines(box)}
    assert "A=1" in lines(box) and "LEAKED" not in names


@pytest.mark.parametrize("moment", ["prestart", "createRuntime", "createContainer"])
def test_failure_before_the_end_of_create(box: Box, moment: str) -> None:
    box.hook(moment, "cat >/dev/null; echo complaint >&2; exit 3")
    error = box.refused()
    assert error.strip()


@pytest.mark.parametrize("moment", ["prestart", "createRuntime", "createContainer"])
def test_failure_runs_poststop(box: Box, moment: str) -> None:
    box.hook(moment, "cat >/dev/null; exit 3")
    note(box, "poststop", "true")
    box.refused()
    assert [line.strip() for line in lines(box)] == ["poststop"]


def test_failure_of_start_container(box: Box) -> None:
    box.hook("startContainer", "cat >/dev/null; exit 3")
    note(box, "poststop", "true")
    box.create("touch", "/ran")
    box.call("start", box.id)  # the peers return before the hook has run
    box.wait()
    assert not (box.root / "ran").exists()
    box.call("delete", "--force", box.id)
    assert box.status() == "absent" and [line.strip() for line in lines(box)] == ["poststop"]


def test_failure_of_poststart(box: Box) -> None:
    box.hook("poststart", "cat >/dev/null; exit 3")
    note(box, "poststart", "true")
    note(box, "poststop", "true")
    box.create("sleep", "1000")
    box.fails("start", box.id)
    assert box.wait() == 137
    box.call("delete", "--force", box.id)
    assert box.status() == "absent" and [line.strip() for line in lines(box)] == ["poststop"]


@pytest.mark.parametrize("moment", ["startContainer", "poststart"])
def test_failure_in_run_runs_poststop_once(box: Box, moment: str) -> None:
    box.hook(moment, "cat >/dev/null; exit 3")
    note(box, "poststop", "true")
    box.process["args"] = ["sleep", "1000"]
    assert box.run().code != 0
    assert box.status() == "absent" and [line.strip() for line in lines(box)] == ["poststop"]


def test_failure_of_poststop_is_no_failure(box: Box) -> None:
    box.hook("poststop", "cat >/dev/null; exit 3")
    note(box, "poststop", "true")
    box.launch("true")
    box.wait()
    box.until_status("stopped")
    box.delete()
    assert box.status() == "absent" and [line.strip() for line in lines(box)] == ["poststop"]


@pytest.mark.parametrize("moment", ["prestart", "createRuntime", "createContainer", "startContainer"])
def test_later_hooks_do_not_run_after_a_failure(box: Box, moment: str) -> None:
    box.hook(moment, "cat >/dev/null; exit 3")
    note(box, moment, "true")
    box.process["args"] = ["true"]
    assert box.run().code != 0
    assert lines(box) == []


@pytest.mark.parametrize("moment", ["prestart", "createRuntime", "createContainer", "startContainer"])
def test_timeout(box: Box, moment: str) -> None:
    box.hook(moment, "exec sleep 30", timeout=1)
    began = time.monotonic()
    box.process["args"] = ["true"]
    assert box.run().code != 0
    assert time.monotonic() - began < 10
    assert box.status() == "absent"


def test_timeout_of_poststop(box: Box) -> None:
    box.hook("poststop", "exec sleep 30", timeout=1)
    began = time.monotonic()
    box.output("true")
    assert time.monotonic() - began < 10
    assert box.status() == "absent"


@pytest.mark.parametrize("seconds", [0, -1])
def test_timeout_that_is_not_positive(box: Box, seconds: int) -> None:
    box.hook("createRuntime", "cat >/dev/null", timeout=seconds)
    box.refused()


def test_state_is_creating_while_hooks_run(box: Box) -> None:
    words = " ".join(map(shlex.quote, box.command("state", box.id)))
    exports = " ".join(f"{name}={shlex.quote(value)}" for name, value in box.environment.items())
    box.hook("createRuntime", f"cat >/dev/null; {exports} {words} >{trace(box, 'createRuntime')} 2>/dev/null; true")
    box.create("true")
    told = (box.root / "trace").read_text()
    # A container that is not there yet cannot be asked either.
    assert not told or json.loads(told)["status"] == "creating"


def test_time_that_suffices(box: Box) -> None:
    note(box, "createRuntime", "true", timeout=30)
    box.output("true")
    assert len(lines(box)) == 1


@pytest.mark.parametrize("path", ["relative", "/nowhere", "/etc/passwd"])
def test_path_that_cannot_be_run(box: Box, path: str) -> None:
    box.config["hooks"] = {"createRuntime": [{"path": path}]}
    box.refused()


def test_annotations_may_be_absent(box: Box) -> None:
    note(box, "createRuntime", "cat")
    box.output("true")
    assert not states(box)["createRuntime"].get("annotations")
