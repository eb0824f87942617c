"""The wall clock jumps ten years: no age is negative, nothing is taken for rubbish that is not, and no wait changes."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import atomic, gc
from storage.store import Store
from tests.support.cli import CHECKOUT, Cli
from tests.support.waiting import until

pytestmark = pytest.mark.needs("subuid", "busybox")

YEARS = 10 * 365 * 86400
JUMPS = {"forward": YEARS, "back": -YEARS}
IMAGE = "localhost/busybox"
JUMPED = """
import sys, time
seconds = int(sys.argv.pop(1))
now, now_ns = time.time, time.time_ns
time.time = lambda: now() + seconds
time.time_ns = lambda: now_ns() + seconds * 1_000_000_000
from rootless.__main__ import run
run()
"""
NEGATIVE = re.compile(r"(?<![\w.:+-])-\d")


class Jumped(Cli):
    """The same user's program, whose clock is wrong by ``seconds``."""

    def __init__(self, home: Path, seconds: int) -> None:
        super().__init__(home)
        self.seconds = seconds

    def command(self, *arguments: str) -> list[str]:
        started = ["env", "ROOTLESS_PROGRAM=rootless", f"PYTHONPATH={CHECKOUT}", sys.executable, "-c", JUMPED]
        return [*started, str(self.seconds), *arguments]


@pytest.fixture
def containers(shared_cli: Cli) -> Iterator[Cli]:
    yield shared_cli
    shared_cli.ok("rm", "-af", "-t", "0")
    shared_cli.ok("volume", "prune", "-f")


@pytest.mark.parametrize("jump", JUMPS)
def test_no_age_is_negative(containers: Cli, jump: str) -> None:
    jumped = Jumped(containers.home, JUMPS[jump])
    for made_by, name in ((containers, "then"), (jumped, "now")):
        made_by.ok("run", "-d", "--network=none", "--name", f"up-{name}", IMAGE, "sleep", "1000")
        made_by.ok("run", "--network=none", "--name", f"ended-{name}", IMAGE, "true")
        made_by.ok("volume", "create", f"volume-{name}")
    for seen_by in (containers, jumped):
        for words in ("ps -a", "images", f"history {IMAGE}", "system df -v", "volume ls", "stats --no-stream", "info",
                      "top up-now user,pid,etime,time", "events --stream=false"):  # fmt: skip
            shown = seen_by.ok(*words.split())
            assert not NEGATIVE.search(shown.replace("up-", "").replace("ended-", "").replace("volume-", "")), shown
        rows = {row["Names"][0]: row for row in json.loads(seen_by.ok("ps", "-a", "--format", "json"))}
        assert [rows[name]["State"] for name in ("up-then", "up-now")] == ["running", "running"]
        assert [rows[name]["ExitCode"] for name in ("ended-then", "ended-now")] == [0, 0]
        seen_by.ok("inspect", "up-then", "up-now", "ended-then", "ended-now")


def test_prune_by_age(containers: Cli) -> None:
    back, forward = (Jumped(containers.home, seconds) for seconds in (-YEARS, YEARS))
    containers.ok("create", "--network=none", "--name", "made-now", IMAGE, "true")
    for cli in (containers, back):
        cli.ok("container", "prune", "-f", "--filter", "until=24h")
        assert cli.ok("ps", "-aq")
    forward.ok("container", "prune", "-f", "--filter", "until=24h")
    assert containers.ok("ps", "-aq") == ""


@pytest.mark.parametrize("jump", JUMPS)
def test_life_goes_on(containers: Cli, jump: str) -> None:
    """Begun before the jump, ended after it, and the other way round."""
    jumped = Jumped(containers.home, JUMPS[jump])
    for first, second, name in ((containers, jumped, "a"), (jumped, containers, "b")):
        flags = ("--network=none", "--timeout=600", "--stop-timeout=1", "--restart=on-failure:2", "--health-cmd=true",
                 "--health-interval=1s", "--health-start-period=1h")  # fmt: skip
        first.ok("run", "-d", "--name", name, *flags, IMAGE, "sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait")
        words = ("ps", "--filter", f"name={name}", "--format", "{{.Status}}")
        until(lambda words=words, cli=second: "healthy" in cli.ok(*words))  # type: ignore[misc]
        assert second.ok("exec", name, "echo", "alive") == "alive\n"
        second.ok("restart", "-t", "1", name)
        assert second.ok("ps", "-q", "--filter", f"name={name}", "--filter", "status=running")
        began = time.monotonic()
        second.ok("stop", name)
        assert time.monotonic() - began < 20
        state = json.loads(first.ok("inspect", name))[0]["State"]
        assert (state["Status"], state["ExitCode"], state["Running"]) == ("exited", 0, False)
        assert first.ok("wait", name) == "0\n"
        first.ok("start", name)
        second.ok("rm", "-f", "-t", "0", name)


@pytest.mark.parametrize("jump", JUMPS)
def test_a_wait_is_as_long_as_it_was(containers: Cli, jump: str) -> None:
    jumped = Jumped(containers.home, JUMPS[jump])
    began = time.monotonic()
    done = jumped.run("run", "--rm", "--network=none", "--timeout=2", IMAGE, "sleep", "30")
    assert done.returncode != 0
    assert 1.5 < time.monotonic() - began < 20


@pytest.mark.parametrize("jump", JUMPS)
def test_rubbish_goes_and_work_stays(containers: Cli, jump: str) -> None:
    """Half a download and half a file that are years from now, either way, are rubbish; those of now are not."""
    store = Store.open(str(containers.data), str(containers.home / "run" / "rootless"))
    names = [f"{store.layout.tmp}/sha256-{number:064d}.part" for number in range(2)]
    names += [f"{store.layout.images}/{atomic.TEMP_PREFIX}{number:012d}" for number in range(2)]
    for number, name in enumerate(names):
        Path(name).write_bytes(b"half")
        moment = time.time() + (JUMPS[jump] if number % 2 else 0)
        os.utime(name, (moment, moment))
    gc.sweep(store)
    assert [os.path.exists(name) for name in names] == [True, False, True, False]
    for name in names[::2]:
        os.unlink(name)
