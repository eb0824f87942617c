"""Containers: ids, names, records, and damage that stays where it is."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from storage import gc
from storage.errors import DamagedError, NameInUseError, NotFoundError, StorageError
from storage.names import is_name, random_name
from storage.store import Store
from tests.support import storage as support

BAD_NAMES = [
    "", ".", "..", "../x", "a/b", "-x", "_x", ".x", "a b", "a\n", "a\0b", "x" * 256, "é", "a\x1b[31m", "٣",
    "a:b", "a@b"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    with support.store_at(tmp_path) as store:
        return store


@pytest.mark.parametrize("durable", [True, False])
def test_create_find_load_save_remove(store: Store, durable: bool) -> None:
    containers = store.containers
    record = {"image": "x", "nested": {"list": [1, None, "é"]}}
    container = containers.create(record, "web", durable)
    assert re.fullmatch("[0-9a-f]{64}", container)
    assert containers.load(container) == {**record, "id": container, "name": "web"}
    for name in ("web", container, container[:12], container[:3]):
        assert containers.find(name) == container
    assert containers.list() == [(container, containers.load(container))]
    containers.save(container, {**containers.load(container), "started": 1}, durable)
    assert containers.load(container)["started"] == 1
    Path(containers.path(container), "upper").mkdir()
    Path(containers.path(container), "upper", "file").touch()
    containers.remove(container)
    assert containers.list() == []
    assert containers.names() == {}
    assert os.listdir(store.layout.trash) == []
    for use in (containers.load, containers.remove, lambda _: containers.find("web"), lambda x: containers.save(x, {})):
        with pytest.raises(NotFoundError, match="no such container"):
            use(container)
    assert not os.path.exists(containers.path(container))


def test_the_name_decides_before_the_id(store: Store) -> None:
    first = store.containers.create({}, "a")
    second = store.containers.create({}, "zz" + first[:10])
    assert store.containers.find("zz" + first[:10]) == second
    assert store.containers.find(first[:10]) == first


def test_a_name_that_is_the_beginning_of_an_id_is_refused(store: Store) -> None:
    first = store.containers.create({}, "a")
    for name in (first, first[:20], first[:12]):
        with pytest.raises(NameInUseError, match="whose id begins so"):
            store.containers.create({}, name)
    assert len(store.containers.ids()) == 1


def test_a_short_name_may_begin_an_id(store: Store) -> None:
    """Or `--name db` would fail by chance."""
    first = store.containers.create({}, "x")
    second = store.containers.create({}, first[:3])
    assert store.containers.find(first[:3]) == second


def test_an_ambiguous_beginning(store: Store) -> None:
    for number in range(17):
        store.containers.create({}, f"c{number}", False)
    digits = [container[0] for container in store.containers.ids()]
    twice = next(digit for digit in digits if digits.count(digit) > 1)
    with pytest.raises(StorageError, match="several"):
        store.containers.find(twice)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_names(store: Store, name: str) -> None:
    with pytest.raises(StorageError, match="names must match"):
        store.containers.create({}, name)
    with pytest.raises(StorageError):
        store.containers.find(name)
    assert store.containers.ids() == []
    assert os.listdir(store.layout.tmp) == []


@pytest.mark.parametrize(
    "identifier", ["../x", "a/b", ".", "..", "-x", "x" * 300, "a" * 63, "A" * 64, "", "a" * 63 + "/"])
def test_bad_ids_become_no_path(store: Store, identifier: str) -> None:
    containers = store.containers
    for use in (containers.path, containers.load, containers.lock, containers.remove, lambda x: containers.save(x, {}),
                lambda x: containers.rename(x, "n")):
        with pytest.raises(StorageError):
            use(identifier)


def test_a_name_in_use(store: Store) -> None:
    holder = store.containers.create({}, "web")
    with pytest.raises(NameInUseError, match=f"already in use by {holder[:12]}") as caught:
        store.containers.create({}, "web")
    assert "rootless rm web" in caught.value.hint
    assert store.containers.ids() == [holder]


def test_a_hundred_random_names(store: Store) -> None:
    names = {store.containers.load(store.containers.create({}, None, False))["name"] for _ in range(100)}
    assert len(names) == 100
    assert all(map(is_name, names))
    assert all(store.containers.find(name) for name in names)


def test_random_names_are_words() -> None:
    assert re.fullmatch("[a-z]+_[a-z]+", random_name())
    assert re.fullmatch(r"[a-z]+_[a-z]+\d+", random_name(unique=True))


def test_one_of_many_gets_the_name(store: Store) -> None:
    pids = []
    for _ in range(8):
        pid = os.fork()
        if pid == 0:
            os._exit(support.in_child(lambda: store.containers.create({}, "web")))
        pids.append(pid)
    codes = sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids)
    assert codes == [support.FINISHED] + [support.REFUSED] * 7
    assert len(store.containers.ids()) == 1


def test_a_name_left_by_a_killed_removal_is_free(store: Store) -> None:
    os.symlink("f" * 64, store.layout.name("web"))
    with pytest.raises(NotFoundError):
        store.containers.find("web")
    container = store.containers.create({}, "web")
    assert store.containers.find("web") == container
    assert not store.containers.free_if_stale("web")


def test_rename(store: Store) -> None:
    container = store.containers.create({}, "a")
    other = store.containers.create({}, "b")
    with pytest.raises(NameInUseError):
        store.containers.rename(container, "b")
    with pytest.raises(StorageError, match="names must match"):
        store.containers.rename(container, "../b")
    store.containers.rename(container, "a")
    store.containers.rename(container, "c")
    assert store.containers.names() == {"c": container, "b": other}
    assert store.containers.load(container)["name"] == "c"


def test_a_rename_that_was_killed(store: Store) -> None:
    """It leaves two names. The same rename ends well, before the record was written and after; a sweep ends it too."""
    container = store.containers.create({}, "a")
    os.symlink(container, store.layout.name("b"))
    store.containers.rename(container, "b")
    assert store.containers.names() == {"b": container}
    os.symlink(container, store.layout.name("a"))
    store.containers.rename(container, "b")
    assert store.containers.names() == {"b": container}
    os.symlink(container, store.layout.name("a"))
    gc.sweep(store)
    assert set(store.containers.names()) == {"a", "b"}
    gc.sweep(store, parts=True)
    assert store.containers.names() == {"b": container}


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 500, b"{", b"[]", b"null", b"{}", b"\xff", b'{"id":"x","name":"y"}', b"[" * 9999])
def test_a_damaged_record_hides_no_other(store: Store, content: bytes) -> None:
    good = store.containers.create({}, "good")
    bad = store.containers.create({}, "bad")
    Path(store.layout.container_record(bad)).write_bytes(content)
    assert [found for found, _ in store.containers.list()] == [good]
    assert [found for found, _ in store.containers.damaged] == [bad]
    assert bad[:12] in store.containers.damaged[0][1]
    assert store.containers.find("bad") == bad
    with pytest.raises(DamagedError, match=bad[:12]):
        store.containers.load(bad)
    store.containers.remove(bad)
    assert store.containers.names() == {"good": good}
    store.containers.create({}, "bad")


def test_a_missing_record_and_a_stray_file(store: Store) -> None:
    container = store.containers.create({}, "x")
    os.unlink(store.layout.container_record(container))
    Path(store.layout.containers, "stray").touch()
    assert store.containers.list() == []
    assert store.containers.damaged == [(container, f"the record of container {container[:12]} is missing")]


def test_a_record_that_is_a_link_is_not_read(store: Store, tmp_path: Path) -> None:
    container = store.containers.create({}, "x")
    record = Path(store.layout.container_record(container))
    record.rename(tmp_path / "elsewhere")
    record.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError):
        store.containers.load(container)


def test_the_lock_ends_with_the_container(store: Store) -> None:
    container = store.containers.create({}, "x")
    with store.containers.lock(container):
        assert not store.containers.lock(container).acquire(wait=False)
        store.containers.remove(container)
    with pytest.raises(NotFoundError):
        store.containers.lock(container).acquire()
    assert os.listdir(store.layout.containers) == []


def test_what_cannot_be_deleted_goes_to_the_callable(store: Store) -> None:
    if os.geteuid() == 0:
        pytest.skip("needs a user who may not delete everything")
    container = store.containers.create({}, "x")
    helped: list[str] = []
    directory = Path(store.containers.path(container), "upper")
    directory.mkdir()
    (directory / "file").touch()
    store.containers.remove(container, helped.append)
    assert helped == []


def create(store: Store) -> None:
    store.containers.create({"a": 1}, "web")


def rename(store: Store) -> None:
    store.containers.rename(store.containers.find("old"), "web")


def remove(store: Store) -> None:
    store.containers.remove(store.containers.find("web"))


@pytest.mark.parametrize("strike", [support.killed_at, support.failing_at])
@pytest.mark.parametrize(("before", "operation"), [(None, create), ("old", rename), ("web", remove)])
def test_killed_or_failing_anywhere(
    tmp_path: Path, before: str | None, operation: Callable[[Store], None],
    strike: Callable[[int, Callable[[], object]], int],
) -> None:
    """After each death: names are free or listed, the same command works, and nothing is left."""
    number, code = 1, -1
    while code != support.FINISHED or number < 8:
        path = tmp_path / str(number)
        path.mkdir()
        with support.store_at(path) as store:
            if before:
                store.containers.create({}, before)
            code = strike(number, lambda store=store: operation(store))  # type: ignore[misc]
            assert code != support.ESCAPED
            fresh = Store(store.layout)
            listed = {container for container, _ in fresh.containers.list()}
            assert fresh.containers.damaged == []
            gc.sweep(fresh)
            assert set(fresh.containers.names().values()) <= listed
            for container in listed:
                fresh.containers.remove(container)
            fresh.containers.create({}, "web")
            gc.sweep(fresh)  # a second name that a rename had taken
            assert len(fresh.containers.ids()) == 1
            assert list(fresh.containers.names()) == ["web"]
            assert os.listdir(store.layout.tmp) == os.listdir(store.layout.trash) == []
        number += 1
        assert number < 60
