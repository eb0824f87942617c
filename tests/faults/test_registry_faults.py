"""The registry client against a registry that misbehaves on purpose: it recovers by itself, or says why not."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rootless.errors import RootlessError
from rootless.registry.authfile import Credentials
from rootless.registry.client import Registry
from rootless.registry.download import Downloader
from rootless.registry.errors import RegistryError, TransientError, UnauthorizedError
from rootless.registry.options import ConnectionOptions
from rootless.registry.registries_conf import Endpoint
from rootless.registry.retry import Limits
from storage.blobs import DigestMismatchError
from storage.store import Store
from tests.fakes.registry import INDEX, MANIFEST, FakeRegistry, Reply

QUICK = Limits(connect_timeout=5, idle_seconds=0.5, idle_rate=20_000, first_wait=0.01, longest_wait=2)
BLOB = os.urandom(3_000_000)
USER = Credentials("me", "a secret")

Connect = Callable[..., Registry]


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "data"), str(tmp_path / "run"))


def connect(fake: FakeRegistry, credentials: Credentials | None = None, said: list[str] | None = None) -> Registry:
    options = ConnectionOptions(
        credentials=credentials, limits=QUICK, say=(said if said is not None else []).append, authfile=os.devnull
    )
    return Registry(Endpoint(fake.host, "app", insecure=True), options)


def fetch(fake: FakeRegistry, store: Store, data: bytes = BLOB, said: list[str] | None = None) -> str:
    """Hold ``data`` at the registry and fetch it; its digest."""
    entry = fake.put_blob(data, "application/octet-stream")
    Downloader([connect(fake, said=said)], lambda *_: None).fetch(store.blobs, entry["digest"], entry["size"])
    assert store.blobs.read(entry["digest"], limit=len(data), verify=True) == data
    return str(entry["digest"])


def sent(fake: FakeRegistry) -> list[str]:
    """The Range headers of the requests for blobs, '' for none."""
    return [seen.headers.get("range", "") for seen in fake.requests("/blobs/")]


# Downloads that recover


def test_a_cut_download_is_resumed_where_it_was_cut(fake: FakeRegistry, store: Store) -> None:
    fake.script("/blobs/", Reply(cut_after=1_000_000))
    fetch(fake, store)
    assert sent(fake) == ["", f"bytes=1000000-{len(BLOB) - 1}"]


def test_twenty_cuts_in_a_row_are_survived(fake: FakeRegistry, store: Store) -> None:
    fake.script("/blobs/", Reply(cut_after=140_000), times=20)
    fetch(fake, store)
    assert len(sent(fake)) == 21


def test_a_server_that_ignores_ranges_is_read_past_what_is_there(fake: FakeRegistry, store: Store) -> None:
    fake.script("/blobs/", Reply(cut_after=1_000_000))
    fake.script("/blobs/", Reply(ignore_range=True))
    fetch(fake, store)


def test_a_wrong_content_range_is_not_believed(fake: FakeRegistry, store: Store) -> None:
    fake.script("/blobs/", Reply(cut_after=1_000_000))
    fake.script("/blobs/", Reply(content_range=f"bytes 5-{len(BLOB) - 1}/{len(BLOB)}"))
    fetch(fake, store)
    assert sent(fake)[-1] == ""


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_failure_is_retried(fake: FakeRegistry, store: Store, status: int) -> None:
    fake.script("/blobs/", Reply(status=status))
    fetch(fake, store)


def test_retry_after_is_honoured_and_announced(fake: FakeRegistry, store: Store) -> None:
    fake.script("/blobs/", Reply(status=429, headers={"Retry-After": "1"}))
    said: list[str] = []
    started = time.monotonic()
    fetch(fake, store, said=said)
    assert time.monotonic() - started >= 1.0
    assert "too many requests" in said[0]


def test_an_endless_retry_after_is_bounded(fake: FakeRegistry, store: Store) -> None:
    fake.script("/blobs/", Reply(status=429, headers={"Retry-After": "100000"}))
    started = time.monotonic()
    fetch(fake, store)
    assert time.monotonic() - started < 5


def test_a_transfer_that_crawls_is_begun_anew_from_where_it_is(fake: FakeRegistry, store: Store) -> None:
    fake.script("/blobs/", Reply(rate=5_000))
    fetch(fake, store)
    assert sent(fake)[1].startswith("bytes=")


def test_a_transfer_that_stops_is_begun_anew(fake: FakeRegistry, store: Store) -> None:
    fake.script("/blobs/", Reply(stall_after=500_000))
    fetch(fake, store)
    assert sent(fake)[1] == f"bytes=500000-{len(BLOB) - 1}"


def test_three_stalls_are_an_error(fake: FakeRegistry, store: Store) -> None:
    fake.script("/blobs/", Reply(stall_after=100_000), times=9)
    with pytest.raises(TransientError, match="sends too slowly"):
        fetch(fake, store)
    assert len(sent(fake)) == 3


def test_one_wrong_copy_is_fetched_again(fake: FakeRegistry, store: Store) -> None:
    fake.script("/blobs/", Reply(flip=True))
    fetch(fake, store)


def test_wrong_bytes_twice_are_refused_and_not_kept(fake: FakeRegistry, store: Store) -> None:
    fake.script("/blobs/", Reply(flip=True), times=2)
    with pytest.raises(DigestMismatchError):
        fetch(fake, store)
    assert os.listdir(store.layout.tmp) == []
    assert list(store.blobs.list()) == []


def test_the_next_process_goes_on_from_what_is_there(fake: FakeRegistry, store: Store) -> None:
    fake.script("/blobs/", Reply(cut_after=2_000_000))
    fake.script("/blobs/", Reply(status=500), times=3)
    with pytest.raises(TransientError):
        fetch(fake, store)
    fake.seen.clear()
    fetch(fake, store)
    assert sent(fake) == [f"bytes=2000000-{len(BLOB) - 1}"]


def test_a_blob_longer_than_its_size_is_not_read_on(fake: FakeRegistry, store: Store) -> None:
    entry = fake.put_blob(BLOB, "application/octet-stream")
    with pytest.raises(RegistryError, match=f"it has {len(BLOB)} bytes, not 1000"):
        Downloader([connect(fake)], lambda *_: None).fetch(store.blobs, entry["digest"], 1000)


def test_two_fetches_of_one_blob_share_one_transfer(fake: FakeRegistry, store: Store) -> None:
    entry = fake.put_blob(BLOB, "application/octet-stream")
    fake.script("/blobs/", Reply(delay=0.3))
    jobs = [lambda: Downloader([connect(fake)], lambda *_: None).fetch(store.blobs, entry["digest"], entry["size"])] * 4
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fake.requests("/blobs/")) == 1


def test_one_failure_stops_the_other_downloads(fake: FakeRegistry, store: Store) -> None:
    slow, gone = fake.put_blob(BLOB, "x"), "sha256:" + "0" * 64
    fake.script(slow["digest"], Reply(rate=200_000))
    downloader = Downloader([connect(fake)], lambda *_: None)
    started = time.monotonic()
    with pytest.raises(RootlessError, match="blob unknown"):
        downloader.run(
            [
                lambda: downloader.fetch(store.blobs, slow["digest"], slow["size"]),
                lambda: downloader.fetch(store.blobs, gone, 5),
            ]
        )
    assert time.monotonic() - started < 5


# Redirects


def test_credentials_stay_with_their_host(fake: FakeRegistry, store: Store) -> None:
    fake.user, fake.password = USER.username, USER.password
    with FakeRegistry() as other:
        entry = other.put_blob(BLOB, "x")
        fake.script("/blobs/", Reply(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'}))
        fake.script("/blobs/", Reply(status=307, headers={"Location": f"{other.url}/v2/app/blobs/{entry['digest']}"}))
        Downloader([connect(fake, USER)], lambda *_: None).fetch(store.blobs, entry["digest"], entry["size"])
        assert "authorization" in fake.requests("/blobs/")[-1].headers
        assert [seen.headers.get("authorization") for seen in other.seen] == [None]


@pytest.mark.parametrize("location", ["file:///etc/passwd", "unix:///run/x", "ftp://host/x", "http://u:p@host/x"])
def test_a_redirect_to_anything_else_is_refused(fake: FakeRegistry, location: str) -> None:
    fake.script("/manifests/", Reply(status=302, headers={"Location": location}))
    with pytest.raises(RegistryError, match="cannot follow"):
        connect(fake).manifest("latest")


def test_redirects_end(fake: FakeRegistry) -> None:
    fake.script("/manifests/", Reply(status=302, headers={"Location": "/v2/app/manifests/latest"}), times=99)
    with pytest.raises(RegistryError, match="more than 5 redirects"):
        connect(fake).manifest("latest")
    assert len(fake.requests("/manifests/")) == 6


# Credentials


def test_basic_credentials_are_sent_after_a_challenge_only(fake: FakeRegistry) -> None:
    fake.user, fake.password = USER.username, USER.password
    fake.add_image("app", [b""])
    connect(fake, USER).manifest("latest")
    assert [("authorization" in seen.headers) for seen in fake.requests("/manifests/")] == [False, True]


def test_wrong_credentials_are_told_apart_from_none(fake: FakeRegistry) -> None:
    fake.user, fake.password = USER.username, "other"
    with pytest.raises(UnauthorizedError, match="invalid username/password"):
        connect(fake, USER).manifest("latest")
    with pytest.raises(UnauthorizedError, match="authentication required"):
        connect(fake).manifest("latest")


def test_a_token_is_had_and_used_for_all_requests(fake: FakeRegistry, store: Store) -> None:
    fake.realm, fake.user, fake.password = "self", USER.username, USER.password
    entry = fake.put_blob(BLOB, "x")
    fake.add_image("app", [b""])
    registry = connect(fake, USER)
    registry.manifest("latest")
    Downloader([registry], lambda *_: None).fetch(store.blobs, entry["digest"], entry["size"])
    assert len(fake.requests("/token")) == 1
    assert fake.requests("/token")[0].query["scope"] == ["repository:app:pull"]


def test_an_expired_token_is_renewed_in_the_middle(fake: FakeRegistry, store: Store) -> None:
    fake.realm = "self"
    entry = fake.put_blob(BLOB, "x")
    fake.add_image("app", [b""])
    registry = connect(fake)
    registry.manifest("latest")
    fake.tokens[:] = ["expired"]
    Downloader([registry], lambda *_: None).fetch(store.blobs, entry["digest"], entry["size"])
    assert len(fake.requests("/token")) == 2


def test_a_token_that_is_always_refused_ends(fake: FakeRegistry) -> None:
    fake.realm = "self"
    fake.script("/manifests/", Reply(status=401, headers={"WWW-Authenticate": f'Bearer realm="{fake.url}/token"'}), 99)
    with pytest.raises(UnauthorizedError):
        connect(fake).manifest("latest")
    assert len(fake.requests("/manifests/")) == 2


def test_an_identity_token_is_exchanged_by_post(fake: FakeRegistry) -> None:
    fake.realm = "self"
    fake.add_image("app", [b""])
    connect(fake, Credentials("<token>", identity_token="refresh me")).manifest("latest")
    asked = fake.requests("/token")[0]
    assert asked.method == "POST"
    assert b"refresh_token=refresh+me" in asked.body
    assert b"grant_type=refresh_token" in asked.body


@pytest.mark.parametrize("kind", ["other-host", "redirect"])
def test_a_password_goes_to_no_other_host(fake: FakeRegistry, kind: str) -> None:
    fake.user, fake.password = USER.username, USER.password
    with FakeRegistry(address="127.0.0.2") as other:
        if kind == "other-host":
            fake.realm = f"{other.url}/token"
        else:
            fake.realm = "self"
            fake.script("/token", Reply(status=307, headers={"Location": f"{other.url}/token"}))
        with pytest.raises(RegistryError):
            connect(fake, USER).manifest("latest")
        assert other.seen == []


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"token": 5}', b'{"token": "a\\nb"}', b"x" * 2_000_000, b"[" * 100_000]
)
def test_a_malformed_token_is_refused(fake: FakeRegistry, body: bytes) -> None:
    fake.realm = "self"
    fake.token_body = body
    with pytest.raises(RegistryError):
        connect(fake).manifest("latest")


# Manifests


def answered(fake: FakeRegistry, document: object, media_type: str = MANIFEST) -> str:
    """Why the client refuses ``document``."""
    fake.put_manifest("app", document, media_type=media_type)
    with pytest.raises(RegistryError) as refusal:
        connect(fake).manifest("latest")
    return refusal.value.message


def test_documents_that_cannot_be_trusted_are_refused(fake: FakeRegistry) -> None:
    entry = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:" + "0" * 64, "size": 2}
    manifest = {"schemaVersion": 2, "config": entry, "layers": []}
    assert "ambiguous" in answered(fake, {**manifest, "manifests": []})
    assert "calls itself" in answered(fake, {**manifest, "mediaType": INDEX})
    assert "JSON" in answered(fake, b"[" * 1_000_000)
    assert "JSON" in answered(fake, b'{"schemaVersion": 2, "schemaVersion": 2}')
    assert "text/html" in answered(fake, manifest, "text/html")
    assert "larger than" in answered(fake, b"{" + b" " * (5 << 20) + b"}")
    assert "schema 1" in answered(
        fake, {"schemaVersion": 1}, "application/vnd.docker.distribution.manifest.v1+prettyjws"
    )


def test_a_pinned_digest_is_checked(fake: FakeRegistry) -> None:
    digest = fake.put_manifest("app", {"schemaVersion": 2})
    fake.manifests["app", digest] = (b'{"schemaVersion": 2, "altered": true}', MANIFEST)
    with pytest.raises(RegistryError, match="digest mismatch"):
        connect(fake).manifest(digest)


def test_another_docker_content_digest_is_warned_of(fake: FakeRegistry) -> None:
    fake.add_image("app", [b""])
    fake.script("/manifests/", Reply(headers={"Docker-Content-Digest": "sha256:" + "0" * 64}))
    said: list[str] = []
    connect(fake, said=said).manifest("latest")
    assert "another digest" in said[0]


def test_a_compressed_answer_is_refused(fake: FakeRegistry) -> None:
    fake.add_image("app", [b""])
    fake.script("/manifests/", Reply(headers={"Content-Encoding": "gzip, gzip"}))
    with pytest.raises(RegistryError, match="encoded"):
        connect(fake).manifest("latest")


@pytest.mark.parametrize("headers", [{"X": "y" * 100_000}, {f"X-{n}": "y" * 4000 for n in range(80)}])
def test_giant_headers_are_refused(fake: FakeRegistry, headers: dict[str, str]) -> None:
    fake.script("/manifests/", Reply(status=200, headers=headers))
    with pytest.raises(RegistryError, match="headers are too large"):
        connect(fake).manifest("latest")


# Being reached


def test_unreachable_hosts_are_named() -> None:
    options = ConnectionOptions(limits=QUICK)
    for host, why in (("127.0.0.1:1", "connection refused"), ("no-such-host.invalid", "no such host")):
        with pytest.raises(TransientError, match=why) as refusal:
            Registry(Endpoint(host, "app"), options).manifest("latest")
        assert host.partition(":")[0] in refusal.value.message


def test_plain_http_is_spoken_only_to_registries_marked_insecure(fake: FakeRegistry) -> None:
    fake.add_image("app", [b""])
    with pytest.raises(RegistryError, match="does not speak TLS"):
        Registry(Endpoint(fake.host, "app"), ConnectionOptions(limits=QUICK)).manifest("latest")
    assert fake.seen == []


def test_no_answer_is_not_waited_for_long(fake: FakeRegistry) -> None:
    fake.script("/v2/", Reply(delay=30), times=9)
    started = time.monotonic()
    with pytest.raises(TransientError, match="no answer in time"):
        connect(fake).manifest("latest")
    assert time.monotonic() - started < 10


def test_a_proxy_that_is_down_is_named(fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://user:pass@127.0.0.1:1")
    with pytest.raises(RegistryError, match="proxy") as refusal:
        Registry(Endpoint("registry.example.com", "app"), ConnectionOptions(limits=QUICK)).manifest("latest")
    assert "pass" not in refusal.value.message
