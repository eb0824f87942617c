"""What the table of `registry_scenarios.py` cannot tell by how a pull ends: which requests are sent, and when.

Downloads side by side, the place where a stalled one goes on, and what is sent before and after a challenge.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rootless.errors import RootlessError
from rootless.registry.authfile import Credentials
from rootless.registry.client import Registry
from rootless.registry.download import Downloader
from rootless.registry.errors import UnauthorizedError
from rootless.registry.options import ConnectionOptions
from rootless.registry.registries_conf import Endpoint
from storage.store import Store
from tests.fakes.registry import FakeRegistry, Reply
from tests.faults.registry_stage import QUICK
from tests.support import pulling

BLOB = os.urandom(3_000_000)
USER = Credentials("me", "a secret")


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return pulling.new_store(tmp_path)


def connect(fake: FakeRegistry, credentials: Credentials | None = None) -> Registry:
    options = ConnectionOptions(credentials=credentials, limits=QUICK, authfile=os.devnull)
    return Registry(Endpoint(fake.host, "app", insecure=True), options)


@pytest.mark.parametrize("reply", [Reply(stall_after=500_000), Reply(rate=5_000)], ids=["stops", "crawls"])
def test_a_stalled_transfer_goes_on_where_it_is(fake: FakeRegistry, store: Store, reply: Reply) -> None:
    entry = fake.put_blob(BLOB, "application/octet-stream")
    fake.script("/blobs/", reply)
    Downloader([connect(fake)], lambda *_: None).fetch(store.blobs, entry["digest"], entry["size"])
    assert store.blobs.read(entry["digest"], limit=len(BLOB), verify=True) == BLOB
    first, second = fake.requests("/blobs/")
    assert "range" not in first.headers
    start, _, end = second.headers["range"].removeprefix("bytes=").partition("-")
    assert 0 < int(start) <= 500_000
    assert int(end) == len(BLOB) - 1


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


def test_basic_credentials_are_sent_after_a_challenge_only(fake: FakeRegistry) -> None:
    fake.user, fake.password = USER.username, USER.password
    fake.add_image("app", [b""])
    connect(fake, USER).manifest("latest")
    assert [("authorization" in seen.headers) for seen in fake.requests("/manifests/")] == [False, True]


def test_a_token_is_had_and_used_for_all_requests(fake: FakeRegistry, store: Store) -> None:
    fake.realm, fake.user, fake.password = "self", USER.username, USER.password
    entry = fake.put_blob(BLOB, "x")
    fake.add_image("app", [b""])
    registry = connect(fake, USER)
    registry.manifest("latest")
    Downloader([registry], lambda *_: None).fetch(store.blobs, entry["digest"], entry["size"])
    assert len(fake.requests("/token")) == 1
    assert fake.requests("/token")[0].query["scope"] == ["repository:app:pull"]


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
