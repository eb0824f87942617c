"""Hostile archives at what moves images and volumes: `load`, `import`, `volume import`; and the targets of `save`."""

from __future__ import annotations

import gzip
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import attacks, layers
from tests.support.canary import TEXT, Canary
from tests.support.cli import Cli, new_cli
from tests.support.copying import NONE
from tests.support.figures import amount
from tests.support.images import Layout, busybox_tar, host_platform
from tests.support.layers import archive, file
from tests.support.saved import saved
from tests.support.tarbytes import END, block, padded

pytestmark = [pytest.mark.needs("userns", "subuid", "newuidmap", "busybox", "libseccomp"), pytest.mark.timeout(600)]
STRIDE = amount(usual=31, nightly=1)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A user with the image ``base``."""
    path = tmp_path_factory.mktemp("base") / "saved"
    path.write_bytes(saved({"localhost/base": [busybox_tar()]}))
    with new_cli() as cli:
        cli.ok("load", "-q", "-i", str(path))
        yield cli


def fed(host: Cli, data: bytes, *words: str) -> int:
    """Give a command an archive; it succeeds, or refuses in words."""
    process = host.popen(*words)
    _, error = process.communicate(data, timeout=60)
    assert process.returncode in (0, 125), error
    assert b"Traceback" not in error and TEXT not in error
    return int(process.returncode)


def test_layouts_by_volume_import_row_7(host: Cli, canary: Canary, tmp_path: Path) -> None:
    """A part of the layouts, one after the other into the same volume; in the long run all of them."""
    host.ok("volume", "create", "v")
    done = 0
    for attack in attacks.ALL[::STRIDE]:
        for items in attacks.aimed(attack, str(canary.root)).layers:
            done += fed(host, archive(items), "volume", "import", "v", "-") == 0
        canary.check()
    assert done
    assert sorted(os.listdir(tmp_path)) == ["canary"]
    assert sorted(os.listdir(host.data / "volumes" / "v")) == ["_data", "volume.json"]
    (tmp_path / "exported").write_bytes(b"")
    host.ok("volume", "export", "-o", str(tmp_path / "exported"), "v")
    assert TEXT not in (tmp_path / "exported").read_bytes()
    host.ok("volume", "rm", "v")


def test_links_of_a_volume_by_volume_import_row_7(host: Cli, canary: Canary, tmp_path: Path) -> None:
    """What a container has left in the volume are links to the host, under the names of the members."""
    host.ok("volume", "create", "v")
    out = str(canary.root)
    made = f"ln -s {out} /v/d; ln -s {out}/file /v/f; ln -s ../../../../../../..{out} /v/u; mkdir /v/e; ln -s .. /v/e/x"
    host.ok("run", "--rm", NONE, "-v", "v:/v", "base", "sh", "-c", made)
    for name in ("d/new", "f", "u/new", "e/x/x/x/x/new", "d/file"):
        fed(host, archive([file(name, "in")]), "volume", "import", "v", "-")
        canary.check()
    host.ok("volume", "export", "-o", str(tmp_path / "exported"), "v")
    assert TEXT not in (tmp_path / "exported").read_bytes()
    host.ok("volume", "rm", "v")


@pytest.mark.parametrize("how", ["load", "import"])
def test_layouts_by_load_and_import_rows_6_7(host: Cli, canary: Canary, tmp_path: Path, how: str) -> None:
    for attack in attacks.ALL[:: STRIDE * 2]:
        stack = [archive(items) for items in attacks.aimed(attack, str(canary.root)).layers]
        if how == "load":
            fed(host, gzip.compress(saved({"localhost/hostile:1": stack}), 1), "load", "-q")
        else:
            for data in stack:
                fed(host, data, "import", "-q", "-", "hostile:1")
        canary.check()
    host.run("rmi", "-f", "localhost/hostile:1")
    assert sorted(os.listdir(tmp_path)) == ["canary"]
    assert os.listdir(host.data / "tmp") == []


def outer(*members: tuple[str, bytes]) -> bytes:
    return b"".join(block(name.encode(), size=len(data)) + padded(data) for name, data in members)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "compressed"])
def test_archives_that_are_two_images_row_18(host: Cli, tmp_path: Path, packed: bool) -> None:
    """Of two members of one name docker takes the last and podman the first; behind the end nobody reads."""
    parts = {}
    for name in ("one", "two"):
        tar = archive([file("f", name)])
        config = {**host_platform(), "rootfs": {"type": "layers", "diff_ids": [layers.diff_id(tar)]}}
        entry = {"Config": f"{name}.json", "RepoTags": [f"{name}:1"], "Layers": [f"{name}.tar"]}
        parts[name] = (
            (f"{name}.tar", tar), (f"{name}.json", json.dumps(config).encode()),
            ("manifest.json", json.dumps([entry]).encode()),
        )  # fmt: skip
    second = ("./manifest.json", parts["two"][2][1])
    cases = {
        "twice": outer(*parts["one"], *parts["two"]) + END,
        "another spelling": outer(*parts["one"], *parts["two"][:2], second) + END,
        "layer twice": outer(*parts["one"], ("one.tar", parts["two"][0][1])) + END,
    }
    for name, data in cases.items():
        (tmp_path / "saved").write_bytes(gzip.compress(data) if packed else data)
        assert "two members" in host.fails(125, "load", "-q", "-i", str(tmp_path / "saved")), name
    data = outer(*parts["one"]) + END + outer(*parts["two"]) + END
    (tmp_path / "saved").write_bytes(gzip.compress(data) if packed else data)
    assert host.ok("load", "-q", "-i", str(tmp_path / "saved")) == "Loaded image: localhost/one:1\n"
    host.ok("rmi", "localhost/one:1")


@pytest.mark.parametrize("beyond", ["every limit", "the disk"])
def test_members_too_large_row_12(host: Cli, beyond: str) -> None:
    """A compressed archive is written to the disk as it comes, but for what by its header will not fit."""
    status = os.statvfs(host.data)
    member = tarfile.TarInfo("layer.tar")
    member.size = 1 << 41 if beyond == "every limit" else status.f_bavail * status.f_frsize + (4 << 30)
    data = gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20))
    process = host.popen("load", "-q")
    _, error = process.communicate(data, timeout=60)
    assert process.returncode == 125 and b"Traceback" not in error
    assert b"more than" in error or b"MiB to spare" in error, error
    assert os.listdir(host.data / "tmp") == []


def test_names_in_archives_of_images_row_19(host: Cli, tmp_path: Path) -> None:
    """Tags that are no names, or that a terminal would obey, are not given; files are not named by them."""
    tar = archive([file("f", "in")])
    config = json.dumps({**host_platform(), "rootfs": {"type": "layers", "diff_ids": [layers.diff_id(tar)]}}).encode()
    tags = ["\x1b]0;owned\x07:1", "new\nline:1", "../../x:1", "good/name:1", "a" * 300 + ":1", "UP:1", "x@sha256:1", ""]
    entry = {"Config": "c.json", "RepoTags": tags, "Layers": ["new\nline\x1b[2J.tar"]}
    members = (entry["Layers"][0], tar), ("c.json", config), ("manifest.json", json.dumps([entry]).encode())
    (tmp_path / "saved").write_bytes(outer(*members) + END)
    assert host.ok("load", "-q", "-i", str(tmp_path / "saved")) == "Loaded image: localhost/good/name:1\n"
    broken = outer(*members[1:]) + END
    (tmp_path / "saved").write_bytes(broken)
    error = host.fails(125, "load", "-q", "-i", str(tmp_path / "saved"))
    assert "\x1b" not in error and "missing" in error
    host.ok("rmi", "localhost/good/name:1")


@pytest.mark.parametrize("form", ["oci-dir", "docker-dir"])
def test_directories_that_save_is_pointed_at_row_7(host: Cli, canary: Canary, tmp_path: Path, form: str) -> None:
    """Somebody has put links to the host where the files of the image go: they are replaced, never written through."""
    target = tmp_path / "target"
    host.ok("save", "-q", "--format", form, "-o", str(target), "base")
    for path in [path for path in target.rglob("*") if path.is_file() and path.name not in ("version", "oci-layout")]:
        path.unlink()
        path.symlink_to(canary.root / "file")
    host.run("save", "-q", "--format", form, "-o", str(target), "base")
    canary.check()
    for path in target.rglob("*"):
        assert not path.is_symlink() or path.parent != target or form == "docker-dir"
    if form == "oci-dir":
        link = target / "blobs/sha256"
        link.rename(tmp_path / "away")
        link.symlink_to(canary.root)
        assert host.run("save", "-q", "--format", form, "-o", str(target), "base").returncode == 125
        canary.check()


def test_wrong_bytes_in_podmans_storage_row_17(host: Cli, tmp_path: Path) -> None:
    """A store of podman's whose files are not those of which the layer was made, or lead out of it."""
    tar = archive([file("f", "true")])
    config = json.dumps({**host_platform(), "rootfs": {"type": "layers", "diff_ids": [layers.diff_id(tar)]}}).encode()
    made = Layout(tmp_path / "layout")
    descriptor = made.add_blob(config, "application/vnd.oci.image.config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": descriptor,
                "layers": [made.add_layer(tar)[0]]}  # fmt: skip
    store = PodmanStore(tmp_path / "store", json.dumps(manifest).encode(), config, tar)
    (tmp_path / "secret").write_text("fals")
    source = f"containers-storage:[overlay@{tmp_path / 'store'}]hostile"
    for attempt in ("other", "link", "up", "pipe", "shorter"):
        store.break_by(attempt, tmp_path / "secret")
        error = host.fails(125, "pull", "-q", source)
        assert error.startswith("Error: cannot "), error
    store.break_by("nothing", tmp_path)
    host.ok("pull", "-q", source)
    host.ok("rmi", "-f", "localhost/hostile")


class PodmanStore:
    """A store of one image, ``localhost/hostile``, of one layer with the file ``f`` of four bytes."""

    def __init__(self, root: Path, manifest: bytes, config: bytes, tar: bytes) -> None:
        import base64

        self._tree = root / "overlay/layer/diff"
        self._notes = root / "overlay-layers/layer.tar-split.gz"
        self._tar = tar
        images = root / "overlay-images"
        for path in (self._tree, images / "image", root / "overlay-layers"):
            path.mkdir(parents=True)
        identity = layers.diff_id(config)
        (images / "image/manifest").write_bytes(manifest)
        (images / "image" / ("=" + base64.b64encode(identity.encode()).decode())).write_bytes(config)
        (images / "images.json").write_text(json.dumps([
            {"id": "image", "names": ["localhost/hostile:latest"], "layer": "layer"}]))  # fmt: skip
        (root / "overlay-layers/layers.json").write_text(json.dumps([
            {"id": "layer", "diff-digest": layers.diff_id(tar), "diff-size": len(tar)}]))  # fmt: skip

    def break_by(self, how: str, secret: Path) -> None:
        """Make the layer's file and the notes anew, with one thing wrong."""
        import base64

        path = self._tree / "f"
        path.unlink(missing_ok=True)
        name = f"../../../../{secret.name}" if how == "up" else "f"
        if how == "link":
            path.symlink_to(secret)
        elif how == "pipe":
            os.mkfifo(path)
        else:
            path.write_text({"other": "fals", "shorter": "t"}.get(how, "true"))
        parts = [
            {"type": 2, "payload": base64.b64encode(self._tar[:512]).decode()}, {"type": 1, "name": name, "size": 4},
            {"type": 2, "payload": base64.b64encode(self._tar[516:]).decode()},
        ]  # fmt: skip
        self._notes.write_bytes(gzip.compress("\n".join(map(json.dumps, parts)).encode()))
