"""`save`: archives and directories, what they hold, and what is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pty
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.fakes.registry import layer
from tests.support.cli import Cli, new_cli
from tests.support.copying import bytes_of
from tests.support.images import Layout

pytestmark = pytest.mark.needs("subuid", "newuidmap")

PLAIN = [layer({"etc/first": b"1" * 5000}), layer({"etc/second": os.urandom(9000)}), layer({"third": b"3"})]


LOADED = "Loaded image: localhost/one:latest\nLoaded image: localhost/two:latest\n"


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A store with ``localhost/one`` of a plain, a gzip and a zstd layer, and ``localhost/two`` of the second alone."""
    made = Layout(tmp_path_factory.mktemp("images") / "layout")
    second = made.add_layer(PLAIN[1])
    plain = made.add_blob(PLAIN[0], "application/vnd.oci.image.layer.v1.tar"), digest(PLAIN[0])
    packed = zstandard.compress(PLAIN[2])
    third = made.add_blob(packed, "application/vnd.oci.image.layer.v1.tar+zstd"), digest(PLAIN[2])
    made.add_image("one", [plain, second, third], {"Cmd": ["/one"]})
    made.add_image("two", [second], {"Cmd": ["/two"]})
    with new_cli() as cli:
        for tag in ("one", "two"):
            cli.ok("tag", cli.ok("pull", "-q", f"oci:{made.directory}:{tag}").strip(), f"localhost/{tag}")
        yield cli


def contents(data: bytes) -> dict[str, bytes]:
    """The files of an archive; each name is there once."""
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            if member.isreg():
                assert member.name not in found
                file = archive.extractfile(member)
                assert file is not None
                found[member.name] = file.read()
    return found


def hex_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_docker_archive(filled: Cli) -> None:
    found = contents(bytes_of(filled, "save", "one"))
    (entry,) = json.loads(found["manifest.json"])
    assert entry["RepoTags"] == ["localhost/one:latest"]
    assert [found[name] for name in entry["Layers"]] == PLAIN
    config = found[entry["Config"]]
    assert entry["Config"] == f"{filled.ok('image', 'inspect', '--format', '{{.Id}}', 'one').strip()}.json"
    assert json.loads(config)["rootfs"]["diff_ids"] == [digest(data) for data in PLAIN]
    # What docker read before 1.10: a chain of directories, whose last `repositories` names.
    last = json.loads(found["repositories"])["localhost/one"]["latest"]
    chain: list[str] = []
    while last:
        chain.insert(0, last)
        last = json.loads(found[f"{last}/json"]).get("parent")
    assert len(chain) == 3 and all(found[f"{each}/VERSION"] == b"1.0" for each in chain)


def test_oci_archive_has_the_stored_blobs(filled: Cli) -> None:
    found = contents(bytes_of(filled, "save", "--format", "oci-archive", "one"))
    stored = {path.name: path.read_bytes() for path in (filled.data / "images/blobs/sha256").iterdir()}
    (entry,) = json.loads(found["index.json"])["manifests"]
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == "localhost/one:latest"
    assert entry["digest"] == filled.ok("image", "inspect", "--format", "{{.Digest}}", "one").strip()
    blobs = {name.rpartition("/")[2]: data for name, data in found.items() if name.startswith("blobs/")}
    assert blobs.items() <= stored.items() and len(blobs) == 5


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_several_images_share_their_layers(filled: Cli, form: str) -> None:
    data = bytes_of(filled, "save", "-m", "--format", form, "one", "two", "one")
    shared = (PLAIN[1], gzip.compress(PLAIN[1], 1, mtime=0))
    assert len([name for name, text in contents(data).items() if text in shared]) == 1
    with new_cli() as other:
        assert bytes_of(other, "load", "-q", stdin=data).decode() == LOADED
        for tag in ("one", "two"):
            words = ("image", "inspect", "--format", "{{.Id}}", tag)
            assert other.ok(*words) == filled.ok(*words)


def test_further_names_of_one_image(filled: Cli) -> None:
    (entry,) = json.loads(contents(bytes_of(filled, "save", "one", "quay.io/other:1", "two"))["manifest.json"])
    assert entry["RepoTags"] == ["localhost/one:latest", "quay.io/other:1", "localhost/two:latest"]
    identity = filled.ok("image", "inspect", "--format", "{{.Id}}", "one").strip()
    (entry,) = json.loads(contents(bytes_of(filled, "save", identity[:12]))["manifest.json"])
    assert entry["RepoTags"] == []


def layers_of(directory: Path) -> list[bytes]:
    manifest: dict[str, Any] = json.loads((directory / "manifest.json").read_bytes())
    assert manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    return [(directory / entry["digest"][7:]).read_bytes() for entry in manifest["layers"]]


def test_docker_dir(filled: Cli, tmp_path: Path) -> None:
    target = tmp_path / "dir"
    filled.ok("save", "-q", "--format", "docker-dir", "-o", str(target), "one")
    assert [data[:2] == b"\x1f\x8b" for data in layers_of(target)] == [False, True, True]
    filled.ok("save", "-q", "--format", "docker-dir", "--compress", "-o", str(target), "one")  # in place of the first
    assert [gzip.decompress(data) for data in layers_of(target)] == PLAIN
    (target / "notes.txt").write_text("mine")
    assert "other files" in filled.fails(125, "save", "-q", "--format", "docker-dir", "-o", str(target), "two")
    assert [gzip.decompress(data) for data in layers_of(target)] == PLAIN


def test_oci_dir_gets_further_images(filled: Cli, tmp_path: Path) -> None:
    target = tmp_path / "layout"
    filled.ok("save", "-q", "--format", "oci-dir", "-o", str(target), "one")
    filled.ok("save", "-q", "--format", "oci-dir", "--uncompressed", "-o", str(target), "two")
    entries = json.loads((target / "index.json").read_bytes())["manifests"]
    assert [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in entries] == [
        "localhost/one:latest", "localhost/two:latest"]  # fmt: skip
    manifest = json.loads((target / "blobs/sha256" / entries[1]["digest"][7:]).read_bytes())
    assert [entry["digest"] for entry in manifest["layers"]] == [digest(PLAIN[1])]
    assert not [path for path in target.rglob("*") if path.name.startswith(".")]
    filled.ok("save", "-q", "--format", "oci-dir", "-o", str(target), "one")
    assert len(json.loads((target / "index.json").read_bytes())["manifests"]) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--compress", "one"], "--compress can only be set when --format is 'docker-dir'"),
        (["--format", "tar", "one"], "unknown format"),
        (["--format", "oci-dir", "one"], "standard output"),
        (["--uncompressed", "one"], "--uncompressed"),
        (["-o", "a:b", "one"], "should not contain ':'"),
        (["-o", "x", "nothing"], "image not known"),
        (["-o", "missing/x", "one"], "No such file"),
        (["--format", "docker-dir", "-o", "x", "one", "two"], "one image"),
    ],
)
def test_refused(filled: Cli, tmp_path: Path, words: list[str], said: str) -> None:
    words = [str(tmp_path / word) if word in ("x", "missing/x") else word for word in words]
    assert said in filled.fails(125, "save", *words)
    assert list(tmp_path.iterdir()) == []


def test_not_to_a_terminal(filled: Cli) -> None:
    master, slave = pty.openpty()
    try:
        done = subprocess.run(
            filled.command("save", "one"), stdout=slave, stderr=subprocess.PIPE, env=filled.environment, check=False
        )
    finally:
        os.close(master)
        os.close(slave)
    assert done.returncode == 125 and b"refusing to save to terminal" in done.stderr


def test_the_file_is_the_users(filled: Cli, tmp_path: Path) -> None:
    target = tmp_path / "one.tar"
    target.write_text("before")
    link = tmp_path / "link"
    link.symlink_to("one.tar")
    previous = os.umask(0o027)
    try:
        filled.ok("save", "-q", "-o", str(link), "one")
    finally:
        os.umask(previous)
    assert stat.S_IMODE(target.stat().st_mode) == 0o640 and link.is_symlink()
    assert target.read_bytes() == bytes_of(filled, "save", "one")


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci-dir", "docker-dir"])
def test_a_damaged_blob_is_not_saved(tmp_path: Path, form: str) -> None:
    made = Layout(tmp_path / "layout")
    made.add_image("latest", [made.add_layer(PLAIN[1])], {})
    target = tmp_path / "saved"
    with new_cli() as cli:
        image = cli.ok("pull", "-q", f"oci:{made.directory}:latest").strip()
        blob = cli.data / "images/blobs/sha256" / hex_of(gzip.compress(PLAIN[1], 1, mtime=0))
        data = bytearray(blob.read_bytes())
        data[len(data) // 2] ^= 1
        blob.write_bytes(data)
        assert cli.fails(125, "save", "-q", "--format", form, "-o", str(target), image).startswith("Error: cannot ")
    found = {path.name for path in tmp_path.rglob("*")} - {path.name for path in (tmp_path / "layout").rglob("*")}
    assert not found & {"manifest.json", "index.json"}
    assert form.endswith("-dir") or found == {"layout"}, found


def test_a_reader_who_leaves(filled: Cli) -> None:
    with filled.popen("save", "-m", "one", "two") as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
    assert os.listdir(filled.data / "tmp") == []


def test_save_writes_what_load_reads_from_any_stream(filled: Cli, tmp_path: Path) -> None:
    """Plain in a file, where members are found by their places; compressed, and through a pipe, where they are not."""
    data = bytes_of(filled, "save", "-m", "one", "two")
    (tmp_path / "plain.tar").write_bytes(data)
    (tmp_path / "packed.tgz").write_bytes(gzip.compress(data, 1))
    (tmp_path / "packed.tzst").write_bytes(zstandard.compress(data))
    for name in ("plain.tar", "packed.tgz", "packed.tzst"):
        with new_cli() as other:
            assert other.ok("load", "-q", "-i", str(tmp_path / name)) == LOADED
            assert other.ok("system", "check") == ""
            assert bytes_of(other, "save", "-m", "one", "two") == data
    with new_cli() as other, (tmp_path / "plain.tar").open("rb") as file:
        done = subprocess.run(other.command("load", "-q"), stdin=file, capture_output=True, env=other.environment)
        assert done.stdout.decode() == LOADED, done.stderr
