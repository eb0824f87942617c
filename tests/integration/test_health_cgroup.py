"""Health checks of a container with a control group: they are in it, and a paused container is not checked."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_cgroups import detached, group, take_image
from tests.integration.test_detached import eventually
from tests.support.delegation import Delegated, delegated

pytestmark = pytest.mark.as_root
IMAGE = "localhost/busybox"


@pytest.fixture(scope="module")
def cli(busybox_layout: Path) -> Iterator[Delegated]:
    """The program in a delegated tree."""
    with delegated() as found:
        take_image(found, busybox_layout)
        yield found


@pytest.fixture(autouse=True)
def _clean(cli: Delegated) -> Iterator[None]:
    yield
    cli.ok("rm", "-af", "-t", "0")


def health(cli: Delegated) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cli.ok("inspect", "h"))[0]["State"]["Health"]
    return found


def processes(directory: Path) -> list[str]:
    """The pids in a control group."""
    return (directory / "cgroup.procs").read_text().split()


def test_a_check_is_in_the_containers_group(cli: Delegated) -> None:
    detached(cli, "--name=h", "--health-cmd=cat /proc/self/cgroup; sleep 1000", "--health-interval=disable",
             "--health-timeout=5s", IMAGE, "sleep", "1000")  # fmt: skip
    own = group(cli, "h")
    before = processes(own)
    caller = cli.popen("healthcheck", "run", "h")
    eventually(lambda: len(processes(own)) > len(before), "it runs")
    assert caller.communicate(timeout=30)[0] == b"unhealthy\n"
    assert "0::/\n" in health(cli)["Log"][0]["Output"], "it sees its group as the root, as the container does"
    assert processes(own) == before


def test_a_check_is_under_the_containers_limits(cli: Delegated) -> None:
    detached(cli, "--name=h", "--health-cmd=true & true & true & true; wait", "--health-interval=disable",
             "--pids-limit=3", IMAGE, "sleep", "1000")  # fmt: skip
    assert cli.run("healthcheck", "run", "h").returncode == 1
    assert "fork" in health(cli)["Log"][0]["Output"]


def test_a_paused_container_is_not_checked(cli: Delegated) -> None:
    detached(cli, "--name=h", "--health-cmd=true", "--health-interval=200ms", IMAGE, "sleep", "1000")
    cli.ok("wait", "--condition=healthy", "h")
    cli.ok("pause", "h")
    time.sleep(1)
    before = health(cli)
    assert "paused" in cli.fails(125, "healthcheck", "run", "h")
    time.sleep(2)
    assert health(cli) == before
    cli.ok("unpause", "h")
    eventually(lambda: health(cli)["Log"][-1] != before["Log"][-1], "checks go on")
    assert health(cli)["Status"] == "healthy"


def test_a_check_in_a_container_that_is_paused_meanwhile_has_no_result(cli: Delegated) -> None:
    detached(cli, "--name=h", "--health-cmd=sleep 1000", "--health-interval=disable", "--health-timeout=5s", IMAGE,
             "sleep", "1000")  # fmt: skip
    own = group(cli, "h")
    before = processes(own)
    caller = cli.popen("healthcheck", "run", "h")
    eventually(lambda: len(processes(own)) > len(before), "it runs")
    cli.ok("pause", "h")
    told = caller.communicate(timeout=30)[1]
    assert b"paused" in told, told
    cli.ok("unpause", "h")
    assert health(cli)["Log"] is None
    assert processes(own) == before
