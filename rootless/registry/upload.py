"""Sending blobs: many at once, each looked for first, each resumed where it was cut."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial

from rootless.registry.errors import RegistryError, TransientError, UnauthorizedError
from rootless.registry.jobs import Jobs
from rootless.registry.retry import Backoff
from rootless.registry.upload_requests import (
    PIECE,
    Blob,
    LostUploadError,
    Part,
    Target,
    TooLargeError,
    Upload,
    WrongContentError,
)
from storage import oci
from storage.errors import DamagedError, os_error

MAX_ATTEMPTS = 64
MAX_STALLS = 3
PROGRESS_STEP = 2 * 1024 * 1024
SMALLER = 16 * 1024 * 1024
"""Bytes sent by one request once a registry has refused, or lost, a blob that was sent by one request as a whole."""

Origin = Callable[[str], str]
"""Gives for a digest another repository of the same registry that may have the blob ('': none is known)."""

EXISTS = "exists"
MOUNTED = "mounted"
SENT = "sent"

# Only a try that brought this much counts as progress and forgives the failures before it.
ENOUGH_PROGRESS = 64 * 1024


def _no_origin(_: str) -> str:
    return ""


class Uploader:
    """Sends the blobs of one image to ``target``."""

    def __init__(self, target: Target, progress: Callable[[str, int, int], None]) -> None:
        """``progress`` is called with digest, bytes sent and size, from several threads."""
        self._target = target
        self._progress = progress
        self._jobs = Jobs()

    def run(self, jobs: Sequence[Callable[[], None]]) -> None:
        """Run ``jobs`` (each calls ``push``) side by side; at the first failure the others stop."""
        self._jobs.run(jobs)

    def push(self, blob: Blob, origin: Origin = _no_origin, *, anew: bool = False) -> str:
        """See to it that the registry has the blob: EXISTS, MOUNTED or SENT. Raises RegistryError, StorageError.

        ``anew``: the registry is not asked whether it has the blob, since it told so and has not.
        """
        return _Pushing(self._target, self._jobs, self._progress, blob, origin, anew).push()


class _Pushing:
    """One blob on its way."""

    def __init__(
        self,
        target: Target,
        jobs: Jobs,
        progress: Callable[[str, int, int], None],
        blob: Blob,
        origin: Origin,
        anew: bool,
    ) -> None:
        self._target = target
        self._jobs = jobs
        self._progress = progress
        self._blob = blob
        self._origin = origin
        self._anew = anew
        self._step = blob.size
        self._upload: Upload | None = None
        self._reported = 0

    def push(self) -> str:
        """Try until it is there, or there is no hope."""
        limits, say = self._target.options.limits, self._target.options.say
        backoff = Backoff(limits, say, self._jobs.sleep)
        stalls, wrong = 0, False
        for attempt in range(1, MAX_ATTEMPTS + 1):
            before = self._upload.offset if self._upload else 0
            try:
                return self._attempt(backoff)
            except WrongContentError as error:
                self._upload = None
                if wrong:
                    raise self._who_is_wrong(error) from None
                wrong = True
                say(f"{error.message}; sending it again")
            except TooLargeError:
                self._upload = None
                if self._step <= SMALLER:
                    raise
                self._step = SMALLER
            except TransientError as error:
                stalls += error.stalled
                if isinstance(error, LostUploadError):
                    self._upload = None
                elif not error.answered:
                    self._step = min(self._step, SMALLER)
                if self._upload and self._upload.offset - before >= ENOUGH_PROGRESS and not error.stalled:
                    backoff.fresh_start()
                if stalls >= MAX_STALLS or attempt == MAX_ATTEMPTS:
                    raise
                backoff.failed(error)
        raise AssertionError("the last attempt returns or raises")

    def _attempt(self, backoff: Backoff) -> str:
        """Go on with an upload; or look whether the blob is there, else begin one; and send what is missing."""
        if not self._continued(backoff):
            if not self._anew and self._target.has(self._blob):
                return EXISTS
            self._upload = self._begin()
        if self._upload is None:
            return MOUNTED
        self._send(self._upload, backoff)
        self._progress(self._blob.digest, self._blob.size, self._blob.size)
        return SENT

    def _continued(self, backoff: Backoff) -> bool:
        """Whether there is an upload, of which the registry has said how much it has."""
        if self._upload is None:
            return False
        known = self._upload.offset
        try:
            self._target.ask(self._upload)
        except LostUploadError:
            self._upload = None
            return False
        if self._upload.offset > self._blob.size:
            self._upload = None
            return False
        if self._upload.offset - known >= ENOUGH_PROGRESS:
            backoff.fresh_start()
        return True

    def _begin(self) -> Upload | None:
        """A new upload; None if the registry took the blob over from another of its repositories."""
        repository = "" if self._anew else self._origin(self._blob.digest)
        self._origin = _no_origin
        if repository:
            try:
                return self._target.mount(self._blob.digest, repository)
            except UnauthorizedError:
                pass  # of the other repository, perhaps; this one will tell
        return self._target.begin(self._blob.digest)

    def _send(self, upload: Upload, backoff: Backoff) -> None:
        """All of the blob in one request, where nothing speaks against it; else in steps, and then its end."""
        size, digest = self._blob.size, self._blob.digest
        if upload.offset == 0 and self._step >= size:
            self._target.finish(upload, digest, partial(Part, self._blob, 0, size, self._tell) if size else None)
            return
        while (start := upload.offset) < size:
            end = min(start + self._step, size)
            self._target.send_part(upload, partial(Part, self._blob, start, end, self._tell), end, digest)
            if upload.offset <= start:
                raise LostUploadError(f"registry {self._target.endpoint.host} takes nothing of an upload")
            backoff.fresh_start()
        self._target.finish(upload, digest)

    def _tell(self, done: int) -> None:
        self._jobs.check()
        if abs(done - self._reported) >= PROGRESS_STEP and done < self._blob.size:
            self._reported = done
            self._progress(self._blob.digest, done, self._blob.size)

    def _who_is_wrong(self, error: WrongContentError) -> Exception:
        """The error for a blob that the registry took for another one twice: the store's, if it is damaged there."""
        digest = oci.Digest(self._blob.digest)
        found = hashlib.new(digest.algorithm)
        stream = self._blob.open()
        try:
            while piece := stream.read(PIECE):
                found.update(piece)
        except OSError as failure:
            return os_error(f"cannot read blob {digest}", failure)
        finally:
            stream.close()
        if found.hexdigest() != digest.encoded:
            return DamagedError(f"cannot push blob {digest}: its bytes are not those of its digest")
        return RegistryError(error.message, "something between here and the registry alters what is sent")
