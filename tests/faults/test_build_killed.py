"""A build that is killed at any moment: no process goes on, the store is clean, and the next build has its cache."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import Cli, new_cli
from tests.support.figures import Tell, amount

pytestmark = [pytest.mark.needs("userns", "subuid", "newuidmap", "busybox"), pytest.mark.timeout(3600)]

MOMENTS = amount(6, 100)
MARK = "0.0123454321"
FILE = f"""\
FROM localhost/busybox AS one
COPY files /one
RUN for n in 1 2 3 4 5 6; do echo $n > /n$n; sleep {MARK}; done
FROM localhost/busybox AS two
WORKDIR /made/here
RUN mkdir -p a/b && chown -R 7:8 a && sleep {MARK}
FROM localhost/busybox
COPY --from=one /one /one
COPY --from=two /made /made
RUN rm /one/f1 && sleep {MARK}
LABEL done=1
"""


@pytest.fixture
def cli(busybox_layout: Path) -> Iterator[Cli]:
    with new_cli() as made:
        image = made.ok("pull", "--quiet", f"oci:{busybox_layout}:latest").strip()
        made.ok("tag", image, "localhost/busybox:latest")
        yield made


def still_there(session: int, directory: Path) -> list[str]:
    """The processes of a build: those of its session, and its containers' commands."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{name}/cmdline").read_bytes()
            fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        known = MARK.encode() in words or os.fsencode(directory) in words
        if fields[0] != "Z" and (int(fields[3]) == session or known):
            found.append(f"{name}: {words!r}")
    return found


def test_builds_that_are_killed(cli: Cli, tmp_path: Path, figure: Tell) -> None:
    """Half of them lose their first process, half one of its workers; the moments are spread over a whole build."""
    (tmp_path / "files").mkdir()
    for number in range(20):
        (tmp_path / "files" / f"f{number}").write_text("x" * 5000)
    (tmp_path / "Containerfile").write_text(FILE)
    command = ("build", "--network=none", "-t", "made", str(tmp_path))
    begun = time.monotonic()
    cli.ok(*command)
    whole = time.monotonic() - begun
    cli.ok("rmi", "made")
    cli.ok("builder", "prune", "-f", "--all")
    clean = sorted(cli.parts_of_images())
    survivors = unclean = useless = 0
    for moment in range(MOMENTS):
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with cli.popen(*command, start_new_session=True, **silent) as running:
            time.sleep(whole * moment / MOMENTS)
            _kill(running.pid, worker=moment % 2 == 1)
            running.wait(timeout=60)
            assert running.returncode in (0, 125, -signal.SIGKILL)
        deadline = time.monotonic() + 30
        while (left := still_there(running.pid, tmp_path)) and time.monotonic() < deadline:
            time.sleep(0.02)
        survivors += bool(left)
        again = cli.run(*command)
        useless += again.returncode != 0
        useless += "Using cache" not in cli.ok(*command)
        cli.ok("rmi", "made")
        cli.ok("builder", "prune", "-f", "--all")
        cli.ok("system", "prune", "-f")
        unclean += cli.ok("system", "check") != "" or sorted(cli.parts_of_images()) != clean
    figure("killed builds after which a process went on", "= 0", survivors, of=MOMENTS)
    figure("killed builds after which the store was not clean", "= 0", unclean, of=MOMENTS)
    figure("killed builds after which the next one failed, or had no cache", "= 0", useless, of=MOMENTS)


def _kill(pid: int, *, worker: bool) -> None:
    """Kill a build, or the first of its workers, if it has one."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split() if worker else []
    try:
        os.kill(int(children[0]) if children else pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it was done
