"""Print the table of speed and memory: ``python -m tests.bench [--only NAME…] [--rounds N] [--json FILE]``.

Exit code 1 means that a goal was missed, or that something could not be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench import builds, cases, containers, programs, runtimes
from tests.bench.cases import Bench, Goal
from tests.bench.measure import CommandFailed, Times
from tests.support import capabilities, images
from tests.support.cli import new_cli
from tests.support.registry import Registry


class Case(NamedTuple):
    """A row of the table: ``measure`` gives times of both programs, or a figure by itself: a ratio, or MiB."""

    name: str
    title: str
    goal: Goal
    measure: Callable[[Bench, Registry], Times | float]


def _alone(function: Callable[[Bench], Times | float]) -> Callable[[Bench, Registry], Times | float]:
    return lambda bench, _registry: function(bench)


CASES = (
    Case("run", "run --rm --network none IMAGE /bin/true", Goal(0.50, 0.33), _alone(cases.run_without_network)),
    Case("run-net", "run --rm, default network", Goal(0.60, 0.40), _alone(cases.run_with_network)),
    Case("exec", "exec of /bin/true in a running container", Goal(0.50, 0.33), _alone(containers.exec_in_container)),
    Case("detached", "run -d until it returns", Goal(0.60, 0.40), _alone(containers.detached_start)),
    Case("stop", "stop -t0 and rm", Goal(0.60, 0.40), _alone(containers.stop_and_remove)),
    Case("batch", f"{cases.BATCH} runs at once, whole batch", Goal(0.50, 0.33), _alone(cases.run_batch)),
    Case("ps", f"ps --all, {cases.LISTED} containers", Goal(0.80, 0.60), _alone(cases.list_containers)),
    Case("images", f"images, {cases.LISTED} images", Goal(0.80, 0.60), _alone(cases.list_images)),
    Case("runc", "rootless-oci run of a bundle / runc", Goal(1.5, 1.0), _alone(runtimes.beside_runc)),
    Case("crun", "rootless-oci run of a bundle / crun", Goal(4.0, 3.0), _alone(runtimes.beside_crun)),
    Case("logs", "logs of 500 MB", Goal(1.0, 0.5), _alone(containers.show_log)),
    Case("writing", "payload that writes 1 GB to its log", Goal(1.0, 0.5), _alone(containers.write_log)),
    Case("pull", "pull of Debian from loopback", Goal(0.60, 0.40), cases.pull),
    Case("build", "build of 12 steps, every step done", Goal(0.60, 0.40), _alone(builds.cold)),
    Case("build-cached", "build of 12 steps, nothing changed", Goal(0.50, 0.25), _alone(builds.cached)),
    Case("push", "push of Debian to loopback", Goal(0.80, 0.50), cases.push),
    Case("save+load", "save of Debian and load of that", Goal(0.80, 0.50), _alone(cases.save_and_load)),
    Case("commit", "commit of one changed file of Debian", Goal(0.50, 0.30), _alone(cases.commit_of_one_file)),
    Case("crowd", f"run, store of {cases.CROWD} / empty store (both own)", Goal(1.2, 1.05), _alone(cases.crowded_run)),
    Case("residents", "PSS beside a detached container", Goal(3.5, 2.5), _alone(containers.resident_memory)),
    Case("monitor", "PSS of a monitor, MiB", Goal(7, 7), _alone(containers.monitor_memory)),
    Case("pull-memory", "largest process of pull, MiB", Goal(150, 150), cases.memory_of_pull),
    Case("run-memory", "largest process of run, MiB", Goal(40, 40), _alone(cases.memory_of_run)),
)
COLUMNS = ("<42", ">8", ">8", ">6", ">5", ">5", "<7")
NEEDED = (
    "podman", "crun", "runc", "skopeo", "docker-registry", "busybox", "debootstrap", "subuid", "newuidmap", "overlay",
)  # fmt: skip


@contextmanager
def set_up(rounds: int) -> Iterator[tuple[Bench, Registry]]:
    """Both programs with an image in store, and a registry; all of it is deleted afterwards."""
    with new_cli() as scratch:
        bench = Bench(
            programs.podman(scratch.home / "podman"), programs.rootless(scratch.home / "own"), scratch.home, rounds
        )
        layout = images.busybox_layout(scratch.home / "busybox")
        try:
            for program in (bench.peer, bench.own):
                program.add_image(layout, "latest", programs.IMAGE)
            with Registry(scratch.home / "registry") as registry:
                yield bench, registry
        finally:
            programs.end_podman(bench.peer)


def row(case: Case, figure: Times | float) -> dict[str, Any]:
    """The figures of a case, as the table and the JSON have them."""
    value = figure if isinstance(figure, float) else figure.ratio
    times = {} if isinstance(figure, float) else {"peer": figure.peer, "own": figure.own}
    verdict = "aim" if value <= case.goal.aim else "goal" if value <= case.goal.most else "MISSED"
    return {
        "name": case.name,
        "title": case.title,
        "value": value,
        "goal": case.goal.most,
        "aim": case.goal.aim,
        "reached": verdict,
        **{f"{who}_ms": statistics.median(taken) * 1000 for who, taken in times.items()},
    }


def line(cells: list[str]) -> str:
    """A row of the table."""
    padded = (f"{cell:{width}}" for cell, width in zip(cells, COLUMNS, strict=True))
    return f"| {' | '.join(padded)} |"


def shown(figures: dict[str, Any]) -> str:
    """The table's row for the figures of a case."""
    times = [f"{figures[key]:.1f}" if key in figures else "" for key in ("peer_ms", "own_ms")]
    goals = [f"{figures[key]:g}" for key in ("goal", "aim")]
    return line([figures["title"], *times, f"{figures['value']:.2f}", *goals, figures["reached"]])


def first_line(*command: str) -> str:
    """The first line that a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.partition("\n")[0]


def main() -> int:
    """Measure, print, and say whether every goal was reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Speed and memory beside podman's.")
    names = [case.name for case in CASES]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--rounds", type=int, default=20, metavar="N", help="timings of each program (20)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args()
    if os.getuid() == 0:
        sys.exit("the benchmark is about an unprivileged user: python -m tests.support.as_user python -m tests.bench")
    for name in NEEDED:
        finding = capabilities.find(name)
        if not finding.present:
            sys.exit(f"the benchmark needs {name}: {finding.detail}")
    peers = ", ".join(first_line(peer, "--version") for peer in ("podman", "crun", "runc"))
    print(f"{peers}; Linux {os.uname().release}, {os.cpu_count()} CPUs")
    print(line(["median of wall times, ms", "peer", "rootless", "ratio", "goal", "aim", "reached"]))
    print(line(["---"] * 7), flush=True)
    results = []
    failed = False
    with set_up(options.rounds) as (bench, registry):
        filled = False
        for case in (case for case in CASES if case.name in options.only):
            try:
                if case.name in {"ps", "images"} and not filled:
                    cases.fill_both(bench)
                    filled = True
                results.append(row(case, case.measure(bench, registry)))
            except (CommandFailed, OSError, RuntimeError, subprocess.SubprocessError) as error:
                print(line([case.title, "", "", "", "", "", "FAILED"]), f"\n  {error}", flush=True)
                failed = True
                continue
            print(shown(results[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    return 1 if failed or any(result["reached"] == "MISSED" for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
