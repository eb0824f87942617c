"""The cases of containers that live on: their start and end, their logs, the memory that is used beside them."""

from __future__ import annotations

import itertools
import os

from tests.bench import measure
from tests.bench.cases import Bench, commands_in_turn
from tests.bench.measure import Times
from tests.bench.programs import IMAGE, Program, end_podman

PAYLOAD = ("sleep", "3600")
RESIDENTS = 4  # containers over which podman's one pause process is shared
# 10 MB of lines of 100 bytes, so often: the payload takes no time to speak of.
WRITE = f"yes {'x' * 99} | head -n 100000 >/lines && exec cat $(yes /lines | head -n"
LOGGED, WRITTEN = 50, 100  # times 10 MB
LOG = ("--log-driver", "k8s-file")


def _each(bench: Bench) -> tuple[Program, Program]:
    return bench.peer, bench.own


def _remove(program: Program, *names: str) -> None:
    program.run("rm", "--force", "--time", "0", *names)


def exec_in_container(bench: Bench) -> Times:
    """A further process in a container that runs."""
    for program in _each(bench):
        program.run("run", "--detach", "--name", "execs", "--network", "none", IMAGE, *PAYLOAD)
    try:
        return commands_in_turn(bench, "exec", "execs", "/bin/true")
    finally:
        for program in _each(bench):
            _remove(program, "execs")


def detached_start(bench: Bench) -> Times:
    """``run --detach`` until it returns, as it is typed."""
    names = (f"detached-{number}" for number in itertools.count())

    def start(program: Program) -> None:
        program.run("run", "--detach", "--name", next(names), IMAGE, *PAYLOAD)

    def clean() -> None:
        for program in _each(bench):
            running = program.output("ps", "--quiet", "--filter", "name=detached").split()
            if running:
                _remove(program, *running)

    try:
        return measure.in_turn(lambda: start(bench.peer), lambda: start(bench.own), bench.rounds, before_each=clean)
    finally:
        clean()


def stop_and_remove(bench: Bench) -> Times:
    """``stop --time 0`` and ``rm`` of a container that runs, one after the other."""

    def start() -> None:
        for program in _each(bench):
            if not program.output("ps", "--quiet", "--filter", "name=ending"):
                program.run("run", "--detach", "--name", "ending", "--network", "none", IMAGE, *PAYLOAD)

    def end(program: Program) -> None:
        program.run("stop", "--time", "0", "ending")
        program.run("rm", "ending")

    try:
        return measure.in_turn(lambda: end(bench.peer), lambda: end(bench.own), bench.rounds, before_each=start)
    finally:
        for program in _each(bench):
            if program.output("ps", "--all", "--quiet", "--filter", "name=ending"):
                _remove(program, "ending")


def resident_memory(bench: Bench) -> float:
    """The PSS of everything but the payload that stays with a detached container, over that of the peer."""
    own, peer = (_residents(program) for program in (bench.own, bench.peer))
    return sum(own.values()) / sum(peer.values())


def monitor_memory(bench: Bench) -> float:
    """MiB of PSS of one container's monitor."""
    return _residents(bench.own)["rootless"]


def _residents(program: Program) -> dict[str, float]:
    """MiB of PSS for each container, by the names of the processes."""
    names = [f"resident-{number}" for number in range(RESIDENTS)]
    if program.name == "podman":
        end_podman(program)  # its pause process begins anew, and is counted
    with measure.adopting():
        before = measure.descendants()
        try:
            for name in names:
                program.run("run", "--detach", "--name", name, IMAGE, *PAYLOAD)
            found: dict[str, float] = {}
            for pid in measure.descendants() - before:
                name, size = measure.proportional_set(pid)
                if name != PAYLOAD[0]:
                    found[name] = found.get(name, 0.0) + size / RESIDENTS
            return found
        finally:
            _remove(program, *names)


def show_log(bench: Bench) -> Times:
    """``logs`` of a log of 500 MB."""
    for program in _each(bench):
        program.run("run", "--name", "logs", *LOG, "--network", "none", IMAGE, "sh", "-c", f"{WRITE} {LOGGED})")
    try:
        return measure.in_turn(
            lambda: bench.peer.run("logs", "logs"),
            lambda: bench.own.run("logs", "logs"),
            max(3, bench.rounds // 6),
            warm_up=0,
        )
    finally:
        for program in _each(bench):
            _remove(program, "logs")


def write_log(bench: Bench) -> Times:
    """A detached container that writes 1 GB to its log, until it has ended."""

    def write(program: Program) -> None:
        command = ("sh", "-c", f"{WRITE} {WRITTEN})")
        program.run("run", "--detach", "--name", "writer", *LOG, "--network", "none", IMAGE, *command)
        code = program.output("wait", "writer")
        if code != "0":
            raise measure.CommandFailed(f"the payload of {program.name} exits {code}")

    def clean() -> None:
        for program in _each(bench):
            if program.output("ps", "--all", "--quiet", "--filter", "name=writer"):
                _remove(program, "writer")
        os.sync()  # so that nobody waits for the disk to take what another has written

    try:
        return measure.in_turn(
            lambda: write(bench.peer),
            lambda: write(bench.own),
            max(3, bench.rounds // 6),
            before_each=clean,
            warm_up=0,
        )
    finally:
        clean()
