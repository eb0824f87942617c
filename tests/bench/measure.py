"""Measuring: wall times of two commands in turn, and the memory of processes: the largest, and what stays."""

from __future__ import annotations

import ctypes
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

Environment = Mapping[str, str]
TIMEOUT = 600.0  # seconds, for one command
PR_SET_CHILD_SUBREAPER = 36


class CommandFailed(Exception):
    """A measured command did not succeed; the measurement is void."""


class Times(NamedTuple):
    """Wall times in seconds of the same work by the peer and by this program, in the order they were taken."""

    peer: list[float]
    own: list[float]

    @property
    def ratio(self) -> float:
        """The median of the own times over the median of the peer's."""
        return statistics.median(self.own) / statistics.median(self.peer)


def run(command: Sequence[str], environment: Environment) -> None:
    """Run a command to its end, without output. Raises CommandFailed with what it said."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    done = subprocess.run(command, env=dict(environment), timeout=TIMEOUT, check=False, **pipes)  # type: ignore[call-overload]
    if done.returncode != 0:
        raise CommandFailed(f"{' '.join(command)} exits {done.returncode}: {done.stderr.decode(errors='replace')}")


def wall(work: Callable[[], None]) -> float:
    """The wall time of a call in seconds."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_turn(
    peer: Callable[[], None],
    own: Callable[[], None],
    rounds: int,
    *,
    before_each: Callable[[], None] = lambda: None,
    warm_up: int = 1,
) -> Times:
    """Time both by turns, so that a machine that slows down slows both; who is first changes with each round.

    ``before_each`` is done before each timing and not counted. The ``warm_up`` rounds are not counted either.
    """
    times = Times([], [])
    for number in range(-warm_up, rounds):
        turns = [(peer, times.peer), (own, times.own)]
        for work, record in turns if number % 2 else reversed(turns):
            before_each()
            taken = wall(work)
            if number >= 0:
                record.append(taken)
    return times


def parallel(command: Sequence[str], environment: Environment, count: int) -> None:
    """Start ``count`` of a command at once and wait for all of them."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    started = [subprocess.Popen(command, env=dict(environment), **pipes) for _ in range(count)]  # type: ignore[call-overload]
    for process in started:
        _, complaint = process.communicate(timeout=TIMEOUT)
        if process.returncode != 0:
            raise CommandFailed(f"{' '.join(command)}: {complaint.decode(errors='replace')}")


# A small parent for the measured command: a process inherits the peak of whoever forked it, and this one is smaller
# than anything it measures. As a subreaper it is also told of the descendants that lose their parents.
MEMORY_HELPER = """
import ctypes, os, resource, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
code = None
while True:
    try:
        ended, status = os.wait()
    except ChildProcessError:
        break
    if ended == pid:
        code = os.waitstatus_to_exitcode(status)
os.write(3, b"%d" % resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code != 0)
"""


def peak_memory(command: Sequence[str], environment: Environment) -> float:
    """The largest resident set that any process of the command had, in MiB."""
    reader, writer = os.pipe()
    try:
        helper = ["/usr/bin/python3", "-IS", "-c", MEMORY_HELPER, *command]
        report = f'exec 3>&{writer}; exec "$@"'
        process = subprocess.Popen(
            ["bash", "-c", report, "bash", *helper],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(writer,),
        )
        _, complaint = process.communicate(timeout=TIMEOUT)
        if process.returncode != 0:
            raise CommandFailed(f"{' '.join(command)}: {complaint.decode(errors='replace')}")
        return int(os.read(reader, 64)) / 1024
    finally:
        os.close(reader)
        os.close(writer)


@contextmanager
def adopting() -> Iterator[None]:
    """Be the parent of every process that a command leaves behind, so that :func:`descendants` finds it."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


def descendants() -> set[int]:
    """The processes below this one that have not ended."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


def proportional_set(pid: int) -> tuple[str, float]:
    """The name of a process, and its PSS in MiB: what is shared counts in part for each (proc_pid_smaps(5))."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    size = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return Path(f"/proc/{pid}/comm").read_text().strip(), size / 1024
