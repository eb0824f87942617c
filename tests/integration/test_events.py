"""``events``: what the commands put down, told again, filtered, followed through the rotation of the log."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import eventlog
from tests.integration.test_run_flags import IMAGE
from tests.support.cli import Cli

NONE = "--network=none"


def told(cli: Cli, *arguments: str) -> list[dict[str, object]]:
    lines = cli.ok("events", "--stream=false", "--format", "json", *arguments).splitlines()
    return [json.loads(line) for line in lines]


def statuses(cli: Cli, *filters: str) -> list[object]:
    return [event["Status"] for event in told(cli, *(f"--filter={word}" for word in filters))]


@pytest.fixture
def following(cli: Cli) -> Iterator[subprocess.Popen[bytes]]:
    """An ``events`` that is known to listen."""
    cli.ok("volume", "create", "first")
    child = cli.popen("events", "--since", "1h", "--format", "{{.Status}} {{.Name}}")
    assert child.stdout is not None and child.stdout.readline() == b"create first\n"
    yield child
    child.kill()
    child.communicate()


def test_volumes(cli: Cli) -> None:
    cli.ok("volume", "create", "one")
    cli.ok("volume", "create", "two")
    cli.ok("volume", "rm", "one")
    cli.ok("volume", "prune", "--force")
    assert statuses(cli) == ["create", "create", "remove", "remove", "prune"]
    assert statuses(cli, "volume=one") == ["create", "remove"]
    assert statuses(cli, "type=container") == []
    assert statuses(cli, "event=create", "event=prune", "volume=two") == ["create", "prune"]
    human = cli.ok("events", "--stream=false", "--filter", "volume=one").splitlines()
    assert human[0].endswith(" volume create one") and human[0][:2] == "20"


@pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")
def test_containers(cli: Cli, busybox_layout: Path) -> None:
    image = cli.ok("pull", "--quiet", f"oci:{busybox_layout}:latest").strip()
    cli.ok("tag", image, IMAGE)
    made = cli.ok("create", NONE, "--name", "web", "--label", "tier=front", IMAGE, "true").strip()
    cli.ok("rename", "web", "shop")
    cli.ok("rm", "shop")
    assert statuses(cli, "image=" + image[:8]) == ["pull", "tag"]
    assert set(statuses(cli, f"container={made[:12]}")) >= {"create", "rename"}
    created = told(cli, "--filter", "label=tier=front", "--filter", "event=create")
    assert [event["ID"] for event in created] == [made]
    assert created[0]["Attributes"] == {"tier": "front", "maker": "tests"} and created[0]["Name"] == "web"
    assert str(created[0]["Image"]).startswith(IMAGE) and isinstance(created[0]["timeNano"], int)
    human = cli.ok("events", "--stream=false", "--filter", "event=create", "--filter", "type=container", "--no-trunc=0")
    assert f" container create {made[:12]} (image={created[0]['Image']}, name=web, maker=tests, tier=front)\n" in human
    cli.ok("rmi", IMAGE)
    assert "untag" in statuses(cli, "type=image")


def test_times(cli: Cli) -> None:
    cli.ok("volume", "create", "v")
    moment = told(cli)[0]["timeNano"]
    assert isinstance(moment, int)
    second = moment // 10**9
    assert len(told(cli, "--since", "1m")) == 1 and told(cli, "--since", "-1m") == []
    assert len(told(cli, "--since", f"{second}")) == 1 and told(cli, "--since", f"{second + 60}") == []
    assert told(cli, "--until", "-1h") == [] and len(told(cli, "--until", "1h")) == 1
    assert told(cli, "--until", "2001-01-01T00:00:00Z") == []
    # With an end in the past there is nothing to wait for.
    assert cli.ok("events", "--since", "1h", "--until", f"{second + 1}", "--format", "{{.Name}}") == "v\n"
    cli.fails(125, "events", "--since", "yesterday")
    cli.fails(125, "events", "--filter", "colour=red")
    cli.fails(125, "events", "--filter", "container")


def test_following(cli: Cli, following: subprocess.Popen[bytes]) -> None:
    cli.ok("volume", "create", "second")
    assert following.stdout is not None and following.stdout.readline() == b"create second\n"
    log = str(cli.data / "events.log")
    eventlog.append(log, "volume", "create", "", "third", max_size=1)
    assert os.path.exists(log + ".1") and not os.path.exists(log + ".2")
    eventlog.append(log, "volume", "create", "", "fourth")
    assert [following.stdout.readline() for _ in range(2)] == [b"create third\n", b"create fourth\n"]


def test_following_waits_without_work(cli: Cli, following: subprocess.Popen[bytes]) -> None:
    def ticks() -> int:
        fields = Path(f"/proc/{following.pid}/stat").read_text().rpartition(") ")[2].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    threading.Event().wait(2.5)
    assert ticks() - before <= 2  # hundredths of a second


def test_damaged_lines_are_skipped(cli: Cli) -> None:
    cli.ok("volume", "create", "good")
    with open(cli.data / "events.log", "ab") as log:
        log.write(b'{"timeNano":1,"Type":"vol\n\xff\xfe\n[]\n{"timeNano":"x"}\n')
    cli.ok("volume", "create", "better")
    assert [event["Name"] for event in told(cli)] == ["good", "better"]


def test_a_log_that_cannot_be_written_fails_no_command(cli: Cli) -> None:
    cli.ok("volume", "ls")
    (cli.data / "events.log").mkdir()
    assert cli.ok("volume", "create", "v") == "v\n"
