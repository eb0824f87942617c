"""The distribution API of one endpoint: manifests and blobs of one repository (OCI distribution-spec, "Pull")."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rootless.registry import authfile, multipart, tls
from rootless.registry.authfile import Credentials
from rootless.registry.errors import NotFoundAtRegistry, RegistryError, TransientError, UnauthorizedError
from rootless.registry.headers import parse_challenges, parse_content_range
from rootless.registry.helpers import printable
from rootless.registry.http import MAX_ERROR_BODY, Answer, Http, Sized, TLSError
from rootless.registry.options import ConnectionOptions
from rootless.registry.realm import Origin, origin
from rootless.registry.registries_conf import Endpoint
from rootless.registry.retry import retrying
from rootless.registry.token import Authenticator
from rootless.registry.trust import trusted_realms
from storage import jsonfast, oci
from storage.errors import StorageError

SCHEMA1_TYPES = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)
ACCEPT = ", ".join((oci.INDEX, oci.DOCKER_INDEX, oci.MANIFEST, oci.DOCKER_MANIFEST))

# Servers that serve manifests as plain files say one of these; then only the document's own mediaType counts.
_VAGUE_TYPES = frozenset({"", "application/json", "application/octet-stream", "text/plain"})


T = TypeVar("T")


@dataclass(frozen=True)
class Document:
    """A manifest or index as the registry holds it; ``digest`` is that of ``data``."""

    data: bytes
    media_type: str
    digest: str


class BlobStream:
    """The bytes of a blob from ``offset`` on."""

    def __init__(self, answer: Answer, offset: int) -> None:
        self._answer = answer
        self.offset = offset

    def chunks(self) -> Iterator[bytes]:
        """Pieces as they arrive. Raises TransientError when the transfer breaks."""
        return self._answer.chunks()

    def close(self) -> None:
        """Give up the transfer."""
        self._answer.close()


class PartStream:
    """Parts of a blob. ``alone``: the server sends one, however many it was asked for."""

    def __init__(self, answer: Answer, parts: Iterator[tuple[int, bytes]], *, alone: bool = False) -> None:
        self._answer = answer
        self._parts = parts
        self.alone = alone

    def parts(self) -> Iterator[tuple[int, bytes]]:
        """Pieces as they arrive, each with its offset in the blob. Raises TransientError when the transfer breaks."""
        return self._parts

    def close(self) -> None:
        """Give up the transfer."""
        self._answer.close()


class WrongRangeError(TransientError):
    """The server answered a Range request with another range than was asked for."""


class Registry:
    """A conversation with one endpoint. Safe to use from several threads."""

    def __init__(
        self,
        endpoint: Endpoint,
        options: ConnectionOptions,
        *,
        credentials_name: str = "",
        credential_helpers: tuple[str, ...] = (),
    ) -> None:
        """``credentials_name`` is what credentials are looked up by ("host/repository"; '' = the endpoint's own)."""
        self.endpoint = endpoint
        self.options = options
        self._insecure = endpoint.insecure if options.tls_verify is None else not options.tls_verify
        self._credentials_name = credentials_name or f"{endpoint.host}/{endpoint.repository}".rstrip("/")
        self._helpers = credential_helpers
        self._base = ""
        self._auth: Authenticator | None = None
        self._lock = threading.Lock()

    @functools.cached_property
    def _http(self) -> Http:
        directories = tls.certificate_directories(self.endpoint.host, self.options.cert_dir)
        return Http(insecure=self._insecure, directories=directories, limits=self.options.limits)

    def _verified_http(self) -> Http:
        """For token servers on other hosts, whose certificates are checked even if the registry's are not."""
        return Http(insecure=False, directories=[], limits=self.options.limits)

    def _credentials(self) -> Credentials | None:
        if self.options.credentials is not None:
            return self.options.credentials
        return authfile.lookup(self._credentials_name, self.options.authfile, self._helpers)

    def connect(self) -> None:
        """Find out how the endpoint is reached: https; or, if it is marked insecure, http where https fails.

        Raises RegistryError if it is not reached.
        """
        self._connected()

    def _connected(self) -> Authenticator:
        """Connect once, whichever thread comes first."""
        with self._lock:
            if self._auth is None:
                host = self.endpoint.host
                base = self._retrying(self._find_scheme) if self._insecure else f"https://{host}"
                self._auth = Authenticator(
                    origin(base), self._http, self._verified_http, self._credentials, lambda: trusted_realms(host)
                )
                self._base = base
            return self._auth

    def _find_scheme(self) -> str:
        """The address at which an endpoint that is marked insecure answers: with https, else with http. One try."""
        encrypted, plain = (f"{scheme}://{self.endpoint.host}" for scheme in ("https", "http"))
        try:
            self._http.exchange("GET", f"{encrypted}/v2/").close()
            return encrypted
        except (TLSError, TransientError) as error:
            failure = error
        try:
            self._http.exchange("GET", f"{plain}/v2/").close()
            return plain
        except TransientError:
            raise
        except RegistryError:
            raise failure from None

    @property
    def origin(self) -> Origin:
        """Scheme, host and port that credentials are bound to."""
        return origin(self._base)

    def check_login(self) -> None:
        """Ask ``/v2/`` with the credentials. Raises UnauthorizedError if they are refused."""
        answer = self._request("GET", "/v2/", {}, scope="")
        status = answer.status
        answer.close()
        if status not in (200, 202, 404):
            raise RegistryError(f"cannot log in to {self.endpoint.host}: it answered {status}")

    def manifest(self, reference: str) -> Document:
        """The manifest or index named by a tag or digest.

        Raises NotFoundAtRegistry, UnauthorizedError, or RegistryError for a document that cannot be trusted.
        """
        self.connect()
        path = f"/v2/{self.endpoint.repository}/manifests/{reference}"
        return self._retrying(lambda: self._manifest(path, reference))

    def _manifest(self, path: str, reference: str) -> Document:
        answer = self._request("GET", path, {"Accept": ACCEPT}, self._pull_scope)
        self._expect(answer, 200, reference)
        data = answer.read(oci.MAX_DOCUMENT)
        digest = str(oci.Digest.of(data))
        if oci.is_digest(reference) and reference.startswith("sha256:") and reference != digest:
            raise RegistryError(
                f"cannot use the manifest of {self.endpoint.host}/{self.endpoint.repository}: "
                f"digest mismatch: wanted {reference}, got {digest}",
                "the registry or a proxy altered it",
            )
        said = answer.headers.get("Docker-Content-Digest", digest)
        if said != digest and said.startswith("sha256:"):
            self.options.say(f"warning: {self.endpoint.host} names another digest for {reference} than it sent")
        name = f"{self.endpoint.host}/{self.endpoint.repository}{'@' if ':' in reference else ':'}{reference}"
        return Document(data, document_type(data, answer.headers.get("Content-Type", ""), name), digest)

    def blob(self, digest: str, size: int, offset: int = 0) -> BlobStream:
        """Open a blob at ``offset``, or at 0 if the server does not do ranges. One try.

        Raises WrongRangeError, TransientError, NotFoundAtRegistry, UnauthorizedError.
        """
        path = f"/v2/{self.endpoint.repository}/blobs/{digest}"
        headers = {"Range": f"bytes={offset}-{size - 1}"} if offset else {}
        answer = self._request("GET", path, headers, self._pull_scope)
        if answer.status == 416 and offset:
            answer.close()
            raise WrongRangeError(f"registry {self.endpoint.host} refused to continue a download")
        if answer.status == 206 and offset:
            answered = parse_content_range(answer.headers.get("Content-Range", ""))
            if answered is None or answered.first != offset or answered.total not in (None, size):
                answer.close()
                raise WrongRangeError(f"registry {self.endpoint.host} continued a download at the wrong place")
            return BlobStream(answer, offset)
        self._expect(answer, 200, digest, blob=True)
        if answer.length is not None and answer.length != size:
            answer.close()
            raise TransientError(
                f"cannot use blob {digest[:19]} of {self.endpoint.host}: it has {answer.length} bytes, not {size}"
            )
        return BlobStream(answer, 0)

    def ranges(self, digest: str, size: int, wanted: Sequence[tuple[int, int]]) -> PartStream:
        """Open parts (start, end) of a blob. One try; the server may send fewer, others, or all of it.

        Raises WrongRangeError if it does not do such ranges, and what ``blob`` raises.
        """
        path = f"/v2/{self.endpoint.repository}/blobs/{digest}"
        asked = ",".join(f"{start}-{end - 1}" for start, end in wanted)
        answer = self._request("GET", path, {"Range": f"bytes={asked}"}, self._pull_scope)
        if answer.status in (400, 416, 431):
            answer.close()
            raise WrongRangeError(f"registry {self.endpoint.host} refused to send parts of a blob")
        if answer.status != 206:
            self._expect(answer, 200, digest, blob=True)
            return PartStream(answer, _counted(answer.chunks(), 0))
        mark = multipart.boundary(answer.headers.get("Content-Type", ""))
        if mark is not None:
            return PartStream(answer, multipart.parts(answer.chunks(), mark, size))
        answered = parse_content_range(answer.headers.get("Content-Range", ""))
        if answered is None or answered.total not in (None, size):
            answer.close()
            raise WrongRangeError(f"registry {self.endpoint.host} sent another part of a blob than it was asked for")
        return PartStream(answer, _counted(answer.chunks(), answered.first), alone=True)

    def end_of(self, digest: str, size: int, start: int) -> bytes | None:
        """The bytes of a blob from ``start`` to its end; None if the server does not do ranges.

        Raises what ``blob`` raises.
        """
        return self._retrying(lambda: self._end_of(digest, size, start))

    def _end_of(self, digest: str, size: int, start: int) -> bytes | None:
        try:
            stream = self.blob(digest, size, start)
        except WrongRangeError:
            return None
        try:
            if stream.offset != start:
                return None
            found = bytearray()
            for chunk in stream.chunks():
                found += chunk
                if len(found) >= size - start:
                    break
        finally:
            stream.close()
        if len(found) != size - start:
            raise TransientError(f"connection to {self.endpoint.host} was cut")
        return bytes(found)

    @property
    def place(self) -> str:
        """Host and repository, as messages name them."""
        return f"{self.endpoint.host}/{self.endpoint.repository}"

    @property
    def _pull_scope(self) -> str:
        return f"repository:{self.endpoint.repository}:pull"

    def _retrying(self, action: Callable[[], T]) -> T:
        return retrying(action, self.options.limits, self.options.say)

    def _request(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        scope: str,
        body: Callable[[], bytes | Sized] | None = None,
    ) -> Answer:
        """One request, with one new authorization if the registry itself answers 401; ``body`` is made for each."""
        auth = self._connected()
        url = self._base + path
        sent = auth.header(scope)
        answer = self._http.follow(method, url, headers, sent, body)
        if answer.status == 401 and answer.origin == self.origin:
            challenges = parse_challenges(answer.headers.get("WWW-Authenticate", ""))
            answer.close()
            answer = self._http.follow(method, url, headers, auth.answer(challenges, scope, sent), body)
        answer.raise_if_transient()
        if answer.status == 401:
            answer.close()
            raise auth.unauthorized()
        return answer

    def _expect(self, answer: Answer, status: int, what: str, *, blob: bool = False) -> None:
        """Turn any other status into the error that says what happened."""
        if answer.status == status:
            return
        code, message = error_of(answer)
        place = self.place
        separator = "@" if ":" in what else ":"
        if answer.status == 404:
            if code == "NAME_UNKNOWN":
                raise NotFoundAtRegistry(f"cannot find {place}: name unknown: no such repository", "check the name")
            if blob:
                hint = "the registry lost a part of the image: push it again"
                raise NotFoundAtRegistry(f"cannot find blob {what} in {place}: blob unknown to registry", hint)
            raise NotFoundAtRegistry(
                f"cannot find {place}{separator}{what}: manifest unknown", "check the tag, or leave it out for 'latest'"
            )
        if answer.status in (401, 403):
            hint = "the repository may not exist, or your account may not read it"
            if not self._connected().has_credentials:
                hint += f"; log in with 'rootless login {self.endpoint.host}'"
            raise UnauthorizedError(f"cannot read {place}: access denied", hint)
        detail = f": {message}" if message and not self._connected().knows(message) else ""
        raise RegistryError(f"cannot read {place}{separator}{what}: registry answered {answer.status}{detail}")


def _counted(chunks: Iterator[bytes], offset: int) -> Iterator[tuple[int, bytes]]:
    for chunk in chunks:
        yield offset, chunk
        offset += len(chunk)


def error_of(answer: Answer) -> tuple[str, str]:
    """Code and message of the first error in an error body (distribution-spec, "Error Codes"); '' where absent."""
    try:
        document = jsonfast.loads(answer.read(MAX_ERROR_BODY))
        first = document["errors"][0]
        return str(first.get("code", "")), printable(str(first.get("message", "")))
    except (RegistryError, StorageError, KeyError, IndexError, TypeError, AttributeError):
        return "", ""


def document_type(data: bytes, content_type: str, name: str) -> str:
    """The media type of the manifest or index called ``name``: what the document and the header say together.

    Raises RegistryError if they contradict each other, or name nothing that can be pulled.
    """
    header = content_type.partition(";")[0].strip().lower()
    if header in SCHEMA1_TYPES:
        raise RegistryError(
            f"cannot use the manifest of {name}: Docker's schema 1 is not supported",
            "push the image again with a newer tool",
        )
    try:
        return oci.check_media_type(jsonfast.loads_strict(data), None if header in _VAGUE_TYPES else header)
    except StorageError as error:
        hint = error.hint or "what the registry holds under this name is not an image: push it again"
        raise RegistryError(f"cannot use the manifest of {name}: {error.message}", hint) from None
