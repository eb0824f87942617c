"""The log of events: whole lines from many writers, bounded in size, and never the reason of a failure."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import eventlog


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_event(tmp_path: Path) -> None:
    path = tmp_path / "log"
    eventlog.append(str(path), "container", "died", "ab", "web", "busybox", {"k": 'a"\n'}, 137)
    eventlog.append(str(path), "volume", "create", "v")
    first, second = read(path)
    assert first.pop("timeNano") != 0 and second.pop("timeNano") != 0
    assert first == {
        "Type": "container", "Status": "died", "ID": "ab", "Name": "web", "Image": "busybox", "ContainerExitCode": 137,
        "Attributes": {"k": 'a"\n'},
    }  # fmt: skip
    assert second == {"Type": "volume", "Status": "create", "ID": "v", "Name": "", "Image": "", "Attributes": {}}
    assert path.stat().st_mode & 0o777 == 0o600


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=50), max_size=5), st.text(max_size=40))
def test_any_text_is_one_line(attributes: dict[str, str], name: str) -> None:
    line = eventlog._line("container", "create", "id", name, "", attributes, None)
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    event = json.loads(line)
    assert event["Attributes"] == attributes and event["Name"] == name


def test_many_labels_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log"
    eventlog.append(str(path), "container", "create", "id", "name", "image", {"label": "x" * eventlog.MAX_LINE})
    assert read(path)[0]["Attributes"] == {} and read(path)[0]["Name"] == "name"


def test_writers_at_once_lose_nothing_and_stay_bounded(tmp_path: Path) -> None:
    path, limit, writers, count = tmp_path / "log", 64 << 10, 4, 200
    children = []
    for writer in range(writers):
        child = os.fork()
        if not child:
            for number in range(count):
                eventlog.append(str(path), "container", "create", f"{writer}-{number}", max_size=limit)
            os._exit(0)
        children.append(child)
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    found = [event["ID"] for event in read(path) + (read(tmp_path / "log.1"))]
    assert len(set(found)) == len(found) and path.stat().st_size < limit
    assert (tmp_path / "log.1").stat().st_size < limit + 1000
    assert sorted(os.listdir(tmp_path)) == ["log", "log.1"]


def test_a_full_file_gets_its_second_name_once(tmp_path: Path) -> None:
    """Who comes late, with the renamed file still open, does not rename the fresh one over it."""
    path = str(tmp_path / "log")
    eventlog.append(path, "container", "create", "old")
    late = os.open(path, os.O_WRONLY | os.O_APPEND)
    eventlog.append(path, "container", "create", "last", max_size=1)
    eventlog.append(path, "container", "create", "new")
    eventlog._rotate(path, late)
    os.close(late)
    assert [event["ID"] for event in read(tmp_path / "log.1")] == ["old", "last"]
    assert [event["ID"] for event in read(tmp_path / "log")] == ["new"]


@pytest.mark.parametrize("place", ["missing/log", "directory", "fifo", "/dev/full"])
def test_what_cannot_be_written_is_lost(tmp_path: Path, place: str) -> None:
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    eventlog.append(str(tmp_path / place), "container", "create", "id")
    eventlog.append(str(tmp_path / "log"), "container", "create", "id", attributes={"number": 1})  # type: ignore[dict-item]
