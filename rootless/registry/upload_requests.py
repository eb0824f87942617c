"""The distribution API of one endpoint that content is sent to (OCI distribution-spec, "Push"). One try each."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rootless.registry.client import Registry, error_of
from rootless.registry.errors import RegistryError, TransientError, UnauthorizedError
from rootless.registry.http import Answer
from rootless.registry.links import own_path, parse_received, with_parameter
from storage import oci
from storage.errors import DamagedError, os_error

if TYPE_CHECKING:
    from storage.oci import Descriptor

PIECE = 256 * 1024
"""Bytes that are read, and handed to the network, at a time."""

_CREATED = frozenset({201, 204})
_SENDING = {"Content-Type": "application/octet-stream"}


class Stream(Protocol):
    """Bytes in order, as an open binary file gives them."""

    def read(self, size: int, /) -> bytes:
        """At most about ``size`` bytes; none at the end."""

    def close(self) -> None:
        """Let go of what it reads from."""


@dataclass(frozen=True)
class Blob:
    """What is to be at the registry, and how its bytes are had, from the first on, as often as they are needed."""

    digest: str
    size: int
    open: Callable[[], Stream]


@dataclass
class Upload:
    """A session at the registry: the path where it goes on, and how many bytes it is known to have."""

    path: str
    offset: int = 0


class LostUploadError(TransientError):
    """The registry does not know the upload any more, or has other bytes of it than were sent: begin a new one."""


class WrongContentError(RegistryError):
    """The registry says that what it received is not what the digest names."""


class TooLargeError(RegistryError):
    """The registry, or a proxy before it, takes no body of that size."""


class UnknownBlobError(RegistryError):
    """The registry refuses a manifest because it has not got what that names."""


class Part:
    """The body of a request: ``len`` bytes of a blob from ``start`` on. ``told`` is called with how far they went."""

    def __init__(self, blob: Blob, start: int, end: int, told: Callable[[int], None]) -> None:
        self._blob = blob
        self._start = start
        self.len = end - start
        self._told = told

    def __iter__(self) -> Iterator[bytes]:
        stream = self._blob.open()
        try:
            skip, left = self._start, self.len
            if skip and isinstance(stream, io.IOBase) and stream.seekable():
                skip -= stream.seek(skip)
            while left:
                piece = self._read(stream)
                if skip >= len(piece):
                    skip -= len(piece)
                    continue
                piece = piece[skip : skip + left]
                skip, left = 0, left - len(piece)
                yield piece
                self._told(self._start + self.len - left)
        finally:
            stream.close()

    def _read(self, stream: Stream) -> bytes:
        try:
            piece = stream.read(PIECE)
        except OSError as error:  # the library would take it for one of the network
            raise os_error(f"cannot read blob {self._blob.digest}", error) from error
        if not piece:
            raise DamagedError(f"cannot read blob {self._blob.digest}: it is shorter than its {self._blob.size} bytes")
        return piece


class Target(Registry):
    """A conversation with one endpoint that takes content. Safe to use from several threads."""

    @property
    def _push_scope(self) -> str:
        return f"repository:{self.endpoint.repository}:pull,push"

    def has(self, blob: Descriptor | Blob) -> bool:
        """Whether the registry says that it has the blob in this repository."""
        digest, size = (blob.digest, blob.size) if isinstance(blob, Blob) else (blob["digest"], blob["size"])
        answer = self._request("HEAD", f"/v2/{self.endpoint.repository}/blobs/{digest}", {}, self._push_scope)
        answer.close()
        return answer.status == 200 and answer.length in (None, 0, size)  # some say 0 where there is no body

    def has_manifest(self, digest: str) -> bool:
        """Whether the registry says that it has the manifest or index in this repository."""
        path = f"/v2/{self.endpoint.repository}/manifests/{digest}"
        accept = ", ".join(sorted(oci.MANIFEST_TYPES | oci.INDEX_TYPES))
        answer = self._request("HEAD", path, {"Accept": accept}, self._push_scope)
        answer.close()
        return answer.status == 200

    def mount(self, digest: str, repository: str) -> Upload | None:
        """Have the blob taken over from another repository of this registry.

        None if it is there now; else the upload that the registry began in place of it. Raises RegistryError.
        """
        path = f"/v2/{self.endpoint.repository}/blobs/uploads/"
        path = with_parameter(with_parameter(path, "mount", digest), "from", repository)
        answer = self._request("POST", path, {}, f"{self._push_scope} repository:{repository}:pull")
        if answer.status == 201:
            answer.close()
            return None
        return self._begun(answer, path, digest)

    def begin(self, digest: str) -> Upload:
        """Begin an upload."""
        path = f"/v2/{self.endpoint.repository}/blobs/uploads/"
        return self._begun(self._request("POST", path, {}, self._push_scope), path, digest)

    def _begun(self, answer: Answer, path: str, digest: str) -> Upload:
        if answer.status != 202:
            raise self._refusal(answer, digest)
        answer.close()
        return Upload(self._location(answer, path))

    def ask(self, upload: Upload) -> None:
        """Ask how much of an upload the registry has, after one that was cut. Raises LostUploadError."""
        answer = self._request("GET", upload.path, {}, self._push_scope)
        answer.close()
        received = parse_received(answer.headers.get("Range", ""))
        if answer.status not in (200, 202, 204) or received is None:
            raise self._lost()
        self._go_on(answer, upload, received)

    def send_part(self, upload: Upload, part: Callable[[], Part], end: int, digest: str) -> None:
        """Send the bytes of a blob from the upload's offset to ``end``. Raises what ``_refusal`` gives."""
        headers = {**_SENDING, "Content-Range": f"{upload.offset}-{end - 1}"}
        answer = self._request("PATCH", upload.path, headers, self._push_scope, part)
        if answer.status == 416:
            answer.close()
            self.ask(upload)
            return
        if answer.status not in (201, 202, 204):
            raise self._refusal(answer, digest, of_session=True)
        answer.close()
        received = parse_received(answer.headers.get("Range", ""))
        if received is not None and not upload.offset <= received <= end:
            raise self._lost()
        self._go_on(answer, upload, end if received is None else received)

    def finish(self, upload: Upload, digest: str, whole: Callable[[], Part] | None = None) -> None:
        """End an upload; ``whole`` sends all bytes with it. Raises what ``_refusal`` gives."""
        path = with_parameter(upload.path, "digest", digest)
        answer = self._request("PUT", path, dict(_SENDING), self._push_scope, whole)
        if answer.status not in _CREATED:
            raise self._refusal(answer, digest, of_session=True)
        answer.close()

    def put_manifest(self, data: bytes, media_type: str, name: str) -> None:
        """Send a manifest or index and have it called ``name``, a tag or its digest.

        Raises RegistryError, UnknownBlobError.
        """
        path = f"/v2/{self.endpoint.repository}/manifests/{name}"
        headers = {"Content-Type": media_type}
        self._retrying(lambda: self._put_manifest(path, headers, data, name))

    def _put_manifest(self, path: str, headers: dict[str, str], data: bytes, name: str) -> None:
        answer = self._request("PUT", path, headers, self._push_scope, lambda: data)
        if answer.status not in (*_CREATED, 200, 202):
            raise self._refusal(answer, name)
        answer.close()
        said = answer.headers.get("Docker-Content-Digest", "")
        if said.startswith("sha256:") and said != oci.Digest.of(data):
            raise RegistryError(
                f"cannot push to {self.place}: the registry took {name} for {said[:80]}, which is not what was sent",
                "the registry or a proxy altered it",
            )

    def _location(self, answer: Answer, path: str) -> str:
        return own_path(self.origin, path, answer.headers.get("Location", ""), f"push to {self.place}")

    def _go_on(self, answer: Answer, upload: Upload, received: int) -> None:
        upload.offset = received
        if answer.headers.get("Location"):
            upload.path = self._location(answer, upload.path)

    def _lost(self) -> LostUploadError:
        return LostUploadError(f"registry {self.endpoint.host} lost an upload", "try again later")

    def _refusal(self, answer: Answer, what: str, *, of_session: bool = False) -> RegistryError:
        """The error for any other answer than the one that was hoped for; ``of_session``: to a request of an upload."""
        code, message = error_of(answer)
        detail = f": {message}" if message and not self._connected().knows(message) else ""
        cannot = f"cannot push {what[:19] if ':' in what else what} to {self.place}"
        status = answer.status
        if code in ("DIGEST_INVALID", "SIZE_INVALID"):
            return WrongContentError(f"{cannot}: the registry received something else{detail}")
        if of_session and (status == 404 or code in ("BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID", "RANGE_INVALID")):
            return self._lost()
        if code in ("MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"):
            return UnknownBlobError(f"{cannot}: the registry lacks a part of it{detail}", "push it again")
        if status in (401, 403):
            hint = "your account may not write there, or the repository has to be made first"
            if not self._connected().has_credentials:
                hint += f"; log in with 'rootless login {self.endpoint.host}'"
            return UnauthorizedError(f"{cannot}: access denied{detail}", hint)
        if status == 404:
            return RegistryError(f"{cannot}: no such repository{detail}", "check the name, or make it there first")
        if status == 405 or code == "UNSUPPORTED":
            return RegistryError(f"{cannot}: the registry takes no pushes{detail}", "it may be a mirror, or read-only")
        if status == 413:
            hint = "raise the limit of the registry or of the proxy in front of it, or make smaller layers"
            return TooLargeError(f"{cannot}: it is too large for the registry (413)", hint)
        if status == 507:
            return RegistryError(f"{cannot}: the registry is full (507){detail}", "free some space there")
        return RegistryError(f"{cannot}: registry answered {status}{detail}")
