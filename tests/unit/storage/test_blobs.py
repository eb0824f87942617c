"""Blobs: verified, resumed, written once."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from storage import oci
from storage.blobs import DigestMismatchError
from storage.errors import DamagedError, StorageError
from storage.store import Store
from tests.support import storage as support

DATA = bytes(range(256)) * 1000
DIGEST = oci.Digest.of(DATA)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    with support.store_at(tmp_path) as store:
        return store


def parts(store: Store) -> list[str]:
    return os.listdir(store.layout.tmp)


def test_write_in_pieces(store: Store) -> None:
    with store.blobs.writer(DIGEST, len(DATA)) as writer:
        for start in range(0, len(DATA), 1000):
            assert writer.offset == start
            writer.write(DATA[start:start + 1000])
        assert not store.blobs.has(DIGEST)
        writer.commit()
    assert store.blobs.has(DIGEST, len(DATA))
    assert store.blobs.read(DIGEST, verify=True) == DATA
    assert list(store.blobs.list()) == [DIGEST]
    assert parts(store) == []


def test_sha512(store: Store) -> None:
    import hashlib

    digest = "sha512:" + hashlib.sha512(DATA).hexdigest()
    with store.blobs.writer(digest, len(DATA)) as writer:
        writer.write(DATA)
        writer.commit()
    assert store.blobs.read(digest, verify=True) == DATA


def test_a_cut_is_resumed_by_the_next_process(store: Store) -> None:
    def first_half() -> None:
        with store.blobs.writer(DIGEST, len(DATA)) as writer:
            writer.write(DATA[:100_000])

    assert support.in_child(first_half) == support.FINISHED
    with store.blobs.writer(DIGEST, len(DATA)) as writer:
        assert writer.offset == 100_000
        writer.write(DATA[writer.offset:])
        writer.commit()
    assert store.blobs.read(DIGEST) == DATA


def test_a_damaged_part_is_noticed_and_dropped(store: Store) -> None:
    with store.blobs.writer(DIGEST, len(DATA)) as writer:
        writer.write(b"\0" * 1000)
    with store.blobs.writer(DIGEST, len(DATA)) as writer:
        writer.write(DATA[writer.offset:])
        with pytest.raises(DigestMismatchError):
            writer.commit()
        assert writer.offset == 0
        writer.write(DATA)
        writer.commit()
    assert store.blobs.read(DIGEST) == DATA


@pytest.mark.parametrize("data", [DATA[:-1], DATA[:-1] + b"\0", b""])
def test_wrong_bytes_are_refused(store: Store, data: bytes) -> None:
    with store.blobs.writer(DIGEST, len(DATA)) as writer:
        writer.write(data)
        with pytest.raises(DigestMismatchError):
            writer.commit()
    assert not store.blobs.has(DIGEST)
    assert parts(store) == []


def test_a_byte_too_many_is_refused_at_once(store: Store) -> None:
    with store.blobs.writer(DIGEST, len(DATA)) as writer:
        writer.write(DATA)
        with pytest.raises(DigestMismatchError, match="longer"):
            writer.write(b"x")
    assert parts(store) == []


def test_discard_leaves_nothing(store: Store) -> None:
    writer = store.blobs.writer(DIGEST, len(DATA))
    writer.write(DATA)
    writer.discard()
    writer.close()
    assert parts(store) == []


def test_an_empty_blob(store: Store) -> None:
    digest = oci.Digest.of(b"")
    with store.blobs.writer(digest, 0) as writer:
        writer.commit()
    assert store.blobs.read(digest) == b""


def test_two_writers_take_turns(store: Store) -> None:
    """The second waits, then finds the blob stored and has nothing to fetch."""
    first = store.blobs.writer(DIGEST, len(DATA))
    done: list[bool] = []

    def second() -> None:
        with store.blobs.writer(DIGEST, len(DATA)) as writer:
            done.append(writer.done)
            assert writer.offset == len(DATA)
            writer.commit()

    thread = threading.Thread(target=second)
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    first.write(DATA)
    first.commit()
    thread.join(5)
    assert done == [True]
    assert parts(store) == []


def test_a_blob_of_the_wrong_length_is_fetched_again(store: Store) -> None:
    store.blobs.put(DATA)
    Path(store.blobs.path(DIGEST)).write_bytes(b"")
    assert not store.blobs.has(DIGEST, len(DATA))
    with store.blobs.writer(DIGEST, len(DATA)) as writer:
        assert not writer.done
        writer.write(DATA)
        writer.commit()
    assert store.blobs.read(DIGEST, verify=True) == DATA
    Path(store.blobs.path(DIGEST)).write_bytes(b"")
    store.blobs.put(DATA)
    assert store.blobs.read(DIGEST) == DATA


@pytest.mark.parametrize("digest", ["sha256:../../x", "sha256:", "../x", "sha256:" + "A" * 64, "md5:" + "0" * 32, "\0"])
def test_what_is_no_digest_becomes_no_path(store: Store, digest: str) -> None:
    for use in (store.blobs.path, store.blobs.has, store.blobs.read, store.blobs.remove):
        with pytest.raises(StorageError):
            use(digest)
    with pytest.raises(StorageError):
        store.blobs.writer(digest, 1)


@pytest.mark.parametrize("size", [-1, 1 << 62])
def test_sizes_out_of_range(store: Store, size: int) -> None:
    with pytest.raises(StorageError):
        store.blobs.writer(DIGEST, size)


def test_reading(store: Store) -> None:
    with pytest.raises(DamagedError, match="missing"):
        store.blobs.read(DIGEST)
    store.blobs.put(DATA)
    with pytest.raises(DamagedError, match="limit"):
        store.blobs.read(DIGEST, 1000)
    Path(store.blobs.path(DIGEST)).write_bytes(DATA[::-1])
    with pytest.raises(DamagedError, match="digest"):
        store.blobs.read(DIGEST, verify=True)
    with pytest.raises(DamagedError, match="JSON"):
        store.blobs.read_document(DIGEST)


def test_a_link_in_place_of_a_blob_is_not_followed(store: Store, tmp_path: Path) -> None:
    (tmp_path / "canary").write_bytes(DATA)
    os.symlink(tmp_path / "canary", store.blobs.path(DIGEST))
    assert not store.blobs.has(DIGEST)
    with pytest.raises(StorageError):
        store.blobs.read(DIGEST)


def write_whole(store: Store) -> None:
    with store.blobs.writer(DIGEST, len(DATA)) as writer:
        if not writer.done:
            writer.write(DATA[writer.offset:])
        writer.commit()


def test_killed_or_failing_anywhere(store: Store) -> None:
    for strike in (support.killed_at, support.failing_at):
        number = 1
        while (code := strike(number, lambda: write_whole(store))) != support.FINISHED:
            assert code != support.ESCAPED
            if store.blobs.has(DIGEST):
                assert store.blobs.read(DIGEST, verify=True) == DATA
            write_whole(store)
            assert store.blobs.read(DIGEST, verify=True) == DATA
            assert parts(store) == []
            store.blobs.remove(DIGEST)
            number += 1
        assert number > 3
        store.blobs.remove(DIGEST)
