"""An attacker who lets names of directories change places, as fast as the kernel does it."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from rootless.linux.libc import die_with_parent
from rootless.linux.signals import SIGKILL
from storage import sys as calls

_EXCHANGE = 2  # renameat2(2), RENAME_EXCHANGE
_COUNT, _PAUSE = 0, 1
_PATIENCE = 20.0  # seconds until a process that exchanges nothing is given up


class Pair:
    """Two names in a directory, which stays this one wherever it is moved to."""

    def __init__(self, directory: Path | str, first: str, second: str) -> None:
        self.directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        self.first = first
        self.second = second

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self.directory)

    def exchange(self) -> None:
        """Let the two change places. Raises OSError, as when something is mounted on one of them."""
        calls.renameat2(self.directory, self.first, self.directory, self.second, _EXCHANGE)


class Exchanger:
    """A process that exchanges pairs in turn, from the beginning or, ``paused``, when it is let."""

    def __init__(self, *pairs: Pair, paused: bool = False) -> None:
        self._shared = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("Q")
        self._shared[_PAUSE] = paused
        self._told = 0
        resting, self._go = os.pipe()
        self._rests, pausing = os.pipe()
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            die_with_parent(SIGKILL, parent)
            os.close(self._go)
            os.close(self._rests)
            self._work(pairs, resting, pausing)
        os.close(resting)
        os.close(pausing)
        if paused:
            self._await_rest()

    def _work(self, pairs: tuple[Pair, ...], resting: int, pausing: int) -> NoReturn:
        shared = self._shared
        try:
            while True:
                for pair in pairs:
                    if shared[_PAUSE]:
                        os.write(pausing, b"p")
                        if not os.read(resting, 1):
                            os._exit(0)
                    try:
                        pair.exchange()
                    except OSError:
                        continue
                    shared[_COUNT] += 1
        finally:
            os._exit(1)

    @property
    def count(self) -> int:
        """How many exchanges there were."""
        return int(self._shared[_COUNT])

    def rounds(self) -> int:
        """How many exchanges there were since the last question."""
        before, self._told = self._told, self.count
        return self._told - before

    def take_processor(self) -> None:
        """Have it run on a processor of its own, where there is more than one, and this process on the others."""
        own, *others = sorted(os.sched_getaffinity(0))
        if others:
            os.sched_setaffinity(self._pid, {own})
            os.sched_setaffinity(0, others)

    def go_on(self) -> None:
        """End the pause; comes back when exchanges have begun."""
        before = self.count
        self._shared[_PAUSE] = 0
        os.write(self._go, b"g")
        deadline = time.monotonic() + _PATIENCE
        while self.count == before:
            assert time.monotonic() < deadline, "nothing is exchanged"
            os.sched_yield()

    def pause(self) -> None:
        """Let everything rest where it is; comes back when it does."""
        self._shared[_PAUSE] = 1
        self._await_rest()

    def _await_rest(self) -> None:
        assert os.read(self._rests, 1), "the process that exchanges has ended"

    def stop(self) -> None:
        """End the process."""
        os.kill(self._pid, SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._rests)
        os.close(self._go)


@contextmanager
def exchanging(directory: Path, first: str, second: str) -> Iterator[Exchanger]:
    """Exchange the two names of ``directory`` while the block runs."""
    pair = Pair(directory, first, second)
    running = Exchanger(pair)
    try:
        yield running
    finally:
        running.stop()
        pair.close()
