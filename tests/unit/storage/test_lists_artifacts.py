"""Image lists and artifacts in the store: names, what is kept for them, and what killed writers leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from storage import check, gc, jsonfast, oci
from storage.artifacts import EMPTY, Artifact, check_artifact
from storage.errors import NotFoundError, StorageError
from storage.image_lists import ImageList
from storage.store import Store
from tests.support import storage as support
from tests.support.storage import add_image


@pytest.fixture
def store(tmp_path: Path) -> Store:
    with support.store_at(tmp_path) as store:
        return store


def new_list(store: Store, name: str, *digests: str) -> ImageList:
    manifests: list[Any] = [
        {"mediaType": oci.MANIFEST, "digest": digest, "size": len(store.blobs.read(digest))} for digest in digests
    ]
    index: Any = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": manifests}
    return store.lists.create(index, [name], "2026-01-01T00:00:00Z", {})


def new_artifact(store: Store, name: str, content: bytes = b"file") -> Artifact:
    layer = store.blobs.put(content, "text/plain")
    manifest = {"schemaVersion": 2, "mediaType": oci.MANIFEST, "artifactType": "x/y",
                "config": store.blobs.put(b"{}", EMPTY), "layers": [layer]}  # fmt: skip
    return store.artifacts.add(store.blobs.put(jsonfast.dumps(manifest).encode(), oci.MANIFEST), name)


def test_a_list_is_found_by_its_names_and_its_id(store: Store) -> None:
    made = new_list(store, "localhost/x:latest")
    again = Store(store.layout).lists
    for name in ("x", "x:latest", "localhost/x", made.id, made.id[:10], f"sha256:{made.id}"):
        found = again.find(name)
        assert found is not None and found.id == made.id
    assert again.find("y") is None
    assert store.images.find("x") is None
    assert store.images.list() == []


def test_a_change_is_made_to_what_is_there_now(store: Store) -> None:
    made = new_list(store, "localhost/x:latest")
    for number in range(3):  # each with the list as it was first read

        def change(index: Any, number: int = number) -> Any:
            return {**index, "annotations": {**index.get("annotations", {}), str(number): "x"}}

        changed = store.lists.change(made, change)
    assert changed.id == made.id
    assert sorted(changed.document["annotations"]) == ["0", "1", "2"]
    store.lists.remove(made)
    with pytest.raises(NotFoundError):
        store.lists.change(made, lambda index: index)


def test_names_move_between_images_and_lists(store: Store) -> None:
    image = add_image(store, "localhost/x:latest")
    made = new_list(store, "localhost/x:latest", image.digest)
    assert [each.names for each in store.images.list()] == [[]]
    add_image(store, "localhost/x:latest", content=b"other")
    assert [each.names for each in store.lists.list()] == [[]]
    store.lists.tag(made, "localhost/y:latest")
    found = store.lists.find("y")
    assert found is not None and found.id == made.id
    store.images.untag("localhost/y:latest")
    assert [each.names for each in store.lists.list()] == [[]]


def test_what_lists_and_artifacts_need_is_kept(store: Store) -> None:
    image = add_image(store, "localhost/a:latest")
    made = new_list(store, "localhost/l:latest", image.digest)
    artifact = new_artifact(store, "localhost/f:latest")
    gc.remove_image(store, image)
    assert len(list(store.blobs.list())) == 4 + 3
    store.lists.remove(made)
    gc.collect(store)
    assert len(list(store.blobs.list())) == 3
    store.artifacts.remove(artifact)
    gc.collect(store)
    assert list(store.blobs.list()) == []


def test_an_artifact_is_found_and_moves_its_name(store: Store) -> None:
    first = new_artifact(store, "localhost/f:latest", b"first")
    digest = oci.Digest(first.digest).encoded
    for name in ("f", "f:latest", "localhost/f", digest, digest[:12], first.digest):
        found = Store(store.layout).artifacts.find(name)
        assert found is not None and found.digest == first.digest
    second = new_artifact(store, "localhost/f:latest", b"second")
    assert [each.digest for each in store.artifacts.list()] == [second.digest]
    with pytest.raises(StorageError, match="given away meanwhile"):
        store.artifacts.add(first.descriptor, "localhost/f:latest", expected="")


def test_check_finds_what_lists_and_artifacts_lack(store: Store) -> None:
    image = add_image(store, "localhost/a:latest")
    new_list(store, "localhost/l:latest", image.digest)
    artifact = new_artifact(store, "localhost/f:latest")
    assert check.run(store) == [] or all(finding["kind"] == "image" for finding in check.run(store))
    store.images.remove(image)
    store.blobs.remove(image.digest)
    store.blobs.remove(artifact.files[0]["digest"])
    found = {finding["kind"] for finding in check.run(store)}
    assert {"image list", "artifact"} <= found


@pytest.mark.parametrize("document", [
    None, [], {}, {"schemaVersion": 2, "manifests": []}, {"schemaVersion": 2, "layers": []},
    {"schemaVersion": 2, "config": {"mediaType": "x", "digest": "x", "size": 1}, "layers": []},
    {"schemaVersion": 2, "config": 1, "layers": []}, {"schemaVersion": 2, "layers": 1},
])  # fmt: skip
def test_what_is_no_artifact_is_refused(document: object) -> None:
    with pytest.raises(StorageError):
        check_artifact(document)


@pytest.mark.parametrize("strike", [support.killed_at, support.failing_at])
def test_killed_or_failing_anywhere(tmp_path: Path, strike: Any) -> None:
    with support.store_at(tmp_path) as store:
        image = add_image(store, "localhost/a:latest")
        made = new_list(store, "localhost/l:latest")
        new_artifact(store, "localhost/f:latest", b"old")
        entry: Any = {"mediaType": oci.MANIFEST, "digest": image.digest, "size": image.descriptor["size"]}

        def work() -> None:
            store.lists.change(made, lambda index: {**index, "manifests": [entry]})
            new_artifact(store, "localhost/f:latest", b"new")

        number, code = 1, -1
        while code != support.FINISHED:
            code = strike(number, work)
            assert code != support.ESCAPED
            fresh = Store(store.layout)
            (found,) = fresh.lists.list()
            assert (found.id, found.names) == (made.id, ["localhost/l:latest"])
            assert len(found.entries) in (0, 1)
            (artifact,) = fresh.artifacts.list()
            assert store.blobs.read(artifact.files[0]["digest"]) in (b"old", b"new")
            gc.collect(fresh)
            store.lists.change(made, lambda index: {**index, "manifests": []})
            new_artifact(store, "localhost/f:latest", b"old")
            number += 1
        assert number > 10
