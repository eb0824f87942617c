"""Volumes."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from storage import gc
from storage.errors import DamagedError, NameInUseError, NotFoundError, StorageError
from storage.store import Store
from tests.support import storage as support


@pytest.fixture
def store(tmp_path: Path) -> Store:
    with support.store_at(tmp_path) as store:
        return store


def test_life(store: Store) -> None:
    record = store.volumes.create("data", labels={"a": "b"}, options={"o": "x"})
    assert store.volumes.load("data") == record
    assert record["labels"] == {"a": "b"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record["created"])
    assert store.volumes.list() == [record]
    assert store.volumes.exists("data")
    path = Path(store.volumes.path("data"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    (path / "file").touch()
    store.volumes.save("data", {**record, "needs_copy_up": False})
    assert store.volumes.load("data")["needs_copy_up"] is False
    store.volumes.remove("data")
    assert not store.volumes.exists("data")
    assert os.listdir(store.layout.volumes) == os.listdir(store.layout.trash) == []
    volumes = store.volumes
    for use in (volumes.load, volumes.remove, volumes.find, lambda name: volumes.save(name, {})):
        with pytest.raises(NotFoundError, match="no such volume"):
            use("data")


def test_a_name_in_use(store: Store) -> None:
    store.volumes.create("data")
    with pytest.raises(NameInUseError, match="volume already exists"):
        store.volumes.create("data")
    assert os.listdir(store.layout.tmp) == []


def test_anonymous_volumes(store: Store) -> None:
    record = store.volumes.create(anonymous=True, durable=False)
    assert re.fullmatch("[0-9a-f]{64}", record["name"])
    store.volumes.create("named")
    assert store.volumes.find(record["name"][:10]) == record["name"]


def test_find(store: Store) -> None:
    store.volumes.create("abc")
    store.volumes.create("abd")
    store.volumes.create("ab")
    assert store.volumes.find("ab") == "ab"
    assert store.volumes.find("abc") == "abc"
    store.volumes.remove("ab")
    with pytest.raises(StorageError, match="several"):
        store.volumes.find("ab")


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "-x", ".x", "a\n", "a\0", "x" * 256, "é"])
def test_bad_names(store: Store, name: str) -> None:
    with pytest.raises(StorageError, match="names must match"):
        store.volumes.create(name)
    for use in (store.volumes.path, store.volumes.load, store.volumes.remove, store.volumes.find, store.volumes.lock):
        with pytest.raises(NotFoundError):
            use(name)
    assert not store.volumes.exists(name)


@pytest.mark.parametrize("content", [b"", b"\0" * 99, b"{", b"[]", b"{}", b'{"name":"bad"}', b'{"name":"other"}'])
def test_a_damaged_record_hides_no_other(store: Store, content: bytes) -> None:
    good = store.volumes.create("good")
    store.volumes.create("bad")
    Path(store.layout.volume_record("bad")).write_bytes(content)
    assert store.volumes.list() == [good]
    assert [name for name, _ in store.volumes.damaged] == ["bad"]
    with pytest.raises(DamagedError, match="volume bad"):
        store.volumes.load("bad")
    store.volumes.rebuild_record("bad")
    assert len(store.volumes.list()) == 2
    assert not store.volumes.load("bad")["anonymous"]
    store.volumes.remove("bad")


def test_killed_or_failing_anywhere(store: Store) -> None:
    for strike in (support.killed_at, support.failing_at):
        number, code = 1, -1
        while code != support.FINISHED:
            code = strike(number, lambda: store.volumes.create("data"))
            assert code != support.ESCAPED
            if store.volumes.exists("data"):
                assert store.volumes.load("data")
                store.volumes.remove("data")
            gc.sweep(store)
            assert os.listdir(store.layout.volumes) == os.listdir(store.layout.tmp) == []
            number += 1
        assert number > 5
