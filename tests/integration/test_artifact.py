"""Artifacts: made, listed, extracted, moved to registries and back, kept and removed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from storage.index import encode
from tests.support import schemas
from tests.support.cli import Cli
from tests.support.registry import Registry

PLAIN = "--tls-verify=false"
TITLE = "org.opencontainers.image.title"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A text and something else."""
    text, data = tmp_path / "README.md", tmp_path / "model.bin"
    text.write_text("what it is\n")
    data.write_bytes(b"\0\1\2" * 100_000)
    return text, data


def inspected(cli: Cli, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cli.ok("artifact", "inspect", name))
    return found


def blobs(cli: Cli) -> set[str]:
    return set(os.listdir(cli.data / "images" / "blobs" / "sha256"))


def test_an_artifact_is_an_oci_manifest_and_no_image(cli: Cli, files: tuple[Path, Path]) -> None:
    digest = cli.ok("artifact", "add", "--type", "application/x-model", "--annotation", "k=v", "model",
                    *map(str, files)).strip()  # fmt: skip
    found = inspected(cli, "model")
    manifest = found["Manifest"]
    assert (found["Name"], found["Digest"]) == ("localhost/model:latest", f"sha256:{digest}")
    assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert manifest["artifactType"] == "application/x-model"
    assert manifest["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"
    assert [(each["mediaType"], each["size"], each["annotations"]) for each in manifest["layers"]] == [
        ("text/plain", 11, {"k": "v", TITLE: "README.md"}),
        ("application/octet-stream", 300_000, {"k": "v", TITLE: "model.bin"}),
    ]
    assert list(schemas.problems(manifest, schemas.MANIFEST)) == []
    assert "not a media type" in cli.fails(125, "artifact", "add", "--type", "text/plain; x", "odd", str(files[0]))
    assert cli.ok("images", "-aq") == ""
    assert cli.run("image", "exists", "model").returncode == 1
    assert "300 kB" in cli.ok("artifact", "ls")
    assert cli.ok("artifact", "ls", "--no-trunc", "--format", "{{.Repository}} {{.Tag}} {{.Digest}}") == (
        f"localhost/model latest sha256:{digest}\n"
    )
    assert cli.ok("artifact", "ls", "-q") == f"{digest[:12]}\n"


def test_files_are_added_and_replaced(cli: Cli, files: tuple[Path, Path]) -> None:
    text, data = map(str, files)
    cli.ok("artifact", "add", "parts", text)
    assert "already exists" in cli.fails(125, "artifact", "add", "parts", data)
    assert "does not exist" in cli.fails(125, "artifact", "add", "--append", "others", data)
    cli.ok("artifact", "add", "--append", "parts", data)
    assert [each["annotations"][TITLE] for each in inspected(cli, "parts")["Manifest"]["layers"]] == [
        "README.md", "model.bin"]  # fmt: skip
    assert "has a file model.bin already" in cli.fails(125, "artifact", "add", "--append", "parts", data)
    cli.ok("artifact", "add", "--replace", "--file-type", "application/x-data", "parts", data)
    assert [each["mediaType"] for each in inspected(cli, "parts")["Manifest"]["layers"]] == ["application/x-data"]
    assert len(blobs(cli)) == 3  # manifest, {} and the file: what was replaced has gone
    assert "not a regular file" in cli.fails(125, "artifact", "add", "odd", "/dev/null")


def test_a_set_time_gives_the_same_digest_twice(cli: Cli, files: tuple[Path, Path]) -> None:
    cli.environment["SOURCE_DATE_EPOCH"] = "1700000000"
    first = cli.ok("artifact", "add", "one", str(files[0]))
    assert cli.ok("artifact", "add", "two", str(files[0])) == first
    assert inspected(cli, "two")["Name"] in ("localhost/one:latest", "localhost/two:latest")


def test_files_are_extracted_by_name_digest_or_all(cli: Cli, files: tuple[Path, Path], tmp_path: Path) -> None:
    text, data = files
    cli.ok("artifact", "add", "out", str(text), str(data))
    target = tmp_path / "target"
    target.mkdir()
    (target / "README.md").symlink_to(tmp_path / "victim")  # is replaced, and not followed
    cli.ok("artifact", "extract", "out", str(target))
    assert (target / "README.md").read_bytes() == text.read_bytes()
    assert not (target / "README.md").is_symlink()
    assert (target / "model.bin").read_bytes() == data.read_bytes()
    assert not (tmp_path / "victim").exists()
    assert "not a directory" in cli.fails(125, "artifact", "extract", "out", str(tmp_path / "file"))
    cli.ok("artifact", "extract", "--title", "README.md", "out", str(tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == text.read_bytes()
    digest = f"sha256:{hashlib.sha256(data.read_bytes()).hexdigest()}"
    cli.ok("artifact", "extract", "--digest", digest, "out", str(tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == data.read_bytes()
    assert "cannot find" in cli.fails(125, "artifact", "extract", "--title", "none", "out", str(target))


def test_what_nothing_names_is_deleted_and_the_rest_is_kept(cli: Cli, files: tuple[Path, Path]) -> None:
    cli.ok("artifact", "add", "first", str(files[0]))
    cli.ok("artifact", "add", "second", str(files[1]))
    cli.ok("image", "prune", "-a", "-f")
    cli.ok("system", "prune", "-a", "-f")
    assert len(blobs(cli)) == 5
    assert cli.ok("system", "check") == ""
    assert len(cli.ok("artifact", "rm", "first").strip()) == 64
    assert len(blobs(cli)) == 3
    assert "does not exist" in cli.fails(125, "artifact", "rm", "first")
    cli.ok("artifact", "rm", "--ignore", "first")
    cli.ok("artifact", "rm", "--all")
    assert blobs(cli) == set()


def test_a_damaged_index_or_blob_of_an_artifact_is_found(cli: Cli, files: tuple[Path, Path]) -> None:
    cli.ok("artifact", "add", "kept", str(files[0]))
    index = cli.data / "artifacts.json"
    whole = index.read_bytes()
    index.write_bytes(whole.replace(b"localhost/kept", b"localhost/kepT"))
    assert "artifacts.json" in cli.run("system", "check").stdout
    cli.run("system", "check", "--repair")
    assert index.read_bytes() == whole
    digest = inspected(cli, "kept")["Manifest"]["layers"][0]["digest"].partition(":")[2]
    (cli.data / "images" / "blobs" / "sha256" / digest).unlink()
    assert "is missing" in cli.run("system", "check").stdout
    index.write_bytes(b"{")
    assert blobs(cli), "nothing is collected while the index is damaged"
    cli.run("image", "prune", "-a", "-f")
    assert len(blobs(cli)) == 2
    index.write_bytes(encode([]))


# Registries


@pytest.mark.needs("docker-registry", "skopeo")
def test_an_artifact_comes_back_from_a_registry(
    cli: Cli, files: tuple[Path, Path], registry: Registry, tmp_path: Path
) -> None:
    name = f"{registry.address}/team/model:1"
    cli.ok("artifact", "add", "--type", "application/x-model", "model", *map(str, files))
    digest = inspected(cli, "model")["Digest"]
    assert "names no registry" in cli.fails(125, "artifact", "push", "model")
    cli.ok("artifact", "push", "-q", PLAIN, "--digestfile", str(tmp_path / "digest"), "model", name)
    assert (tmp_path / "digest").read_text() == digest
    raw = subprocess.run(
        ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"], capture_output=True, check=True
    ).stdout
    assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == digest
    cli.ok("artifact", "rm", "--all")
    assert cli.ok("artifact", "pull", "-q", PLAIN, name) == digest.partition(":")[2] + "\n"
    (tmp_path / "target").mkdir()
    cli.ok("artifact", "extract", name, str(tmp_path / "target"))
    assert (tmp_path / "target" / "model.bin").read_bytes() == files[1].read_bytes()
    assert "cannot find" in cli.fails(125, "artifact", "pull", "-q", PLAIN, f"{name}0")
    assert "rootless artifact pull" in cli.fails(125, "pull", "-q", PLAIN, name)


@pytest.mark.needs("docker-registry", "skopeo")
@pytest.mark.parametrize("title", ["../escaped", "/tmp/escaped", "..", "a/b", "x" * 300])
def test_a_title_that_is_no_name_is_refused_row_6(
    cli: Cli, files: tuple[Path, Path], registry: Registry, tmp_path: Path, title: str
) -> None:
    name = f"{registry.address}/titles/a:1"
    cli.ok("artifact", "add", "model", *map(str, files))
    cli.ok("artifact", "push", "-q", PLAIN, "model", name)
    manifest = inspected(cli, "model")["Manifest"]
    manifest["layers"][1]["annotations"][TITLE] = title
    put = urllib.request.Request(
        f"http://{registry.address}/v2/titles/a/manifests/1", json.dumps(manifest).encode(),
        {"Content-Type": manifest["mediaType"]}, method="PUT",
    )  # fmt: skip
    urllib.request.urlopen(put, timeout=30).close()
    cli.ok("artifact", "pull", "-q", PLAIN, name)
    target = tmp_path / "deep" / "target"
    target.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    assert "not the name of a file" in cli.fails(125, "artifact", "extract", name, str(target))
    assert sorted(tmp_path.rglob("*")) == before
    cli.ok("artifact", "extract", "--digest", manifest["layers"][1]["digest"], name, str(target / "chosen"))


@pytest.mark.needs("docker-registry", "skopeo")
def test_an_artifact_in_an_image_list(cli: Cli, files: tuple[Path, Path], registry: Registry) -> None:
    cli.ok("manifest", "create", "listed")
    cli.ok("manifest", "add", "--artifact", "--artifact-type", "application/x-sbom", "--artifact-config",
           str(files[0]), "--annotation", "a=b", "listed", str(files[1]))  # fmt: skip
    assert "without --artifact" in cli.fails(125, "manifest", "add", "--artifact-type", "x/y", "listed", "busybox")
    (entry,) = json.loads(cli.ok("manifest", "inspect", "listed"))["manifests"]
    assert (entry["artifactType"], entry["annotations"]) == ("application/x-sbom", {"a": "b"})
    cli.ok("image", "prune", "-f")
    assert len(blobs(cli)) >= 4
    target = f"{registry.address}/listed:1"
    cli.ok("manifest", "push", "-q", PLAIN, "listed", target)
    raw = subprocess.run(
        ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{registry.address}/listed@{entry['digest']}"],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    assert json.loads(raw)["layers"][0]["annotations"] == {TITLE: "model.bin"}
