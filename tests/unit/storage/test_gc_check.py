"""Collection, sweep, check and repair."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from storage import check, gc, index, oci
from storage.images import IMAGE_ID
from storage.store import Store
from storage.work import WorkDirectory
from tests.support import storage as support
from tests.support.storage import add_image, add_layer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.check import Finding

LAYER = oci.Digest.of(b"layer")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with an image, its layer, a container and a volume."""
    with support.store_at(tmp_path) as store:
        add_image(store, "localhost/x:latest")
        add_layer(store, LAYER)
        store.containers.create({"layers": [LAYER]}, "web")
        store.volumes.create("data")
        return store


def findings(store: Store) -> list[Finding]:
    return check.run(Store(store.layout))


def test_a_sound_store(store: Store) -> None:
    assert findings(store) == []
    assert gc.sweep(store) == 0
    assert gc.collect(store) == {"blobs": 0, "layers": 0, "bytes": 0}


def test_removing_an_image_takes_what_was_only_its_own(store: Store) -> None:
    shared = add_image(store, "localhost/y:latest", config={"Cmd": ["other"]})
    store.containers.remove(store.containers.find("web"))
    image = store.images.find("x")
    assert image is not None
    assert gc.remove_image(store, image) == ["localhost/x:latest"]
    assert store.layers.has(LAYER)
    assert len(list(store.blobs.list())) == 3
    assert findings(store) == []
    gc.remove_image(store, shared)
    assert list(store.blobs.list()) == []
    for directory in (store.layout.layers, store.layout.links, store.layout.trash):
        assert os.listdir(directory) == []
    assert findings(store) == []


def test_a_layer_of_a_container_stays(store: Store) -> None:
    image = store.images.find("x")
    assert image is not None
    gc.remove_image(store, image)
    assert store.layers.has(LAYER)
    assert len(os.listdir(store.layout.links)) == 1
    store.containers.remove(store.containers.find("web"))
    assert gc.collect(store)["layers"] == 1


def test_nothing_is_collected_while_content_is_added(store: Store) -> None:
    with gc.adding(store.layout):
        store.blobs.put(b"new")
        assert gc.collect(store)["blobs"] == 0
    assert gc.collect(store)["blobs"] == 1


@pytest.mark.parametrize("damage", ["manifest", "entry", "record"])
def test_nothing_is_collected_while_something_is_unknown(store: Store, damage: str) -> None:
    image = store.images.find("x")
    assert image is not None
    add_layer(store, oci.Digest.of(b"unused"))
    if damage == "manifest":
        Path(store.blobs.path(image.digest)).write_bytes(b"")
    elif damage == "entry":
        Path(store.layout.index).write_bytes(index.encode([{}]))
    else:
        Path(store.layout.container_record(store.containers.find("web"))).write_bytes(b"")
    fresh = Store(store.layout)
    assert gc.collect(fresh) == {"blobs": 0, "layers": 0, "bytes": 0}
    assert fresh.layers.has(LAYER)


def test_prune_images(store: Store) -> None:
    add_image(store, "localhost/x:latest", content=b"newer")
    image = store.images.find("x")
    assert image is not None
    nameless = next(found for found in store.images.list() if not found.names)
    assert gc.prune_images(store, {nameless.id}) == []
    assert gc.prune_images(store, set()) == [(nameless.id, [])]
    assert gc.prune_images(store, set(), named=True) == [(image.id, ["localhost/x:latest"])]
    assert list(store.blobs.list()) == []


def test_sweep_tells_work_from_rubbish(store: Store) -> None:
    layout = store.layout
    with WorkDirectory(layout) as work:
        os.makedirs(f"{layout.tmp}/dead/deep")
        Path(layout.trash, "old").mkdir()
        Path(layout.engine_run, "f" * 64).mkdir()
        Path(layout.container_run(store.containers.find("web"))).mkdir()
        os.symlink("f" * 64, layout.name("ghost"))
        half_written = Path(layout.images, ".new-x")
        half_written.touch()
        assert gc.sweep(store) == 4 + 1  # what was dead passes through the trash
        assert os.listdir(layout.tmp) == [os.path.basename(work.path)]
        os.utime(half_written, (1, 1))
        assert gc.sweep(store) == 1
    assert os.listdir(layout.trash) == []
    assert os.listdir(layout.engine_run) == store.containers.ids()
    assert findings(store) == []


def test_sweep_keeps_parts_for_a_day(store: Store) -> None:
    digest = oci.Digest.of(b"abc")
    with store.blobs.writer(digest, 3) as writer:
        writer.write(b"a")
        assert gc.sweep(store, parts=True) == 0
    part = store.layout.partial("sha256", digest.encoded)
    assert gc.sweep(store) == 0
    day_ago = time.time() - 25 * 3600
    os.utime(part, (day_ago, day_ago))
    assert gc.sweep(store) == 1
    with store.blobs.writer(digest, 3) as writer:
        writer.write(b"a")
    assert gc.sweep(store, parts=True) == 1
    assert os.listdir(store.layout.tmp) == []


def test_an_empty_record_is_that_of_a_container_that_was_not_to_last(store: Store) -> None:
    """Unless something of it had reached the disk: then it is damaged, and may be worth something."""
    last = store.containers.find("web")
    directory = Path(store.layout.container(last))
    (directory / "config.json").write_text("{}")
    (directory / "container.json").write_bytes(b"")
    assert [(each["kind"], each["repaired"]) for each in check.run(store, repair=True)] == [("container", False)]
    (directory / "config.json").write_bytes(b"")
    assert [(each["kind"], each["repaired"]) for each in check.run(store, repair=True)] == [("leftover", True)]
    assert store.containers.ids() == [] and findings(store) == []


def test_an_empty_end_is_none(store: Store) -> None:
    Path(store.layout.container_exit(store.containers.find("web"))).write_bytes(b"")
    assert [(each["kind"], each["repaired"]) for each in check.run(store, repair=True)] == [("leftover", True)]
    assert findings(store) == []


@pytest.mark.parametrize(("path", "kind", "mended"), [
    ("images/index.json", "index", True),
    ("images/oci-layout", "file", True),
    ("layers/*/layer.json", "layer", True),
    ("containers/*/container.json", "container", False),
    ("volumes/data/volume.json", "volume", True),
])
@pytest.mark.parametrize("content", [None, b"", b"\0" * 200, b"{", b"{}"])
def test_any_one_damaged_file_is_found_and_mended(
    store: Store, path: str, kind: str, mended: bool, content: bytes | None
) -> None:
    file = next(Path(store.layout.data).glob(path))
    if mended is False:
        (file.parent / "config.json").write_text("{}")
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    found = findings(store)
    assert [finding["kind"] for finding in found] == [kind, *(["name"] * 0)]
    assert found[0]["repairable"]
    fresh = Store(store.layout)
    assert all(finding["repaired"] is mended for finding in check.run(fresh, repair=True))
    if not mended:
        assert check.run(fresh, repair=True, force=True)[0]["repaired"]
        assert store.containers.ids() == []
    assert findings(store) == []
    image = fresh.images.find("localhost/x:latest")
    assert image is not None
    assert image.config
    assert fresh.volumes.load("data")


def test_every_blob_is_read(store: Store) -> None:
    """Each byte of each blob turned in turn: found, and gone after the repair, so that a pull brings it again."""
    for digest in list(store.blobs.list()):
        path = Path(store.blobs.path(digest))
        data = path.read_bytes()
        for at in {0, len(data) // 2, len(data) - 1}:
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1:])
            assert ("blob", digest) in [(finding["kind"], finding["object"]) for finding in findings(store)]
        path.write_bytes(data)
    assert findings(store) == []
    path.write_bytes(b"")
    check.run(store, repair=True)
    assert not store.blobs.has(digest)


def test_an_index_is_rebuilt_from_blobs_alone(store: Store) -> None:
    image = store.images.find("x")
    assert image is not None
    os.unlink(store.layout.index_copy)
    Path(store.layout.index).write_bytes(b"")
    assert [finding["repaired"] for finding in check.run(store, repair=True)] == [True]
    found = store.images.find(image.id)
    assert found is not None
    assert found.names == []
    assert findings(store) == []


def test_an_image_that_cannot_be_used_is_forgotten(store: Store) -> None:
    image = add_image(store, "localhost/y:latest", content=b"y")
    os.unlink(store.blobs.path(image.digest))
    found = check.run(store, repair=True)
    assert ("image", "localhost/y:latest", True) in [(f["kind"], f["object"], f["repaired"]) for f in found]
    assert store.images.find("y") is None
    assert store.images.find("x") is not None


def test_a_missing_layer_is_named(store: Store) -> None:
    os.unlink(store.blobs.path(LAYER))
    assert [LAYER in finding["problem"] for finding in findings(store)] == [True]


def test_entries_of_the_index(store: Store) -> None:
    image = store.images.find("x")
    assert image is not None
    second = add_image(store, "localhost/second:latest", content=b"2")
    add_layer(store, oci.Digest.of(b"2"))
    name = {oci.REF_NAME: "localhost/x:latest"}
    Path(store.layout.index).write_bytes(index.encode([
        {"digest": "bad"}, image.descriptor, {**second.descriptor, "annotations": name},
        {**second.descriptor, "annotations": {**name, oci.REF_NAME: "localhost/z:1", IMAGE_ID: image.id}}]))
    problems = {finding["problem"]: finding["repaired"] for finding in check.run(Store(store.layout), repair=True)}
    assert set(problems.values()) == {True}
    assert "two images have this name" in problems
    assert "its entry in the index has the id of another" in problems
    assert findings(store) == []
    fresh = Store(store.layout)
    assert {name for found in fresh.images.list() for name in found.names} == {"localhost/x:latest", "localhost/z:1"}
    by_id = fresh.images.find(second.id)
    assert by_id is not None
    assert by_id.names == ["localhost/z:1"]


def test_names_links_and_strangers(store: Store) -> None:
    layout = store.layout
    container = store.containers.find("web")
    os.unlink(layout.name("web"))
    os.symlink("f" * 64, layout.name("ghost"))
    os.symlink("/etc", layout.name("evil"))
    os.unlink(layout.link(os.listdir(layout.links)[0]))
    os.symlink("../layers/none/diff", layout.link("dangling"))
    Path(layout.blobs, "sha256", "stranger").touch()
    Path(layout.layers, "stranger").mkdir()
    Path(layout.container_spec(container)).write_bytes(b"{")
    Path(layout.tmp, "dead").mkdir()
    Path(layout.trash, "dead").mkdir()
    os.chmod(layout.volumes, 0o755)
    os.rmdir(layout.volume_data("data"))
    assert all(finding["repairable"] for finding in findings(store))
    assert len(findings(store)) == 12
    check.run(store, repair=True)
    assert findings(store) == []
    assert store.containers.find("web") == container


def test_a_half_done_rename_is_finished(store: Store) -> None:
    container = store.containers.find("web")
    os.symlink(container, store.layout.name("other"))
    assert [finding["object"] for finding in check.run(store, repair=True)] == [store.layout.name("other")]
    assert store.containers.names() == {"web": container}


def test_work_in_progress_is_no_finding(store: Store) -> None:
    with WorkDirectory(store.layout), gc.adding(store.layout):
        assert findings(store) == []
