"""How long to wait, and how often to try again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from rootless.registry.errors import TransientError

T = TypeVar("T")

_STEPS = 20
"""Waits grow so often; by then they are past any limit, and later they would be past any number."""


@dataclass(frozen=True)
class Limits:
    """Times in seconds. An answer slower than ``idle_rate`` bytes per second over ``idle_seconds`` is given up."""

    connect_timeout: float = 25.0
    idle_seconds: float = 25.0
    idle_rate: float = 1024.0
    tries: int = 4
    first_wait: float = 0.25
    longest_wait: float = 60.0
    total_wait: float = 300.0


class Backoff:
    """The waits between the tries of one piece of work.

    ``fresh_start`` forgets the failures after real progress, so that a long download outlives many cuts.
    """

    def __init__(self, limits: Limits, say: Callable[[str], None], sleep: Callable[[float], None] = time.sleep) -> None:
        self.limits = limits
        self.failures = 0
        self._say = say
        self._sleep = sleep
        self._waited = 0.0

    def fresh_start(self) -> None:
        """There was progress: count failures from zero again."""
        self.failures = 0

    def failed(self, error: TransientError) -> None:
        """Wait after ``error``, or raise it if the tries or the patience are used up."""
        self.failures += 1
        wait = self._wait_for(error)
        if self.failures >= self.limits.tries or self._waited + wait > self.limits.total_wait:
            raise error
        if wait >= 1.0:
            self._say(f"{error.message}; trying again in {wait:.0f} s")
        self._waited += wait
        self._sleep(wait)

    def _wait_for(self, error: TransientError) -> float:
        """Ever longer, as long as the server wishes, within bounds; with jitter: clients do not return all at once."""
        step = self.limits.first_wait * 3.0 ** min(self.failures - 1, _STEPS) * random.uniform(0.7, 1.3)
        wished = (error.retry_after or 0.0) * random.uniform(1.0, 1.1)
        return float(min(max(step, wished), self.limits.longest_wait))


def retrying(action: Callable[[], T], limits: Limits, say: Callable[[str], None]) -> T:
    """Call ``action`` until it succeeds, fails for good, or the tries are used up (it must be idempotent)."""
    backoff = Backoff(limits, say)
    while True:
        try:
            return action()
        except TransientError as error:
            backoff.failed(error)
