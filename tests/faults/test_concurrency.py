"""Many commands at once on one store: each works, or is told cleanly that something is in use or gone."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from tests.fakes.registry import FakeRegistry, layer
from tests.support.cli import Cli, new_cli
from tests.support.figures import Tell

pytestmark = [pytest.mark.needs("userns", "subuid", "newuidmap", "busybox"), pytest.mark.timeout(900)]
NONE = "--network=none"
RUNS = 64
PULLS = 16
ROUNDS = 200
CLEAN = ("in use", "no such", "not known", "is being", "removed", "does not exist", "there is no", "not found")
"""Words of an error that says, rightly, that another command was quicker."""


@pytest.fixture
def filled(busybox_layout: Path) -> Iterator[tuple[Cli, str]]:
    """A store of its own, and the id of its image."""
    with new_cli() as cli:
        yield cli, cli.ok("pull", "--quiet", f"oci:{busybox_layout}:latest").strip()


def test_parallel_runs(filled: tuple[Cli, str], figure: Tell) -> None:
    cli, image = filled
    with ThreadPoolExecutor(RUNS) as pool:
        done = list(pool.map(lambda n: cli.run("run", "--rm", NONE, image, "echo", str(n), timeout=300), range(RUNS)))
    failed = [each.stderr for number, each in enumerate(done) if (each.returncode, each.stdout) != (0, f"{number}\n")]
    print(*failed)
    figure("parallel `run --rm` that failed", "= 0", len(failed), of=RUNS)
    assert cli.ok("ps", "-aq") == ""
    assert cli.ok("system", "check") == ""


def test_parallel_pulls(figure: Tell) -> None:
    """Whoever comes later waits for the blobs that are under way, and takes them from the store."""
    layers = [layer({f"f{number}": os.urandom(1 << 20)}) for number in range(4)]
    with FakeRegistry() as fake, new_cli() as cli:
        fake.add_image("app", layers)
        blobs = sum(map(len, fake.blobs.values()))
        name = f"{fake.host}/app:latest"
        pull = ("pull", "--quiet", "--tls-verify=false", name)
        with ThreadPoolExecutor(PULLS) as pool:
            done = list(pool.map(lambda _: cli.run(*pull, timeout=300), range(PULLS)))
        assert {each.returncode for each in done} == {0}, [each.stderr for each in done]
        assert len({each.stdout for each in done}) == 1
        moved = sum(seen.sent for seen in fake.requests("/blobs/"))
        assert cli.ok("system", "check") == ""
    figure("bytes moved by 16 parallel pulls of one image", "≤ 1.1 times its size", round(moved / blobs, 3))


def test_everything_side_by_side(filled: tuple[Cli, str], busybox_layout: Path, figure: Tell) -> None:
    """run, pull, rmi -f and prune, all of one image, round after round."""
    cli, _ = filled
    source = f"oci:{busybox_layout}:latest"
    name = "localhost/side:1"
    commands = (
        ("run", "--rm", "--pull=never", NONE, name, "true"), ("rmi", "-f", name), ("system", "prune", "-f"),
        ("image", "prune", "-af"),
    )  # fmt: skip
    unclean: list[str] = []
    rounds = count()
    guard = threading.Lock()

    def worker() -> None:
        while True:
            with guard:
                number = next(rounds)
            if number >= ROUNDS:
                return
            pulled = cli.run("pull", "--quiet", source, timeout=300)
            told = [pulled]
            if pulled.returncode == 0:
                told.append(cli.run("tag", pulled.stdout.strip(), name, timeout=300))
            told += [cli.run(*commands[(number + turn) % len(commands)], timeout=300) for turn in range(2)]
            for done in told:
                if done.returncode != 0 and not any(word in done.stderr for word in CLEAN):
                    unclean.append(f"{done.args[-4:]}: {done.returncode}: {done.stderr}")

    threads = [threading.Thread(target=worker) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(*unclean, sep="\n")
    figure("rounds of run, pull, rmi -f and prune side by side with an unclean error", "= 0", len(unclean), of=ROUNDS)
    assert cli.ok("system", "check") == ""
    cli.ok("tag", cli.ok("pull", "--quiet", source).strip(), name)
    cli.ok("run", "--rm", NONE, name, "true")
    assert subprocess.run(["pgrep", "-f", str(cli.home)], capture_output=True, check=False).returncode == 1


