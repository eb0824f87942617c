"""runtime.md, "State": what ``state`` and ``list`` tell."""

from __future__ import annotations

import json
import os
import re

from tests.conformance.support import Box


def test_members_of_the_state(box: Box) -> None:
    box.config["annotations"] = {"org.example.key": "value", "empty": ""}
    box.create("sleep", "1000")
    state = box.state()
    assert re.fullmatch(r"1\.\d+\.\d+(-.*)?", state["ociVersion"])
    assert state["id"] == box.id and state["status"] == "created"
    assert state["bundle"] == str(box.bundle)
    assert state["annotations"] == {"org.example.key": "value", "empty": ""}
    assert os.path.exists(f"/proc/{state['pid']}")


def test_status_through_a_life(box: Box) -> None:
    seen = [box.status()]
    box.create("sleep", "1000")
    seen.append(box.status())
    box.start()
    seen.append(box.status())
    box.stop()
    seen.append(box.status())
    box.delete()
    seen.append(box.status())
    assert seen == ["absent", "created", "running", "stopped", "absent"]


def test_pid_is_the_program(box: Box) -> None:
    box.launch("sleep", "1234")
    with open(f"/proc/{box.pid}/cmdline") as line:
        assert line.read().split("\0")[:2] == ["sleep", "1234"]


def test_pid_stays_the_same_from_create_to_start(box: Box) -> None:
    box.create("sleep", "1000")
    before = box.pid
    box.start()
    assert box.pid == before


def test_pid_file(box: Box) -> None:
    box.create("sleep", "1000", flags=["--pid-file", str(box.home / "pid")])
    assert (box.home / "pid").read_text() == str(box.pid)


def test_relative_bundle(box: Box) -> None:
    box.write()
    box.ok("create", "--bundle", "../box", box.id)
    box.pids.append(box.pid)
    assert box.state()["bundle"] == str(box.bundle)


def test_without_annotations(box: Box) -> None:
    box.create("sleep", "1000")
    assert not box.state().get("annotations")


def test_list(box: Box, second: Box) -> None:
    box.sleep()
    second.create("true")
    assert sorted(box.ok("list", "-q").split()) == sorted([box.id, second.id])
    listed = {one["id"]: one for one in json.loads(box.ok("list", "--format", "json"))}
    assert {one["status"] for one in listed.values()} == {"running", "created"}
    assert listed[box.id]["pid"] == box.pid and listed[box.id]["bundle"] == str(box.bundle)
    heading, *rows = box.ok("list").splitlines()
    assert heading.split()[:3] == ["ID" if box.runtime.name != "crun" else "NAME", "PID", "STATUS"]
    assert len(rows) == 2


def test_state_directories_are_apart(box: Box, second: Box) -> None:
    box.sleep()
    assert json.loads(box.ok("state", box.id))["status"] == "running"
    words = ["--root", str(box.home / "other"), "state", box.id]
    assert box.call(*words).code != 0
