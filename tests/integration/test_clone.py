"""`container clone`: what was made once is made again, whatever directory and environment the command is given in."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import Cli
from tests.support.copying import IMAGE, NONE, background

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")
SCRIPT = "cat /x/f /y/f; pwd; echo $GIVEN; id -u; df -k /dev/shm | tail -1 | awk '{print $2}'"


@pytest.fixture(autouse=True)
def _clean(shared_cli: Cli) -> Iterator[None]:
    yield
    shared_cli.ok("rm", "-af", "-t0")
    shared_cli.ok("volume", "rm", "-af")


def inspect(cli: Cli, name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(cli.ok("inspect", name))
    return found[0]


def test_the_same_again(shared_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "f").write_text("content\n")
    command = shared_cli.command(
        "create", NONE, "--name", "web", "-e", "GIVEN", "-v", "./here:/x:ro", "--mount", "type=bind,src=./here,dst=/y",
        "-v", "named:/n", "-w", "/srv", "-l", "a=b", "--shm-size", "1m", "-u", "1000", IMAGE, "sh", "-c", SCRIPT,
    )  # fmt: skip
    environment = {**shared_cli.environment, "GIVEN": "then"}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=60)
    expected = "content\ncontent\n/srv\nthen\n1000\n"
    assert shared_cli.ok("start", "-a", "web") == f"{expected}1024\n"
    clone = shared_cli.ok("container", "clone", "web").strip()
    assert len(clone) == 64
    assert shared_cli.ok("start", "-a", "web-clone") == f"{expected}1024\n"
    shared_cli.ok("container", "clone", "--shm-size", "2m", "web-clone", "other")
    assert shared_cli.ok("start", "-a", "other") == f"{expected}2048\n"
    ours, theirs = inspect(shared_cli, "other"), inspect(shared_cli, "web")
    for path in ("Labels", "WorkingDir", "User"):
        assert ours["Config"][path] == theirs["Config"][path]
    assert {mount["Destination"]: mount["Source"] for mount in ours["Mounts"]} == {
        mount["Destination"]: mount["Source"] for mount in theirs["Mounts"]
    }
    names = [inspect(shared_cli, shared_cli.ok("container", "clone", "web").strip())["Name"] for _ in range(2)]
    assert names == ["web-clone1", "web-clone2"]


def test_another_image(shared_cli: Cli) -> None:
    shared_cli.ok("run", NONE, "--name", "c", IMAGE, "sh", "-c", "echo new > /srv/new")
    image = shared_cli.ok("commit", "-q", "c", "changed").strip()
    shared_cli.ok("create", NONE, "--name", "d", IMAGE, "cat", "/srv/new")
    shared_cli.ok("container", "clone", "d", "e", "changed")
    assert shared_cli.ok("start", "-a", "e") == "new\n"
    shared_cli.ok("rm", "e")
    shared_cli.ok("rmi", "-f", image)


def test_destroy_and_run(shared_cli: Cli) -> None:
    background(shared_cli, "c", "--stop-timeout", "0")
    assert "running" in shared_cli.fails(125, "container", "clone", "--destroy", "c")
    assert "--destroy" in shared_cli.fails(125, "container", "clone", "--force", "c")
    assert "no such container" in shared_cli.fails(125, "container", "clone", "nope")
    assert shared_cli.ok("ps", "-a", "--format", "{{.Names}}") == "c\n"
    shared_cli.ok("container", "clone", "--destroy", "--force", "--run", "--name", "d", "c")
    assert shared_cli.ok("ps", "--format", "{{.Names}} {{.Command}}") == "d sleep 1000\n"
