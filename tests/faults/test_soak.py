"""A store that is used for long, or by many: nothing is left behind, and what is there does not slow the rest."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.cli import Cli
from tests.support.figures import Tell, amount

pytestmark = [pytest.mark.needs("userns", "subuid", "newuidmap", "busybox"), pytest.mark.timeout(3600)]
IMAGE = "localhost/busybox"
CYCLES = amount(300, 2000)
DEFINED = amount(300, 3000)


def left(cli: Cli) -> dict[str, object]:
    """What a run could leave: paths, mounts, processes."""
    paths = {
        os.path.join(parent, name)
        for top in (cli.home / "data", cli.home / "run", cli.home / "cache")
        for parent, directories, files in os.walk(top)
        for name in (*directories, *files)
        if "events" not in name
    }
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(cli.home) in line]
    own = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(cli.home).encode() in (entry / "environ").read_bytes():
                own.append((entry / "cmdline").read_bytes())
        except OSError:
            continue
    return {"paths": paths, "mounts": mounts, "processes": own}


def test_cycles_leave_nothing(shared_cli: Cli, figure: Tell) -> None:
    """`run --rm`, and `run -d`, `stop`, `rm`, again and again."""

    def cycle(number: int) -> None:
        if number % 4:
            shared_cli.ok("run", "--rm", "--network=none", IMAGE, "true", timeout=300)
        else:
            name = f"soak{number}"
            shared_cli.ok("run", "-d", "--name", name, "--network=none", IMAGE, "sleep", "100", timeout=300)
            shared_cli.ok("stop", "-t0", name, timeout=300)
            shared_cli.ok("rm", name, timeout=300)

    for number in range(2):
        cycle(number)
    before = left(shared_cli)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(cycle, range(CYCLES)))
    after = left(shared_cli)
    assert after == before
    figure("things left by cycles of run and rm: files, mounts, processes", "= 0", 0, of=CYCLES)


@pytest.mark.slow
def test_many_containers(cli: Cli, busybox_layout: Path, figure: Tell) -> None:
    """A list of many containers takes as many times longer as it has more of them, not more than that."""
    image = cli.ok("pull", "--quiet", f"oci:{busybox_layout}:latest").strip()

    def seconds() -> float:
        taken = []
        for _ in range(3):
            began = time.monotonic()
            cli.ok("ps", "-aq")
            taken.append(time.monotonic() - began)
        return min(taken)

    def define(count: int) -> None:
        first = cli.ok("create", "--network=none", image, "true").strip()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda _: cli.ok("create", "--network=none", image, "true", timeout=300), range(count - 1)))
        assert first

    empty = seconds()
    define(DEFINED // 3)
    third = seconds() - empty
    define(DEFINED - DEFINED // 3)
    whole = seconds() - empty
    assert len(cli.ok("ps", "-aq").split()) == DEFINED
    assert cli.ok("run", "--rm", "--network=none", image, "echo", "hi") == "hi\n"
    figure("`ps -a` of three times the containers takes", "≤ 5 times as long", round(whole / max(third, 0.005), 2))
    removed = cli.ok("rm", "-a", timeout=900).split()
    assert len(removed) == DEFINED
    figure("containers defined, listed and removed", f"≥ {DEFINED}", len(removed))
