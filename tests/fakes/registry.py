"""A registry in threads of the test's own process, whose misbehaviour a test scripts.

>>> with FakeRegistry() as fake:
...     image = fake.add_image("app", [b"layer"])
...     fake.script("/blobs/", Reply(cut_after=100))
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import socket
import ssl
import struct
import tarfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fakes.uploads import Uploads

NOT_SENT = 144
"""Where `struct tcp_info` (linux/tcp.h) holds tcpi_notsent_bytes: what was written and is still here."""
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
BOUNDARY = "0a1b2c"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass
class Seen:
    """A request as it came in, and how many bytes of a body were sent for it. Header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""
    sent: int = 0

    @property
    def query(self) -> dict[str, list[str]]:
        """The parameters behind ``?``."""
        return parse_qs(urlsplit(self.path).query)


@dataclass
class Reply:
    """What to do in place of (status given) or to (status None) the honest answer.

    ``cut_after``: close the connection after so many bytes of the body, and with ``reset`` drop what is under way.
    ``stall_after``: send nothing more after so many bytes until ``release``. ``rate``: bytes per second.
    ``ignore_range``: answer 200 to a Range request. ``content_range``: say this instead of the truth. ``flip``: change
    one bit of the body. ``keep``: only so many bytes of the body, and an honest length. ``extra``: more bytes than
    there are. ``chunked``: no length, and with ``endless`` no end. ``raw``: send this in place of any answer, until the
    client has enough. ``read``: take only so many bytes of the request's body (an upload has them then), before the
    answer, or with ``cut`` before the connection is reset, or with ``hang`` before nothing more is taken.
    ``read_rate``: bytes taken per second. ``mute``: do as is asked, but answer nothing.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut_after: int | None = None
    stall_after: int | None = None
    rate: float = 0.0
    ignore_range: bool = False
    content_range: str = ""
    flip: bool = False
    delay: float = 0.0
    reset: bool = False
    keep: int | None = None
    extra: bytes = b""
    chunked: bool = False
    endless: bool = False
    raw: Callable[[], Iterable[bytes]] | None = None
    read: int | None = None
    read_rate: float = 0.0
    cut: bool = False
    hang: bool = False
    mute: bool = False


@dataclass
class _Scripted:
    part: str
    reply: Reply
    times: int


class FakeRegistry:
    """A registry on a loopback port; use it as a context manager. ``host`` is "127.0.0.1:PORT"."""

    def __init__(
        self, *, user: str = "", password: str = "", realm: str = "", address: str = "127.0.0.1", port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        """With ``user`` it wants Basic credentials; with ``realm`` bearer tokens from there ("self": its /token)."""
        self.user, self.password, self.realm = user, password, realm
        self.manifests: dict[tuple[str, str], tuple[bytes, str]] = {}
        self.blobs: dict[str, bytes] = {}
        self.elsewhere: dict[str, bytes] = {}  # in another repository, from which they can be mounted
        self.finished: list[str] = []  # digests of the blobs that were uploaded, in order
        self.found: list[dict[str, Any]] | None = None  # what /v1/search finds; None: there is none
        self.uploads = Uploads(self)
        self.seen: list[Seen] = []
        self.tokens: list[str] = []
        self.token_body: bytes | None = None
        self._scripted: list[_Scripted] = []
        self._lock = threading.Lock()
        self.released = threading.Event()
        self._server = ThreadingHTTPServer((address, port), _handler(self))
        self._server.daemon_threads = True
        self.host = f"{address}:{self._server.server_port}"
        self.url = f"http{'s' if tls else ''}://{self.host}"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)

    def __enter__(self) -> FakeRegistry:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def script(self, part: str, reply: Reply, times: int = 1) -> None:
        """Use ``reply`` for the next ``times`` requests whose path, after ``METHOD ``, holds ``part``."""
        self._scripted.append(_Scripted(part, reply, times))

    def take_script(self, line: str) -> Reply | None:
        """The scripted reply for a request, if there is one left."""
        with self._lock:
            for scripted in self._scripted:
                if scripted.part in line and scripted.times > 0:
                    scripted.times -= 1
                    return scripted.reply
        return None

    def requests(self, part: str) -> list[Seen]:
        """The requests so far whose path, after ``METHOD ``, holds ``part``."""
        return [seen for seen in self.seen if part in f"{seen.method} {seen.path}"]

    # Content

    def put_blob(self, data: bytes, media_type: str) -> dict[str, Any]:
        """Hold a blob; its descriptor."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs[digest] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def put_manifest(self, repository: str, document: object, tag: str = "latest", media_type: str = MANIFEST) -> str:
        """Hold a manifest (an object, or its bytes) under its tag and its digest; the digest."""
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        for reference in (tag, digest):
            self.manifests[repository, reference] = (data, media_type)
        return digest

    def add_image(
        self,
        repository: str,
        layers: Sequence[bytes],
        *,
        tag: str = "latest",
        architecture: str = "amd64",
        config: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Hold an image of uncompressed layer archives; its manifest."""
        document = {
            "created": "2024-01-02T03:04:05Z",
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in layers]},
            **(config or {}),
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.put_blob(json.dumps(document).encode(), CONFIG),
            "layers": [self.put_blob(gzip.compress(tar, 1, mtime=0), LAYER) for tar in layers],
        }
        self.put_manifest(repository, manifest, tag)
        return manifest


def byteranges(data: bytes, wanted: str) -> bytes:
    """The body of an answer to a request for several ranges."""
    body = b""
    for span in wanted.removeprefix("bytes=").split(","):
        first, _, last = span.partition("-")
        head = f"\r\n--{BOUNDARY}\r\nContent-Type: x/y\r\nContent-Range: bytes {first}-{last}/{len(data)}\r\n\r\n"
        body += head.encode() + data[int(first) : int(last) + 1]
    return body + f"\r\n--{BOUNDARY}--\r\n".encode()


def layer(files: Mapping[str, bytes]) -> bytes:
    """An uncompressed layer archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.mode = 0o644
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def _handler(registry: FakeRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self._serve()

        def do_HEAD(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def do_PUT(self) -> None:
            self._serve()

        def do_PATCH(self) -> None:
            self._serve()

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
                self.close_connection = True

        def _serve(self) -> None:
            try:
                self._answer()
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def _answer(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen = Seen(self.command, self.path, headers)
            registry.seen.append(seen)
            reply = registry.take_script(f"{self.command} {self.path}") or Reply()
            seen.body = self._body(int(self.headers.get("Content-Length") or 0), reply)
            registry.released.wait(reply.delay)
            self._seen = seen
            if reply.cut or reply.hang:
                registry.uploads.keep(self.path, seen.body)
                if reply.hang:
                    registry.released.wait(60)
                self._hang_up()
            elif reply.raw is not None:
                self.close_connection = True
                for piece in reply.raw():
                    self.wfile.write(piece)
                    seen.sent += len(piece)
            elif reply.status is not None:
                self._send(reply.status, dict(reply.headers), reply.body, reply)
            elif urlsplit(self.path).path == "/token":
                self._token(seen)
            elif self._admitted(seen):
                self._content(seen, reply)

        def _body(self, length: int, reply: Reply) -> bytes:
            if reply.read is not None and reply.read < length:
                length, self.close_connection = reply.read, True
            parts = []
            step = max(1, int(reply.read_rate / 10)) if reply.read_rate else length
            while length:
                parts.append(self.rfile.read(min(step, length)))
                if not parts[-1] or (reply.read_rate and registry.released.wait(0.1)):
                    break
                length -= len(parts[-1])
            return b"".join(parts)

        def _hang_up(self) -> None:
            """Reset the connection, with all that is under way."""
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True

        def _admitted(self, seen: Seen) -> bool:
            given = seen.headers.get("authorization", "")
            basic = base64.b64encode(f"{registry.user}:{registry.password}".encode()).decode()
            if registry.realm:
                if given.removeprefix("Bearer ") in registry.tokens and given:
                    return True
                realm = f"{registry.url}/token" if registry.realm == "self" else registry.realm
                challenge = f'Bearer realm="{realm}",service="fake",scope="repository:app:pull"'
            elif not registry.user or given == f"Basic {basic}":
                return True
            else:
                challenge = 'Basic realm="fake"'
            body = b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}'
            self._send(401, {"WWW-Authenticate": challenge, "Content-Type": "application/json"}, body)
            return False

        def _token(self, seen: Seen) -> None:
            basic = base64.b64encode(f"{registry.user}:{registry.password}".encode()).decode()
            if registry.user and seen.method == "GET" and seen.headers.get("authorization") != f"Basic {basic}":
                self._send(401, {}, b"{}")
                return
            token = f"token-{len(registry.tokens)}"
            registry.tokens.append(token)
            body = registry.token_body if registry.token_body is not None else json.dumps({"token": token}).encode()
            self._send(200, {"Content-Type": "application/json"}, body)

        def _content(self, seen: Seen, reply: Reply) -> None:
            parts = urlsplit(self.path).path.split("/")
            answer = registry.uploads.answer(seen)
            if reply.mute:
                self._hang_up()
            elif answer is not None:
                self._send(answer[0], {**answer[1], **reply.headers}, answer[2], reply)
            elif self.path == "/v2/":
                self._send(200, {"Content-Type": "application/json"}, b"{}", reply)
            elif "manifests" in parts:
                found = registry.manifests.get(("/".join(parts[2:-2]), parts[-1]))
                if found is None:
                    self._send(404, {}, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')
                    return
                headers = {"Content-Type": found[1], **reply.headers}
                self._send(200, headers, found[0], reply)
            elif parts[-1] in registry.blobs:
                self._blob(seen, registry.blobs[parts[-1]], reply)
            else:
                self._send(404, {}, b'{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]}')

        def _blob(self, seen: Seen, data: bytes, reply: Reply) -> None:
            if reply.flip:
                data = data[:-1] + bytes([data[-1] ^ 1])
            wanted = seen.headers.get("range", "")
            headers = {"Content-Type": "application/octet-stream", **reply.headers}
            if "," in wanted and not reply.ignore_range:
                headers["Content-Type"] = f"multipart/byteranges; boundary={BOUNDARY}"
                self._send(206, headers, byteranges(data, wanted), reply)
            elif wanted and not reply.ignore_range:
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                start, end = int(first), int(last or len(data) - 1)
                headers["Content-Range"] = reply.content_range or f"bytes {start}-{end}/{len(data)}"
                self._send(206, headers, data[start : end + 1], reply)
            else:
                self._send(200, headers, data, reply)

        def _send(self, status: int, headers: dict[str, str], body: bytes, reply: Reply | None = None) -> None:
            reply = reply or Reply()
            body = body[: reply.keep] + reply.extra
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if reply.chunked:
                self.send_header("Transfer-Encoding", "chunked")
                body = b"%x\r\n%s\r\n" % (len(body), body) + (b"" if reply.endless else b"0\r\n\r\n")
            elif "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "HEAD":
                return
            if reply.endless:
                reply = replace(reply, stall_after=len(body))
            if reply.cut_after is not None:
                self._write(body[: reply.cut_after], reply)
                self.wfile.flush()
                if reply.reset:
                    info = self.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                    self._seen.sent -= struct.unpack_from("I", info, NOT_SENT)[0]
                    self._hang_up()
                else:
                    self.connection.shutdown(2)
                self.close_connection = True
            elif reply.stall_after is not None:
                self._write(body[: reply.stall_after], reply)
                self.wfile.flush()
                registry.released.wait(60)
                self.close_connection = True
            else:
                self._write(body, reply)

        def _write(self, body: bytes, reply: Reply) -> None:
            if not reply.rate:
                self.wfile.write(body)
                self._seen.sent += len(body)
                return
            step = max(1, int(reply.rate / 10))
            for start in range(0, len(body), step):
                self.wfile.write(body[start : start + step])
                self._seen.sent += step
                if registry.released.wait(0.1):
                    return

    return Handler
