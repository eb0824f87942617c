"""Fetching blobs: many at once, each resumed where it was cut, each verified before it has a name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Protocol

from rootless.registry.client import Registry, WrongRangeError
from rootless.registry.errors import RegistryError, TransientError
from rootless.registry.retry import Backoff
from storage.errors import StorageError

PARALLEL = 6
MAX_ATTEMPTS = 64
MAX_STALLS = 3
PROGRESS_STEP = 2 * 1024 * 1024

# Only a try that brought this much counts as progress and forgives the failures before it.
ENOUGH_PROGRESS = 64 * 1024


class Sink(Protocol):
    """A blob being written (``storage.blobs``): keeps what it has if closed before ``commit``."""

    @property
    def offset(self) -> int:
        """How many bytes it has."""

    def write(self, data: bytes, /) -> object:
        """Append."""

    def commit(self) -> object:
        """Verify digest and size, then give the blob its name. Raises StorageError."""

    def restart(self) -> None:
        """Throw away what it has and begin again at 0."""


class Cancelled(Exception):  # noqa: N818 - not an error: another blob failed
    """The download was given up because another one failed."""


class Downloader:
    """Fetches the blobs of one image from the first of ``sources`` that serves them."""

    def __init__(self, sources: Sequence[Registry], progress: Callable[[str, int, int], None]) -> None:
        """``progress`` is called with digest, bytes had and size, from several threads."""
        self._sources = sources
        self._progress = progress
        self._stop = threading.Event()

    def fetch(self, digest: str, size: int, sink: Sink) -> None:
        """Fetch one blob into ``sink`` and commit it. Raises RegistryError or StorageError."""
        for number, source in enumerate(self._sources, 1):
            try:
                return self._fetch_from(source, digest, size, sink)
            except RegistryError:
                if number == len(self._sources):
                    raise

    def _fetch_from(self, source: Registry, digest: str, size: int, sink: Sink) -> None:
        """One blob, until it is whole: cuts are resumed, a wrong digest gets one fresh try."""
        backoff = Backoff(source.options.limits, source.options.say, self._sleep)
        stalls, mismatches, resume = 0, 0, True
        for attempt in range(1, MAX_ATTEMPTS + 1):
            before = sink.offset
            try:
                if sink.offset < size or size == 0:
                    self._transfer(source, digest, size, sink, resume)
                sink.commit()
                return
            except WrongRangeError:
                # This server's ranges cannot be trusted: read past what we have from the start instead.
                resume = False
                if attempt == MAX_ATTEMPTS:
                    raise
            except TransientError as error:
                stalls += error.stalled
                if sink.offset - before >= ENOUGH_PROGRESS and not error.stalled:
                    backoff.fresh_start()
                if stalls >= MAX_STALLS or attempt == MAX_ATTEMPTS:
                    raise
                backoff.failed(error)
            except StorageError as error:
                if sink.offset < size or mismatches:
                    raise  # the disk's fault, or the registry serves other bytes than it promised
                mismatches += 1
                source.options.say(f"{error.message}; fetching it again")
                sink.restart()

    def _transfer(self, source: Registry, digest: str, size: int, sink: Sink, resume: bool) -> None:
        """One request's worth of ``digest``."""
        stream = source.blob(digest, size, sink.offset if resume else 0)
        skip = sink.offset - stream.offset
        reported = sink.offset
        try:
            for chunk in stream.chunks():
                if self._stop.is_set():
                    raise Cancelled
                if skip:
                    passed = min(skip, len(chunk))
                    skip -= passed
                    chunk = chunk[passed:]
                if sink.offset + len(chunk) > size:
                    raise RegistryError(f"cannot use blob {digest}: it is longer than the {size} bytes it should have")
                sink.write(chunk)
                if sink.offset - reported >= PROGRESS_STEP:
                    reported = sink.offset
                    self._progress(digest, reported, size)
        finally:
            stream.close()
        if sink.offset < size:
            raise TransientError(f"connection to {source.endpoint.host} was cut at {sink.offset} of {size} bytes")
        self._progress(digest, size, size)

    def _sleep(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Cancelled

    def run(self, jobs: Sequence[Callable[[], None]]) -> None:
        """Run ``jobs`` (each calls ``fetch``) on at most six threads; at the first failure the others stop."""
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
