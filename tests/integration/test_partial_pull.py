"""Layers of zstd:chunked are fetched in parts: what the store has is not fetched again, and the blob is the same."""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from rootless.registry.options import ConnectionOptions
from rootless.registry.retry import Limits
from storage.archive import chunked, chunked_write
from tests.fakes.registry import CONFIG, FakeRegistry, Reply
from tests.support import callers, images, pulling
from tests.support.cli import Cli
from tests.support.figures import Tell
from tests.support.layers import Item, archive, diff_id, directory, file
from tests.support.places import OWN
from tests.support.registry import Registry

ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
OPTIONS = ConnectionOptions(tls_verify=False, limits=Limits(connect_timeout=5, idle_seconds=5, first_wait=0.01))
FILES = 120
LARGE = 400_000


def text(seed: int, size: int) -> str:
    """Text that compresses to about three quarters."""
    return random.Random(seed).randbytes(size // 2).hex()


def tree(**changed: str) -> list[Item]:
    """The files of an image, some of them changed."""
    files = {f"file{number}": text(number, 6000) for number in range(FILES)}
    files["large"] = text(-1, LARGE)
    return [file(name, content) for name, content in sorted({**files, **changed}.items())]


def put(fake: FakeRegistry, tmp_path: Path, tag: str, items: list[Item], **more: Any) -> str:
    """Hold an image of one layer, written as zstd:chunked; the layer's digest."""
    data = archive(items)
    path = tmp_path / "layer"
    with path.open("wb") as target:
        layer = chunked_write.convert(io.BytesIO(data), target.fileno(), level=more.get("level", 3))
    blob = more.get("alter", bytes)(path.read_bytes())
    descriptor = fake.put_blob(blob, ZSTD)
    descriptor["annotations"] = {**layer.annotations, **more.get("annotations", {})}
    document = {
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id(data)]},
    }  # fmt: skip
    config = fake.put_blob(json.dumps(document).encode(), CONFIG)
    fake.put_manifest("app", {"schemaVersion": 2, "config": config, "layers": [descriptor]}, tag)
    return str(descriptor["digest"])


class Site:
    """A registry, a store that has the image ``one`` of it, and what a pull of ``two`` fetches."""

    def __init__(self, fake: FakeRegistry, tmp_path: Path) -> None:
        self.fake = fake
        self.tmp_path = tmp_path
        self.store = pulling.new_store(tmp_path)
        self.one = put(fake, tmp_path, "one", tree())

    def have(self, tag: str = "one") -> None:
        """Pull an image and record it."""
        pulled = pulling.pull(self.store, f"{self.fake.host}/app:{tag}", OPTIONS)
        assert pulled.error == ""
        (message,) = [message for message in pulled.messages if message["kind"] == "image"]
        entry = message["manifest"]
        self.store.images.add(entry["digest"], entry["size"], entry["mediaType"], message["names"])

    def fetch(self, digest: str, tag: str = "two") -> tuple[int, pulling.Pulled]:
        """Pull an image that must come out right; how many bytes of the blob were sent."""
        before = len(self.fake.seen)
        pulled = pulling.pull(self.store, f"{self.fake.host}/app:{tag}", OPTIONS)
        assert pulled.error == ""
        assert Path(self.store.blobs.path(digest)).read_bytes() == self.fake.blobs[digest]
        assert pulling.unsafe(self.store) == []
        return sum(seen.sent for seen in self.fake.seen[before:] if digest in seen.path), pulled


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with FakeRegistry() as fake:
        site = Site(fake, tmp_path)
        site.have()
        yield site


def test_only_what_changed_is_fetched(site: Site, figure: Tell) -> None:
    changed = {"file7": text(1000, 6000), "file90": text(1001, 6000), "new": text(9, 3000)}
    two = put(site.fake, site.tmp_path, "two", tree(**changed))
    sent, pulled = site.fetch(two)
    whole = len(site.fake.blobs[two])
    assert sent < whole / 10
    assert "are in other layers" in pulled.said
    assert len([seen for seen in site.fake.requests(two) if seen.method == "GET"]) == 2  # the table, and all ranges
    figure("fetched of a zstd:chunked layer with 3 new files of 122", "≤ 10 %", 100 * sent / whole)


def test_a_change_of_all_times_costs_the_headers_alone(site: Site) -> None:
    two = put(site.fake, site.tmp_path, "two", [item._replace(mtime=1_700_000_000) for item in tree()])
    sent, _ = site.fetch(two)
    assert sent < len(site.fake.blobs[two]) / 4


@pytest.mark.parametrize(
    ("script", "enough"),
    [
        ([Reply(), Reply(ignore_range=True)], False),
        ([Reply(ignore_range=True)], False),
        ([Reply(status=416)], False),
        ([Reply(), Reply(status=400)], True),
        ([Reply(), Reply(content_range="bytes 0-99/100")], False),
        ([Reply(), Reply(cut_after=3000)], True),
        ([Reply(cut_after=1000)], True),
        ([Reply(), Reply(status=503)], True),
        ([Reply(flip=True)], False),
    ],
    ids=["whole", "no-ranges", "refused", "no-lists", "other-range", "cut", "table-cut", "busy", "table-altered"],
)
def test_a_registry_that_does_it_otherwise(site: Site, script: list[Reply], enough: bool) -> None:
    two = put(site.fake, site.tmp_path, "two", tree(file7=text(1000, 6000), file90=text(1001, 6000)))
    for reply in script:
        site.fake.script(two, reply)
    sent, _ = site.fetch(two)
    if enough:
        assert sent < len(site.fake.blobs[two]) / 2


def test_a_table_that_lies_costs_the_whole_blob_and_nothing_else_row_17(site: Site) -> None:
    """Frames of the same digests and lengths that are not the blob's: the digest of the whole tells."""
    two = put(site.fake, site.tmp_path, "two", tree(file7=text(1000, 6000)))
    blob = bytearray(site.fake.blobs[two])
    blob[40_000] ^= 1  # in the frames of some file, which the table calls what the store has
    manifest = json.loads(site.fake.manifests["app", "two"][0])
    manifest["layers"][0].update(site.fake.put_blob(bytes(blob), ZSTD))
    site.fake.put_manifest("app", manifest, "two")
    sent, pulled = site.fetch(manifest["layers"][0]["digest"])
    assert "fetching it again" in pulled.said
    assert sent >= len(blob)


@pytest.mark.parametrize(
    "annotations",
    [
        {chunked.POSITION: "0:0:0:1"}, {chunked.CHECKSUM: "sha256:" + "0" * 64}, {chunked.POSITION: "x"},
    ],
)  # fmt: skip
def test_bad_annotations_cost_the_whole_blob_and_nothing_else(site: Site, annotations: Mapping[str, str]) -> None:
    two = put(site.fake, site.tmp_path, "two", tree(file7="new"), annotations=annotations)
    sent, _ = site.fetch(two)
    assert sent >= len(site.fake.blobs[two]) * 9 // 10


def test_another_level_of_compression_has_nothing_in_common(site: Site) -> None:
    two = put(site.fake, site.tmp_path, "two", tree(file7="new"), level=19)
    sent, pulled = site.fetch(two)
    assert "fetching it again" not in pulled.said
    assert sent < len(site.fake.blobs[two]) * 1.2


@pytest.mark.parametrize(("level", "most"), [(3, 0.2), (9, 1.3)])
def test_an_archive_that_the_store_has_is_not_fetched_in_another_compression(
    tmp_path: Path, level: int, most: float
) -> None:
    """Of a base image that was pulled with gzip only the table is fetched, if this program compressed the other one."""
    with FakeRegistry() as fake:
        site = Site(fake, tmp_path)
        fake.add_image("app", [archive(tree())], tag="gzip")
        site.have("gzip")
        two = put(fake, tmp_path, "two", tree(), level=level)
        sent, _ = site.fetch(two)
        assert sent < most * len(fake.blobs[two])
        assert pulling.partial(site.store) == []


def test_damage_of_the_own_blob_costs_the_whole_blob_and_nothing_else(site: Site) -> None:
    path = Path(site.store.blobs.path(site.one))
    blob = bytearray(path.read_bytes())
    blob[40_000] ^= 1
    path.write_bytes(blob)
    two = put(site.fake, site.tmp_path, "two", tree(file7="new"))
    before = len(site.fake.seen)
    assert pulling.pull(site.store, f"{site.fake.host}/app:two", OPTIONS).error == ""
    assert hashlib.sha256(Path(site.store.blobs.path(two)).read_bytes()).hexdigest() == two[7:]
    assert sum(seen.sent for seen in site.fake.seen[before:] if two in seen.path) >= len(site.fake.blobs[two])


@pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")
def test_such_an_image_is_like_any_other(cli: Cli, tmp_path: Path) -> None:
    """The store is sound, and what is saved of it is what was pulled."""
    base = [directory("etc"), *tree()]
    with FakeRegistry() as fake:
        put(fake, tmp_path, "one", base)
        two = put(fake, tmp_path, "two", [*base, file("new", "new in two")])
        cli.ok("pull", "-q", "--tls-verify=false", f"{fake.host}/app:one")
        done = cli.run("pull", "--tls-verify=false", f"{fake.host}/app:two")
        assert done.returncode == 0 and "are in other layers" in done.stderr, done.stderr
        sent = sum(seen.sent for seen in fake.requests(two))
        assert sent < len(fake.blobs[two]) / 10
        assert cli.ok("system", "check") == ""
        cli.ok("save", "-q", "--format", "oci-dir", "-o", str(tmp_path / "saved"), f"{fake.host}/app:two")
        assert (tmp_path / "saved/blobs/sha256" / two[7:]).read_bytes() == fake.blobs[two]


@pytest.mark.needs("podman", "docker-registry", "userns", "subuid", "newuidmap", "busybox")
def test_layers_that_podman_wrote(cli: Cli, registry: Registry, tmp_path: Path) -> None:
    """Of its version 4.3, which names the annotations otherwise and writes no tar-split."""
    with callers.podman(OWN) as podman:
        for tag, items in (("one", tree()), ("two", tree(file7=text(1000, 6000)))):
            layout = images.Layout(tmp_path / tag)
            layout.add_image("x", [layout.add_layer(archive(items))], {"Cmd": ["x"]})
            image = podman.ok("pull", "-q", f"oci:{tmp_path}/{tag}:x")
            name = f"docker://{registry.address}/chunked:{tag}"
            podman.ok("push", "-q", "--tls-verify=false", "--compression-format", "zstd:chunked", image, name)
    cli.ok("pull", "-q", "--tls-verify=false", f"{registry.address}/chunked:one")
    done = cli.run("pull", "--tls-verify=false", f"{registry.address}/chunked:two")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "are in other layers" in line]
    here, _, whole = line.partition(": ")[2].split()[:3]
    assert float(here) > 0.8 * float(whole)
    assert cli.ok("system", "check") == ""
