"""The vocabulary of `registry_scenarios.py`: what a registry, and what lies between it and a client, can do wrong."""

from __future__ import annotations

import gzip
import itertools
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rootless.registry.retry import Limits
from tests.fakes.proxy import FakeProxy
from tests.fakes.registry import INDEX, FakeRegistry, Reply, layer
from tests.support.certificates import Authority, serving

QUICK = Limits(connect_timeout=5, idle_seconds=1, idle_rate=20_000, first_wait=0.01, longest_wait=2)
"""The limits of the program, but for the times."""

PING, MANIFEST, CONFIG, LAYER, TOKEN = "/v2/", "/manifests/", "config", "layer", "/token"  # noqa: S105 - parts of a path
ALWAYS = 99
HUGE = 64 << 20
WHOLE = "the whole image"


@dataclass
class Stage:
    """Where one scenario takes place: an image ``app`` at ``fake``, called ``name`` by who pulls."""

    fake: FakeRegistry
    manifest: dict[str, Any]
    directory: Path
    authority: Callable[[], Authority]
    monkeypatch: pytest.MonkeyPatch
    stack: ExitStack
    name: str = ""
    tls_verify: bool | None = False
    cert_dir: str = ""

    def digest(self, part: str) -> str:
        """The part of a path that a scenario's ``part`` stands for."""
        found = {CONFIG: self.manifest["config"], LAYER: self.manifest["layers"][0]}.get(part)
        return part if found is None else str(found["digest"])

    def put(self) -> str:
        """Serve ``manifest`` as it is now; its digest."""
        return self.fake.put_manifest("app", self.manifest)

    def configure(self, text: str) -> None:
        """Give the client a registries.conf."""
        path = self.directory / "registries.conf"
        path.write_text(text)
        self.monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(path))

    def another(self) -> FakeRegistry:
        """One more registry, with the same content."""
        other = self.stack.enter_context(FakeRegistry(address="127.0.0.2"))
        other.manifests, other.blobs = dict(self.fake.manifests), dict(self.fake.blobs)
        return other


@dataclass(frozen=True)
class Scenario:
    """One row. ``most``: how many requests for the part of the last script, or the manifest, there may be."""

    name: str
    script: tuple[tuple[str, Reply, int], ...] = ()
    refused: str = ""
    said: str = ""
    most: int = 0
    change: Callable[[Stage], object] | None = None
    set_up: Callable[[Stage], object] | None = None
    by_command: bool = False
    """Whether the program itself is tried too, which has its own limits and must not have to wait for them."""
    row: int = 0
    """That of the list of attacks which the scenario tries (0: none)."""

    def __str__(self) -> str:
        """For the name of a test, which tells the row by its end."""
        return f"{self.name}_row_{self.row}" if self.row else self.name


def on(part: str, times: int = 1, /, **reply: Any) -> tuple[str, Reply, int]:
    """The next ``times`` requests for ``part`` are answered so."""
    return part, Reply(**reply), times


def status(code: int, **headers: str) -> dict[str, Any]:
    """An answer without a body."""
    return {"status": code, "headers": {name.replace("_", "-"): value for name, value in headers.items()}}


# Answers byte by byte


def crawl(text: bytes, seconds: float) -> Callable[[], Iterator[bytes]]:
    def pieces() -> Iterator[bytes]:
        for byte in text:
            time.sleep(seconds)
            yield bytes([byte])

    return pieces


def repeat(text: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: itertools.repeat(text)


SLOW_HEADERS = {"raw": crawl(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 200, 0.4)}
ENDLESS_INTERIM = {"raw": repeat(b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n" * 100)}
ENDLESS_BODY = {"raw": lambda: itertools.chain([b"HTTP/1.1 200 OK\r\n\r\n"], itertools.repeat(b"x" * 65536))}
FOUND = b"HTTP/1.1 302 Found\r\nLocation: /v2/app/manifests/latest\r\n"
ENDLESS_REDIRECT = {"raw": lambda: itertools.chain([FOUND + b"\r\n"], itertools.repeat(b"x" * 65536))}
BOMB = gzip.compress(gzip.compress(bytes(100 << 20), 1), 1)
BOMB_REDIRECT = {"raw": lambda: iter([FOUND + b"Content-Encoding: gzip, gzip\r\n\r\n" + BOMB])}
HANG_UP: dict[str, Any] = {"raw": lambda: iter(())}


# Content


def size(value: Any) -> Callable[[Stage], object]:
    def change(stage: Stage) -> None:
        stage.manifest["layers"][0]["size"] = value
        stage.put()

    return change


def digest(value: str) -> Callable[[Stage], object]:
    def change(stage: Stage) -> None:
        stage.manifest["layers"][0]["digest"] = value
        stage.put()

    return change


def served(document: object, media_type: str = "") -> Callable[[Stage], object]:
    """The manifest is this in place of itself; a function makes it of the true one."""

    def change(stage: Stage) -> None:
        made = document(stage.manifest) if callable(document) else document
        stage.fake.put_manifest("app", made, media_type=media_type or stage.manifest["mediaType"])

    return change


def many_sizes(stage: Stage) -> None:
    """Each fits on a disk, together they do not."""
    stage.manifest["layers"] = [
        {**stage.manifest["layers"][0], "digest": f"sha256:{number:064x}", "size": 1 << 38} for number in range(100)
    ]
    config = {"rootfs": {"type": "layers", "diff_ids": [f"sha256:{n:064x}" for n in range(100)]}, "os": "linux"}
    stage.manifest["config"] = stage.fake.put_blob(json.dumps(config).encode(), stage.manifest["config"]["mediaType"])
    stage.put()


def index_without_its_manifest(stage: Stage) -> None:
    entry = {"mediaType": stage.manifest["mediaType"], "digest": "sha256:" + "1" * 64, "size": 5,
             "platform": {"os": "linux", "architecture": "amd64"}}  # fmt: skip
    stage.fake.put_manifest("app", {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}, media_type=INDEX)


def pinned_and_altered(stage: Stage) -> None:
    pinned = stage.put()
    stage.name = f"{stage.fake.host}/app@{pinned}"
    stage.fake.manifests["app", pinned] = (json.dumps({**stage.manifest, "x": 1}).encode(), stage.manifest["mediaType"])


MANY_OBJECTS = b'{"schemaVersion":2,"x":[' + b'{"":0},' * 590_000 + b"0]}"
MANY_KEYS = b'{"schemaVersion":2' + b"".join(b',"%x":1' % number for number in range(400_000)) + b"}"

# Tokens


def wants_token(stage: Stage) -> None:
    stage.fake.realm = "self"


def token_is(body: bytes) -> Callable[[Stage], object]:
    def change(stage: Stage) -> None:
        stage.fake.realm, stage.fake.token_body = "self", body

    return change


def token_expires(stage: Stage) -> None:
    """The first answers to a layer's requests are that the token is too old, once before and once amid the layer."""
    stage.fake.realm = "self"
    refusal = Reply(status=401, headers={"WWW-Authenticate": f'Bearer realm="{stage.fake.url}/token"'})
    for reply in (refusal, Reply(cut_after=400_000), refusal):
        stage.fake.script(stage.digest(LAYER), reply)


# TLS


def certified(*alternatives: str, days: int = 2, trusted: bool = True) -> Callable[[Stage], object]:
    """The registry is behind TLS, with a certificate for ``alternatives``."""

    def set_up(stage: Stage) -> None:
        authority = stage.authority()
        context = serving(authority.issue("server", *alternatives, days=days))
        behind_tls(stage, context, authority, trusted)

    return set_up


def behind_tls(stage: Stage, context: Any, authority: Authority, trusted: bool) -> None:
    fake = stage.stack.enter_context(FakeRegistry(tls=context))
    fake.manifests, fake.blobs = stage.fake.manifests, stage.fake.blobs
    stage.fake, stage.name, stage.tls_verify = fake, f"{fake.host}/app", None
    if trusted:
        stage.monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))


def old_tls(stage: Stage) -> None:
    import ssl

    authority = stage.authority()
    context = serving(authority.issue("server", "IP:127.0.0.1"))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1
    behind_tls(stage, context, authority, trusted=True)


def no_tls(stage: Stage) -> None:
    stage.tls_verify = None


# Names, proxies and mirrors


def flapping_name(stage: Stage) -> None:
    """The first question for an address gets the answer that a resolver gives when its servers are silent."""
    asked = itertools.count()
    real = socket.getaddrinfo

    def getaddrinfo(*arguments: Any, **keywords: Any) -> Any:
        if next(asked) < 2:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real(*arguments, **keywords)

    stage.monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def late(stage: Stage) -> None:
    """Nobody listens at the registry's address until a client has asked there twice."""
    held = stage.stack.enter_context(socket.socket())
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    port = held.getsockname()[1]
    asked = itertools.count()
    real = socket.getaddrinfo

    def getaddrinfo(*arguments: Any, **keywords: Any) -> Any:
        if next(asked) == 2:
            there = stage.stack.enter_context(FakeRegistry(port=port))
            there.manifests, there.blobs = stage.fake.manifests, stage.fake.blobs
        return real(*arguments, **keywords)

    stage.monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    stage.name = f"127.0.0.1:{port}/app"


def by_proxy(status: int = 200, *, known: bool = True, alive: bool = True) -> Callable[[Stage], object]:
    """The registry is called registry.example.com and reached by a proxy."""

    def set_up(stage: Stage) -> None:
        authority = stage.authority()
        behind_tls(stage, serving(authority.issue("server", "DNS:registry.example.com")), authority, trusted=True)
        hosts = {"registry.example.com:443": stage.fake} if known else {}
        proxy = stage.stack.enter_context(FakeProxy(hosts, status=status))
        url = proxy.url if alive else "http://127.0.0.1:1"
        stage.monkeypatch.setenv("https_proxy", url.replace("http://", "http://user:sesame@"))
        stage.name = "registry.example.com/app"

    return set_up


def not_by_proxy(no_proxy: str) -> Callable[[Stage], object]:
    """The registry has an address of this machine that is none of loopback's; the proxy is down."""

    def set_up(stage: Stage) -> None:
        real = socket.getaddrinfo

        def getaddrinfo(host: Any, *arguments: Any, **keywords: Any) -> Any:
            return real("127.0.0.1" if host == "registry.example.com" else host, *arguments, **keywords)

        stage.monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        stage.monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        stage.monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
        port = stage.fake.host.rpartition(":")[2]
        stage.monkeypatch.setenv("no_proxy", no_proxy.format(port=port))
        stage.name = f"registry.example.com:{port}/app"

    return set_up


def mirrored(spoil: Callable[[Stage, FakeRegistry], object], *, pinned: bool = False) -> Callable[[Stage], object]:
    """The registry has a mirror, which is asked first and which ``spoil`` spoils."""

    def set_up(stage: Stage) -> None:
        mirror = stage.another()
        spoil(stage, mirror)
        host = stage.fake.host
        stage.configure(
            f'[[registry]]\nlocation = "{host}"\ninsecure = true\n'
            f'[[registry.mirror]]\nlocation = "{mirror.host}"\ninsecure = true\n'
        )
        stage.name = f"{host}/app" + (f"@{stage.put()}" if pinned else "")

    return set_up


def lie(_stage: Stage, mirror: FakeRegistry) -> None:
    """Another image under the same tag and the same digest."""
    other = FakeRegistry()
    other.add_image("app", [layer({"other": b"image"})])
    document = other.manifests["app", "latest"]
    mirror.manifests = dict.fromkeys(mirror.manifests, document)
    mirror.blobs |= other.blobs
    other._server.server_close()


def lie_in_layers(_stage: Stage, mirror: FakeRegistry) -> None:
    mirror.blobs = {name: data[:-1] + b"?" if len(data) > 1000 else data for name, data in mirror.blobs.items()}


def lose_children(stage: Stage, mirror: FakeRegistry) -> None:
    data, media_type = stage.fake.manifests["app", "latest"]
    entry = {**stage.fake.put_blob(data, media_type), "platform": {"os": "linux", "architecture": "amd64"}}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
    for fake in (stage.fake, mirror):
        fake.put_manifest("app", index, media_type=INDEX)
    mirror.manifests = {key: value for key, value in mirror.manifests.items() if value[1] == INDEX}


def die(_stage: Stage, mirror: FakeRegistry) -> None:
    mirror.script("/", Reply(status=503), ALWAYS)
