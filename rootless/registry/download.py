"""Fetching blobs: many at once, each resumed where it was cut, each verified before it has a name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rootless.registry.client import Registry, WrongRangeError
from rootless.registry.errors import RegistryError, TransientError
from rootless.registry.jobs import Jobs
from rootless.registry.retry import Backoff
from storage.blobs import Blobs, BlobWriter, DigestMismatchError

MAX_ATTEMPTS = 64
MAX_STALLS = 3
PROGRESS_STEP = 2 * 1024 * 1024

# Only a try that brought this much counts as progress and forgives the failures before it.
ENOUGH_PROGRESS = 64 * 1024


Transfer = Callable[[Registry, BlobWriter, bool], None]
"""Brings more of a blob, from its writer's offset on; the flag: the server's ranges can be trusted."""


class Downloader:
    """Fetches the blobs of one image from the first of ``sources`` that serves them."""

    def __init__(self, sources: Sequence[Registry], progress: Callable[[str, int, int], None]) -> None:
        """``progress`` is called with digest, bytes had and size, from several threads."""
        self._sources = sources
        self._progress = progress
        self._jobs = Jobs()

    def fetch(self, blobs: Blobs, digest: str, size: int, transfer: Transfer | None = None) -> None:
        """Fetch one blob and store it; what another process fetches is waited for. Raises RegistryError, StorageError.

        What was received before a failure is kept, and the next fetch, in whatever process, goes on from there.
        ``transfer`` is another way to bring the bytes, which is left where it fails.
        """
        for number, source in enumerate(self._sources, 1):
            try:
                try:
                    return self._fetch_from(source, blobs, digest, size, transfer or self._transfer)
                except DigestMismatchError as error:
                    source.options.say(f"{error.message}; fetching it again")
                    return self._fetch_from(source, blobs, digest, size, self._transfer)
            except (RegistryError, DigestMismatchError):
                if number == len(self._sources):
                    raise

    def _fetch_from(self, source: Registry, blobs: Blobs, digest: str, size: int, transfer: Transfer) -> None:
        """One blob from one source, until it is whole: cuts are resumed."""
        backoff = Backoff(source.options.limits, source.options.say, self._jobs.sleep)
        stalls, resume = 0, True
        with blobs.writer(digest, size) as sink:
            for attempt in range(1, MAX_ATTEMPTS + 1):
                before = sink.offset
                try:
                    if not sink.done and (sink.offset < size or size == 0):
                        (transfer if resume else self._transfer)(source, sink, resume)
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
                self._jobs.check()
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

    def step(self, digest: str, done: int, size: int) -> None:
        """Tell of progress. To be called often: raises Cancelled if the download of another blob failed."""
        self._jobs.check()
        if done < size:  # what is whole is told when it is verified
            self._progress(digest, done, size)

    def run(self, jobs: Sequence[Callable[[], None]]) -> None:
        """Run ``jobs`` (each calls ``fetch``) side by side; at the first failure the others stop."""
        self._jobs.run(jobs)
