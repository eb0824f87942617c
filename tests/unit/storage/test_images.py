"""Images: names, finding, the index file and its neighbours' damage."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from storage import gc, index, jsonfast, oci
from storage.errors import DamagedError, NotFoundError, StorageError
from storage.images import IMAGE_ID, INDEX_DIGEST
from storage.store import Store
from tests.support import storage as support
from tests.support.storage import add_image


@pytest.fixture
def store(tmp_path: Path) -> Store:
    with support.store_at(tmp_path) as store:
        return store


def entries(store: Store) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(Path(store.layout.index).read_bytes())["manifests"]
    return found


def reopened(store: Store) -> Store:
    return Store(store.layout)


def test_an_image(store: Store) -> None:
    added = add_image(store, "docker.io/library/x:latest", "localhost/y:1", config={"Cmd": ["sh"]})
    image = reopened(store).images.find("x")
    assert image is not None
    assert image.digest == added.digest
    assert image.names == ["docker.io/library/x:latest", "localhost/y:1"]
    assert image.id == image.manifest["config"]["digest"].removeprefix("sha256:")
    assert image.config["config"] == {"Cmd": ["sh"]}
    assert image.diff_ids == [oci.Digest.of(b"layer")]
    assert [layer["size"] for layer in image.layers] == [5]
    assert image.size == 5
    assert image.created == "2024-01-01T00:00:00Z"
    assert image.media_type == oci.MANIFEST


def test_size_is_that_of_the_unpacked_layers(store: Store) -> None:
    add_image(store, "localhost/x:latest")
    support.add_layer(store, oci.Digest.of(b"layer"), 1234)
    found = store.images.find("x")
    assert found is not None
    assert found.size == 1234


@pytest.mark.parametrize(("stored", "asked"), [
    ("docker.io/library/x:latest", ["x", "x:latest", "library/x", "docker.io/x", "docker.io/library/x:latest"]),
    ("localhost/x:latest", ["x", "x:latest", "localhost/x"]),
    ("localhost:5000/a/x:1", ["localhost:5000/a/x:1", "a/x:1", "x:1"]),
    ("quay.io/org/x:latest", ["quay.io/org/x", "org/x", "x"]),
])
def test_find_by_name(store: Store, stored: str, asked: list[str]) -> None:
    image = add_image(store, stored)
    other = add_image(store, "docker.io/library/other:latest", content=b"other")
    for name in asked:
        found = reopened(store).images.find(name)
        assert found is not None, name
        assert found.digest == image.digest
    for name in ("nothing", "x:other", "quay.io/x:latest2", "rg/x", "docker.io/other/x"):
        assert store.images.find(name) is None, name
    assert other.digest != image.digest


def test_short_names_prefer_localhost_then_docker(store: Store) -> None:
    elsewhere = add_image(store, "quay.io/x/app:latest", content=b"1")
    assert store.images.find("app") is not None
    docker = add_image(store, "docker.io/library/app:latest", content=b"2")
    found = store.images.find("app")
    assert found is not None
    assert found.digest == docker.digest
    local = add_image(store, "localhost/app:latest", content=b"3")
    found = store.images.find("app")
    assert found is not None
    assert found.digest == local.digest
    assert elsewhere.digest not in (docker.digest, local.digest)


def test_a_short_name_of_two_registries_is_ambiguous(store: Store) -> None:
    add_image(store, "a.io/x:latest", content=b"1")
    add_image(store, "b.io/x:latest", content=b"2")
    with pytest.raises(StorageError, match=r"a\.io/x:latest, b\.io/x:latest"):
        store.images.find("x")


def test_find_by_id(store: Store) -> None:
    images = [add_image(store, f"localhost/x:{n}", content=b"%d" % n) for n in range(20)]
    for image in images:
        for text in (image.id, "sha256:" + image.id, image.id[:12], "sha256:" + image.id[:12]):
            found = store.images.find(text)
            assert found is not None
            assert found.id == image.id
    assert store.images.find("0" * 64) is None
    with pytest.raises(StorageError, match="several"):
        for digit in "0123456789abcdef":
            store.images.find(digit)


def test_a_name_wins_over_the_beginning_of_an_id(store: Store) -> None:
    image = add_image(store, "localhost/first:latest", content=b"1")
    named = add_image(store, f"localhost/{image.id[:6]}:latest", content=b"2")
    found = store.images.find(image.id[:6])
    assert found is not None
    assert found.digest == named.digest


def test_find_by_digest(store: Store) -> None:
    image = add_image(store, "docker.io/library/x:latest")
    for name in ("x", "x:whatever", "docker.io/library/x"):
        found = store.images.find(f"{name}@{image.digest}")
        assert found is not None
        assert found.digest == image.digest
    assert store.images.find(f"y@{image.digest}") is None
    assert store.images.find("x@sha256:" + "0" * 64) is None
    manifest = image.descriptor
    store.images.add(manifest["digest"], manifest["size"], manifest["mediaType"], ["docker.io/library/x:latest"],
                     {INDEX_DIGEST: "sha256:" + "1" * 64})
    found = store.images.find("x@sha256:" + "1" * 64)
    assert found is not None
    assert found.digest == image.digest


@pytest.mark.parametrize("name", ["", "..", "../x", "X", "a:b:c", "x\0", "\x1b[31m", "x" * 2000])
def test_names_that_are_none(store: Store, name: str) -> None:
    with pytest.raises(StorageError):
        store.images.find(name)


def test_names_move(store: Store) -> None:
    old = add_image(store, "localhost/x:latest", content=b"1")
    new = add_image(store, "localhost/x:latest", content=b"2")
    found = store.images.find("x")
    assert found is not None
    assert found.digest == new.digest
    assert {image.digest: image.names for image in store.images.list()} == {
        old.digest: [], new.digest: ["localhost/x:latest"]}
    store.images.tag(old, "localhost/old:latest")
    assert old.names == ["localhost/old:latest"]
    assert len(entries(store)) == 2
    store.images.untag("localhost/old:latest")
    assert store.images.names_of(old.digest) == []
    assert len(entries(store)) == 2
    with pytest.raises(NotFoundError, match="image not known"):
        store.images.untag("localhost/old:latest")
    again = store.images.find(old.id)
    assert again is not None
    assert store.images.remove(again) == []
    with pytest.raises(NotFoundError):
        store.images.tag(again, "localhost/old:latest")
    assert store.images.remove(new) == ["localhost/x:latest"]
    assert store.images.list() == []


def test_adding_twice_changes_nothing(store: Store) -> None:
    for _ in range(3):
        add_image(store, "localhost/x:latest", "localhost/y:latest")
        add_image(store)
    assert len(entries(store)) == 2
    assert len(store.images.list()) == 1


@pytest.mark.parametrize("name", ["x", "docker.io/x:latest", "localhost/x", "localhost/X:1", "localhost/x:", "x\n"])
def test_only_full_names_are_stored(store: Store, name: str) -> None:
    with pytest.raises(StorageError):
        add_image(store, name)
    assert entries(store) == []


def test_an_image_whose_blob_is_gone_is_not_added(store: Store) -> None:
    image = add_image(store, "localhost/x:latest")
    store.blobs.remove(image.layers[0]["digest"])
    with pytest.raises(StorageError, match="removed meanwhile"):
        store.images.add(image.digest, image.descriptor["size"], image.media_type, ["localhost/y:latest"])
    assert store.images.get("localhost/y:latest") is None


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"{", b"[]", b"{}", b'{"manifests":5}', b"\xff", b"[" * 100_000])
def test_a_damaged_index_is_named(store: Store, content: bytes) -> None:
    add_image(store, "localhost/x:latest")
    Path(store.layout.index).write_bytes(content)
    fresh = reopened(store).images
    for use in (fresh.list, lambda: fresh.find("x")):
        with pytest.raises(DamagedError, match="index"):
            use()
    with pytest.raises(DamagedError):
        add_image(reopened(store), "localhost/y:latest")
    assert Path(store.layout.index).read_bytes() == content


@pytest.mark.parametrize("broken", [
    None, 5, [], {}, {"digest": "sha256:../../x", "mediaType": oci.MANIFEST, "size": 1},
    {"digest": "sha256:" + "0" * 64, "mediaType": 7, "size": 1}, {"digest": "sha256:" + "0" * 64, "size": -1},
    {"mediaType": oci.MANIFEST, "digest": "sha256:" + "0" * 64, "size": 1, "annotations": {"a": 1}},
    {"mediaType": oci.MANIFEST, "digest": "bad", "size": 1, "annotations": {oci.REF_NAME: "localhost/broken:latest"}},
])
def test_a_damaged_entry_hides_no_other(store: Store, broken: object) -> None:
    """Nor is it lost by a writer: `system check` shall see it."""
    image = add_image(store, "localhost/x:latest")
    good = entries(store)
    foreign = json.dumps({"schemaVersion": 2, "manifests": [*good, broken]}).encode()
    for written in (index.encode([broken, *good]), foreign):
        Path(store.layout.index).write_bytes(written)
        fresh = reopened(store)
        assert [found.digest for found in fresh.images.list()] == [image.digest]
        assert len(fresh.images.damaged) == 1
        found = fresh.images.find("x")
        assert found is not None
        assert fresh.images.find("localhost/other:latest") is None
        fresh.images.tag(found, "localhost/y:latest")
        assert broken in entries(store)
    if isinstance(broken, dict) and "bad" in broken.values():
        assert fresh.images.damaged[0][0] == "localhost/broken:latest"


@pytest.mark.parametrize("content", [b"", b"\0" * 50, b"{", b"null", b"[]", b"{}"])
@pytest.mark.parametrize("part", ["manifest", "config"])
def test_a_damaged_image_hides_no_other(store: Store, part: str, content: bytes) -> None:
    good = add_image(store, "localhost/good:latest", content=b"good")
    bad = add_image(store, "localhost/bad:latest", content=b"bad")
    digest = bad.digest if part == "manifest" else bad.manifest["config"]["digest"]
    Path(store.blobs.path(digest)).write_bytes(content)
    fresh = reopened(store)
    assert len(fresh.images.list()) == 2
    found = fresh.images.find("bad")
    assert found is not None
    with pytest.raises(DamagedError):
        _ = found.config
    for name in ("good", good.id, good.id[:20]):
        found = fresh.images.find(name)
        assert found is not None
        assert found.config


def test_more_layers_than_diff_ids(store: Store) -> None:
    layer = store.blobs.put(b"x", oci.LAYER)
    config = store.blobs.put(jsonfast.dump_bytes({"rootfs": {"type": "layers", "diff_ids": []}}), oci.CONFIG)
    document = {"schemaVersion": 2, "config": config, "layers": [layer]}
    manifest = store.blobs.put(jsonfast.dump_bytes(document), oci.MANIFEST)
    image = store.images.add(manifest["digest"], manifest["size"], oci.MANIFEST, ["localhost/x:latest"])
    with pytest.raises(DamagedError, match="1 layers"):
        _ = image.config


def test_an_index_of_another_tool(store: Store) -> None:
    image = add_image(store, "localhost/x:latest")
    foreign = {"schemaVersion": 2, "manifests": [
        {**entry, "annotations": {oci.REF_NAME: name}}
        for entry in entries(store) for name in ("localhost/x:latest", "docker.io/library/é:latest")]}
    Path(store.layout.index).write_text(json.dumps(foreign, indent=4, ensure_ascii=False))
    fresh = reopened(store)
    found = fresh.images.find("x")
    assert found is not None
    assert found.id == image.id
    assert fresh.images.find(image.id) is not None
    assert fresh.images.find("other") is None


def test_a_line_that_only_mentions_a_name(store: Store) -> None:
    """The search in the bytes finds an entry that has the text elsewhere; it must not be taken for the one meant."""
    decoy = add_image(store, "localhost/decoy:latest", content=b"1")
    text = jsonfast.dumps({oci.REF_NAME: "localhost/x:latest"})[1:-1]
    name = "localhost/decoy:latest"
    raw = Path(store.layout.index).read_text().replace(name, name + json.dumps(text)[1:-1])
    Path(store.layout.index).write_text(raw)
    assert store.images.get("localhost/x:latest") is None
    image = add_image(store, "localhost/x:latest", content=b"2")
    found = store.images.get("localhost/x:latest")
    assert found is not None
    assert found.digest == image.digest != decoy.digest


def test_five_hundred_images_cost_no_time(store: Store) -> None:
    image = add_image(store, "docker.io/library/wanted:latest")
    many = []
    for number in range(500):
        digest = oci.Digest.of(b"%d" % number)
        many.append({**image.descriptor, "digest": digest, "annotations": {
            oci.REF_NAME: f"docker.io/library/image{number}:latest", IMAGE_ID: digest.encoded}})
    Path(store.layout.index).write_bytes(index.encode(many + entries(store)))
    for name in ("wanted", "docker.io/library/wanted:latest", image.id):
        durations = []
        for _ in range(20):
            started = time.perf_counter()
            assert reopened(store).images.find(name) is not None
            durations.append(time.perf_counter() - started)
        assert min(durations) < 0.002, name
    assert len(store.images.list()) == 501


def test_a_writer_sees_what_another_process_wrote(store: Store) -> None:
    add_image(store, "localhost/a:latest", content=b"a")
    assert store.images.find("a")
    assert support.in_child(lambda: add_image(store, "localhost/b:latest", content=b"b")) == support.FINISHED
    add_image(store, "localhost/c:latest", content=b"c")
    assert sorted(name for image in store.images.list() for name in image.names) == [
        f"localhost/{x}:latest" for x in "abc"]


def test_many_writers_at_once(store: Store) -> None:
    pids = []
    for number in range(8):
        pid = os.fork()
        if pid == 0:
            os._exit(support.in_child(lambda number=number: [  # type: ignore[misc]
                add_image(store, f"localhost/x{number}:{n}", content=b"%d" % (n % 3)) for n in range(10)]))
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 8
    images = store.images.list()
    assert len(images) == 3
    assert sum(len(image.names) for image in images) == 80


@pytest.mark.parametrize("strike", [support.killed_at, support.failing_at])
def test_killed_or_failing_anywhere(tmp_path: Path, strike: object) -> None:
    assert callable(strike)
    with support.store_at(tmp_path) as store:
        add_image(store, "localhost/a:latest", content=b"a")
        number, code = 1, -1
        while code != support.FINISHED:
            code = strike(number, lambda: add_image(store, "localhost/b:latest", content=b"b"))
            assert code != support.ESCAPED
            names = {name for image in reopened(store).images.list() for name in image.names}
            assert names in ({"localhost/a:latest"}, {"localhost/a:latest", "localhost/b:latest"})
            for image in reopened(store).images.list():
                assert image.config
            if found := store.images.find("b"):
                gc.remove_image(store, found)
            gc.collect(store)
            number += 1
        assert number > 10
