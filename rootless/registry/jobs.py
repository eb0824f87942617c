"""Several transfers side by side, which stop together when one of them fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

PARALLEL = 6


class Cancelled(Exception):  # noqa: N818 - not an error: another transfer failed
    """The transfer was given up because another one failed."""


class Jobs:
    """The threads of one pull or push, and whether they are to stop."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    def check(self) -> None:
        """Raise Cancelled if another transfer failed. To be called often."""
        if self._stop.is_set():
            raise Cancelled

    def sleep(self, seconds: float) -> None:
        """Wait; raises Cancelled as soon as another transfer fails."""
        if self._stop.wait(seconds):
            raise Cancelled

    def run(self, jobs: Sequence[Callable[[], None]]) -> None:
        """Run ``jobs`` on at most six threads; at the first failure, which is raised, the others stop."""
        with ThreadPoolExecutor(max_workers=max(1, min(PARALLEL, len(jobs)))) as pool:
            futures = [pool.submit(job) for job in jobs]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                if not all(future.done() and future.exception() is None for future in futures):
                    self._stop.set()
                    pool.shutdown(wait=False, cancel_futures=True)
        errors = [error for future in futures if not future.cancelled() and (error := future.exception())]
        for error in errors:
            if not isinstance(error, Cancelled):
                raise error
