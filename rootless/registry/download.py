"""Fetching blobs: many at once, each resumed where it was cut, each verified before it has a name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from rootless.registry.client import Registry, WrongRangeError
from rootless.registry.errors import RegistryError, TransientError
from rootless.registry.retry import Backoff
from storage.blobs import Blobs, BlobWriter, DigestMismatchError

PARALLEL = 6
MAX_ATTEMPTS = 64
MAX_STALLS = 3
PROGRESS_STEP = 2 * 1024 * 1024

# Only a try that brought this much counts as progress and forgives the failures before it.
ENOUGH_PROGRESS = 64 * 1024


class Cancelled(Exception):  # noqa: N818 - not an error: another blob failed
    """The download was given up because another one failed."""


class Downloader:
    """Fetches the blobs of one image from the first of ``sources`` that serves them."""

    def __init__(self, sources: Sequence[Registry], progress: Callable[[str, int, int], None]) -> None:
        """``progress`` is called with digest, bytes had and size, from several threads."""
        self._sources = sources
        self._progress = progress
        self._stop = threading.Event()

    def fetch(self, blobs: Blobs, digest: str, size: int) -> None:
        """Fetch one blob and store it; what another process fetches is waited for. Raises RegistryError, StorageError.

        What was received before a failure is kept, and the next fetch, in whatever process, goes on from there.
        """
        for number, source in enumerate(self._sources, 1):
            try:
                try:
                    return self._fetch_from(source, blobs, digest, size)
                except DigestMismatchError as error:
                    source.options.say(f"{error.message}; fetching it again")
                    return self._fetch_from(source, blobs, digest, size)
            except (RegistryError, DigestMismatchError):
                if number == len(self._sources):
                    raise

    def _fetch_from(self, source: Registry, blobs: Blobs, digest: str, size: int) -> None:
        """One blob from one source, until it is whole: cuts are resumed."""
        backoff = Backoff(source.options.limits, source.options.say, self._sleep)
        stalls, resume = 0, True
        with blobs.writer(digest, size) as sink:
            for attempt in range(1, MAX_ATTEMPTS + 1):
                before = sink.offset
                try:
                    if not sink.done and (sink.offset < size or size == 0):
                        self._transfer(source, sink, resume)
                    break
                except WrongRangeError:
                    # This server's ranges cannot be trusted: read from the start and pass over what we have.
                    if not resume or attempt == MAX_ATTEMPTS:
                        raise
                    resume = False
                except TransientError as error:
                    stalls += error.stalled
                    if sink.offset - before >= ENOUGH_PROGRESS and not error.stalled:
                        backoff.fresh_start()
                    if stalls >= MAX_STALLS or attempt == MAX_ATTEMPTS:
                        raise
                    backoff.failed(error)
            sink.commit()
        self._progress(digest, size, size)

    def _transfer(self, source: Registry, sink: BlobWriter, resume: bool) -> None:
        """One request's worth of a blob."""
        digest, size = sink.digest, sink.size
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
                sink.write(chunk)
                if sink.offset == size:
                    break  # a body without a length may never end
                if sink.offset - reported >= PROGRESS_STEP:
                    reported = sink.offset
                    self._progress(digest, reported, size)
        finally:
            stream.close()
        if sink.offset < size:
            raise TransientError(f"connection to {source.endpoint.host} was cut at {sink.offset} of {size} bytes")

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
