"""Images from files: transports, load, import; and what is done with images afterwards."""

from __future__ import annotations

import bz2
import functools
import gzip
import hashlib
import http.server
import io
import json
import lzma
import os
import subprocess
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.registry import layer
from tests.support.cli import Cli
from tests.support.copying import bytes_of
from tests.support.images import Layout

pytestmark = pytest.mark.needs("subuid")


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI image layout of two layers, tag ``latest``."""
    made = Layout(tmp_path_factory.mktemp("images") / "Layout.dir")
    layers = [made.add_layer(layer({f"etc/f{number}": b"x" * 1000})) for number in range(2)]
    made.add_image("latest", layers, {"Cmd": ["/bin/sh"], "Labels": {"maker": "tests"}, "Env": ["A=1"]})
    return made.directory


@pytest.fixture(scope="module")
def archives(layout: Path) -> dict[str, Path]:
    """The same image in every format that skopeo writes."""
    directory = layout.parent
    for transport in ("oci-archive", "docker-archive", "dir"):
        target = f"{transport}:{directory / transport}" + ("" if transport == "dir" else ":example.com/team/app:1")
        command = ["skopeo", "--insecure-policy", "copy", "--quiet", f"oci:{layout}:latest", target]
        subprocess.run(command, check=True, capture_output=True)
    return {"oci": layout, **{name: directory / name for name in ("oci-archive", "docker-archive", "dir")}}


def names(cli: Cli) -> list[str]:
    found: list[dict[str, Any]] = json.loads(cli.ok("images", "--format", "json"))
    return sorted(name for image in found for name in image["Names"])


# Sources


@pytest.mark.needs("skopeo")
@pytest.mark.parametrize("transport", ["oci", "oci-archive", "docker-archive", "dir"])
def test_every_transport_gives_the_same_image(cli: Cli, archives: dict[str, Path], transport: str) -> None:
    config = json.loads((archives["dir"] / "manifest.json").read_bytes())["config"]["digest"].partition(":")[2]
    assert cli.ok("pull", "-q", f"{transport}:{archives[transport]}").strip() == config
    (name,) = names(cli)
    assert name == "example.com/team/app:1" or name.startswith("localhost/")
    inspected = json.loads(cli.ok("image", "inspect", config))[0]
    assert inspected["Config"]["Labels"] == {"maker": "tests"}


@pytest.mark.needs("skopeo")
@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive", "dir"])
def test_load_tells_the_format_by_itself(cli: Cli, archives: dict[str, Path], kind: str) -> None:
    out = cli.ok("load", "-q", "-i", str(archives[kind]))
    (name,) = names(cli)
    assert out == f"Loaded image: {name}\n"


@pytest.mark.needs("skopeo")
@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress], ids=["gzip", "bzip2", "xz"])
def test_load_of_a_compressed_archive_from_a_pipe(cli: Cli, archives: dict[str, Path], compress: Any) -> None:
    data = compress(archives["docker-archive"].read_bytes())
    done = subprocess.run(cli.command("load", "-q"), input=data, capture_output=True, env=cli.environment, check=True)
    assert done.stdout == b"Loaded image: example.com/team/app:1\n"
    assert os.listdir(cli.data / "tmp") == []


@pytest.mark.needs("podman", "skopeo")
def test_an_archive_of_two_images(cli: Cli, tmp_path: Path) -> None:
    saved = tmp_path / "saved.tar"
    entries, members = [], {}
    for number in (1, 2):
        tar = layer({f"f{number}": b"x"})
        diff_id = hashlib.sha256(tar).hexdigest()
        rootfs = {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]}
        config = {"architecture": "amd64", "os": "linux", "rootfs": rootfs}
        members[f"{number}.json"] = json.dumps(config).encode()
        members[f"{diff_id}/layer.tar"] = tar
        entries.append({"Config": f"{number}.json", "RepoTags": [f"app:{number}"], "Layers": [f"{diff_id}/layer.tar"]})
    members["manifest.json"] = json.dumps(entries).encode()
    saved.write_bytes(layer(members))
    assert cli.ok("load", "-q", "-i", str(saved)).splitlines() == [
        "Loaded image: localhost/app:1",
        "Loaded image: localhost/app:2",
    ]
    assert "it has: app:1, app:2" in cli.fails(125, "pull", f"docker-archive:{saved}")
    cli.ok("pull", "-q", f"docker-archive:{saved}:@1")


def saved_with(**changes: Any) -> bytes:
    """A docker archive, with members replaced (None: left out) and fields of its manifest.json."""
    tar = layer({"f": b"x"})
    diff_id = f"sha256:{hashlib.sha256(tar).hexdigest()}"
    entry = {"Config": "c.json", "RepoTags": ["app:1"], "Layers": ["l.tar"], **changes.pop("entry", {})}
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
    members = {"l.tar": tar, "c.json": json.dumps(config).encode(), "manifest.json": json.dumps([entry]).encode()}
    members.update({name.replace("_", "."): data for name, data in changes.items()})
    return layer({name: data for name, data in members.items() if data is not None})


BAD_ARCHIVES = {
    "empty": b"",
    "text": b"hello" * 1000,
    "cut": saved_with()[:1000],
    "no-manifest": saved_with(manifest_json=None),
    "no-config": saved_with(c_json=None),
    "no-layer": saved_with(l_tar=None),
    "other-layer": saved_with(l_tar=layer({"g": b"y"})),
    "manifest-is-no-list": saved_with(manifest_json=b"5"),
    "manifest-is-deep": saved_with(manifest_json=b"[" * 100_000),
    "config-is-no-config": saved_with(c_json=b"{}"),
    "layer-count": saved_with(entry={"Layers": []}),
    "path-outside": saved_with(entry={"Config": "../../../../etc/passwd"}),
    "absolute-path": saved_with(entry={"Layers": ["/etc/passwd"]}),
    "not-strings": saved_with(entry={"Layers": [5]}),
    "gzip-cut": gzip.compress(saved_with())[:-30],
}


@pytest.mark.parametrize("kind", BAD_ARCHIVES)
def test_broken_archives_leave_nothing(cli: Cli, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bad.tar"
    path.write_bytes(BAD_ARCHIVES[kind])
    error = cli.fails(125, "load", "-q", "-i", str(path))
    assert error.startswith("Error: cannot ")
    assert cli.parts_of_images() == []
    assert names(cli) == []


def test_links_in_an_archive_lead_nowhere_outside(cli: Cli, tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, target in (("manifest.json", "/etc/passwd"), ("c.json", "../../etc/passwd")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    path = tmp_path / "links.tar"
    path.write_bytes(out.getvalue())
    error = cli.fails(125, "load", "-i", str(path))
    assert "root:" not in error


def test_damaged_layouts(cli: Cli, layout: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(layout), str(copy)], check=True)
    largest = max((copy / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    largest.write_bytes(b"damaged")
    assert "cannot" in cli.fails(125, "pull", "-q", f"oci:{copy}")
    largest.unlink()
    assert "missing" in cli.fails(125, "pull", "-q", f"oci:{copy}")
    largest.symlink_to("/etc/passwd")
    assert "cannot read" in cli.fails(125, "pull", "-q", f"oci:{copy}")
    assert cli.parts_of_images() == []


# Import


@pytest.mark.parametrize("compress", ["", "z", "j", "J"])
def test_import(cli: Cli, tmp_path: Path, compress: str) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "hello").write_text("hi")
    archive = tmp_path / "root.tar"
    subprocess.run(["tar", f"-c{compress}f", str(archive), "-C", str(tmp_path / "root"), "."], check=True)
    out = cli.ok("import", "-q", "-c", 'CMD ["/x"]', "-c", "ENV A=1", "-m", "made here", str(archive), "mine:1")
    assert out.startswith("sha256:") and len(out) == 72
    inspected = json.loads(cli.ok("image", "inspect", "mine:1"))[0]
    assert inspected["Config"] == {"Cmd": ["/x"], "Env": ["A=1"]}
    assert inspected["Comment"] == "made here"
    assert inspected["RepoTags"] == ["localhost/mine:1"]


def test_import_from_a_pipe(cli: Cli) -> None:
    data = layer({"f": b"x"})
    command = cli.command("import", "-q", "-")
    done = subprocess.run(command, input=data, capture_output=True, env=cli.environment, check=True)
    assert done.stdout.startswith(b"sha256:")
    assert names(cli) == []


def test_import_from_a_url(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "root.tgz").write_bytes(gzip.compress(layer({"f": b"x"})))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/root.tgz"
        cli.ok("import", "-q", f"{url}?token=secret", "fetched:1")
        missing = cli.fails(125, "import", "-q", f"{url}.missing")
        server.shutdown()
    assert json.loads(cli.ok("image", "inspect", "fetched:1"))[0]["Comment"] == "imported from root.tgz"
    assert "404" in missing
    with tarfile.open(fileobj=io.BytesIO(bytes_of(cli, "save", "fetched:1"))) as archive:
        layers = [member.size for member in archive if member.isreg() and member.name.endswith(".tar")]
    assert layers == [len(layer({"f": b"x"}))]


@pytest.mark.parametrize(
    "arguments", [["/missing"], ["/etc/hostname"], ["http://127.0.0.1:1/x.tar"], ["/etc/hostname", "UPPER"]]
)
def test_bad_imports_leave_nothing(cli: Cli, arguments: list[str]) -> None:
    assert cli.fails(125, "import", "-q", *arguments).startswith("Error: cannot ")
    assert cli.parts_of_images() == []


# Listing, naming, removing


def test_names_and_removal(cli: Cli, layout: Path) -> None:
    image = cli.ok("pull", "-q", f"oci:{layout}:latest").strip()
    (first,) = names(cli)
    cli.ok("tag", image, "app:1", "quay.io/team/app")
    assert names(cli) == ["localhost/app:1", first, "quay.io/team/app:latest"]
    assert "more than one tag" in cli.fails(125, "rmi", image[:12])
    assert cli.ok("rmi", "app:1") == "Untagged: localhost/app:1\n"
    cli.ok("untag", image, "quay.io/team/app")
    assert cli.ok("rmi", image) == f"Untagged: {first}\nDeleted: {image}\n"
    assert cli.parts_of_images() == []
    assert "image not known" in cli.fails(1, "rmi", image)
    cli.ok("rmi", "--ignore", image)
    cli.ok("rmi", "--force", image)


def test_pull_moves_a_name_and_prune_removes_the_nameless(cli: Cli, layout: Path) -> None:
    image = cli.ok("pull", "-q", f"oci:{layout}:latest").strip()
    cli.ok("untag", image)
    listed = json.loads(cli.ok("images", "--format", "json"))
    assert (listed[0]["Names"], listed[0].get("Dangling")) == ([], True)
    assert cli.ok("images", "-q", "--filter", "dangling=true").strip() == image[:12]
    assert cli.ok("image", "prune", "-f").strip() == image
    assert cli.parts_of_images() == []


def test_what_is_listed(cli: Cli, layout: Path) -> None:
    image = cli.ok("pull", "-q", f"oci:{layout}:latest").strip()
    cli.ok("tag", image, "app:1")
    (row,) = json.loads(cli.ok("images", "--format", "json"))
    for key in (
        "Id", "ParentId", "RepoTags", "RepoDigests", "Size", "SharedSize", "VirtualSize", "Labels", "Containers",
        "Names", "Digest", "History", "Created", "CreatedAt",
    ):  # fmt: skip
        assert key in row
    assert row["Labels"] == {"maker": "tests"}
    assert row["Size"] == 2000
    assert f"localhost/app@{row['Digest']}" in row["RepoDigests"]
    for words in (["reference=app"], ["label=maker"], ["label=maker=tests"], ["dangling=false"], [f"id={image[:8]}"]):
        assert cli.ok("images", "-q", *(f"--filter={word}" for word in words)).strip() == image[:12]
    for word in ("reference=other", "label=none", "dangling=true", "label!=maker"):
        assert cli.ok("images", "-q", "--filter", word) == ""
    cli.fails(125, "images", "--filter", "nonsense=1")
    steps = json.loads(cli.ok("history", "--format", "json", "app:1"))
    assert len(steps) >= 2
    assert cli.run("image", "exists", "app:1").returncode == 0
    assert cli.run("image", "exists", "other").returncode == 1
