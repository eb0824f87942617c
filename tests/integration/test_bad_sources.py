"""Images that cannot be had: registries that refuse or lie, archives that are none. One line each, nothing kept."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.registry import INDEX, FakeRegistry, Reply, layer
from tests.integration.test_run_flags import IMAGE
from tests.support.cli import Cli
from tests.support.refusal import refused

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")
PLAIN = "--tls-verify=false"
OFTEN = 50

ARCHIVES = {
    "garbage": os.urandom(50_000), "empty": b"", "text": b"hello\n", "zeros": bytes(20_480),
    "cut gzip": gzip.compress(os.urandom(50_000))[:20_000], "gzip of text": gzip.compress(b"hello"),
    "zstd": b"\x28\xb5\x2f\xfd" + b"x" * 20, "xz": b"\xfd7zXZ\0" + b"x" * 20, "bzip2": b"BZh9" + b"x" * 20,
    "cut tar": layer({"file": bytes(9000)})[:7000],
}  # fmt: skip


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        running.add_image("app", [layer({"file": os.urandom(100_000)})])
        yield running


def pull(cli: Cli, fake: FakeRegistry, name: str, *options: str) -> str:
    """What the refusal of an image of the registry says."""
    return refused(cli, 125, "pull", PLAIN, *options, f"{fake.host}/{name}")


def test_unknown_images(shared_cli: Cli, fake: FakeRegistry) -> None:
    for name in ("nope", "app:nope", f"app@sha256:{'0' * 64}"):
        assert f"{fake.host}/{name}" in pull(shared_cli, fake, name)
        for command in ("run", "create"):
            refused(shared_cli, 125, command, "--network=none", PLAIN, f"{fake.host}/{name}", "true")
    assert "linux/arm64" in pull(shared_cli, fake, "app", "--platform=linux/arm64")
    fake.put_manifest("index", {"schemaVersion": 2, "manifests": []}, media_type=INDEX)
    assert "platform" in pull(shared_cli, fake, "index")
    assert "--tls-verify=false" in refused(shared_cli, 125, "pull", f"{fake.host}/app")


@pytest.mark.parametrize(
    ("status", "word"),
    [(401, "rootless login HOST"), (403, "access denied"), (404, "manifest unknown"), (418, "418"), (500, "500")],
)
def test_refusals(shared_cli: Cli, fake: FakeRegistry, status: int, word: str) -> None:
    fake.script("/manifests/", Reply(status=status, body=b"<html>no\n\x1b[31m</html>"), OFTEN)
    error = pull(shared_cli, fake, "app")
    assert word.replace("HOST", fake.host) in error and fake.host in error and "\x1b" not in error


@pytest.mark.parametrize(
    ("reply", "word"),
    [
        (Reply(flip=True), "digest"), (Reply(cut_after=10), "was cut"), (Reply(status=404), "blob unknown"),
        (Reply(status=403), "access denied"),
    ],
)  # fmt: skip
def test_blobs(shared_cli: Cli, fake: FakeRegistry, reply: Reply, word: str) -> None:
    fake.script("/blobs/", reply, OFTEN)
    assert word in pull(shared_cli, fake, "app")


@pytest.mark.parametrize("body", [b"{", b"", b"[]", b"null", b'{"a":' + b"[" * 5000, b"\xff\xfe"])
def test_manifests(shared_cli: Cli, fake: FakeRegistry, body: bytes) -> None:
    fake.script("/manifests/", Reply(status=200, body=body), OFTEN)
    error = pull(shared_cli, fake, "app")
    assert f"cannot use the manifest of {fake.host}/app:latest" in error and "hint: " in error


def test_images_that_are_none(shared_cli: Cli, fake: FakeRegistry) -> None:
    fake.add_image("nottar", [b"this is not a tar file at all" * 100])
    rootfs = {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]}
    fake.add_image("other", [layer({"b": b"b"})], config={"rootfs": rootfs})
    fake.add_image("config", [layer({"b": b"b"})], config={"config": {"Cmd": "no list"}})
    for name, word in {"nottar": "sha256:", "other": "sha256:111", "config": f"{fake.host}/config"}.items():
        error = shared_cli.fails(125, "pull", "-q", PLAIN, f"{fake.host}/{name}")
        assert word in error and len(error.splitlines()) <= 2
    assert shared_cli.ok("images", "-q", "--filter", f"reference={fake.host}/*") == ""
    shared_cli.ok("system", "prune", "-f")
    assert shared_cli.ok("system", "check") == ""


def test_credentials(shared_cli: Cli) -> None:
    with FakeRegistry(user="me", password="secret") as fake:
        fake.add_image("app", [layer({"a": b"a"})])
        assert f"rootless login {fake.host}" in pull(shared_cli, fake, "app")
        error = pull(shared_cli, fake, "app", "--creds=me:wrong")
        assert "invalid username/password" in error and "wrong" not in error
        assert "--creds" in pull(shared_cli, fake, "app", "--creds=:")
        for words in (("-u", "me", "-p", "wrong"), ("-u", "me", "--password-stdin"), ()):
            refused(shared_cli, 125, "login", PLAIN, *words, fake.host)
        assert not (shared_cli.home / "run/containers/auth.json").exists()
    error = refused(shared_cli, 125, "pull", PLAIN, f"{fake.host}/app")
    assert "connection refused" in error and fake.host in error


@pytest.mark.parametrize("kind", ARCHIVES)
def test_archives(shared_cli: Cli, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "archive"
    path.write_bytes(ARCHIVES[kind])
    assert str(path) in refused(shared_cli, 125, "load", "-i", str(path))
    for transport in ("oci-archive", "docker-archive"):
        assert str(path) in refused(shared_cli, 125, "pull", f"{transport}:{path}")
    for transport in ("oci", "dir"):
        assert "Not a directory" in refused(shared_cli, 125, "pull", f"{transport}:{path}")
    if kind != "zeros":  # an archive of nothing is one
        error = refused(shared_cli, 125, "import", str(path))
        assert "archive" in error or "layer" in error


def test_other_files(shared_cli: Cli, tmp_path: Path) -> None:
    good = tmp_path / "good.tar"
    good.write_bytes(layer({"file": b"data"}))
    assert "rootless import" in refused(shared_cli, 125, "load", "-i", str(good))
    assert "standard input" in refused(shared_cli, 125, "load", stdin="garbage")
    assert "standard input" in refused(shared_cli, 125, "import", "-", stdin="garbage")
    for command in (("load", "-i"), ("import",)):
        assert "no such file" in refused(shared_cli, 125, *command, "/nosuch").lower()
        refused(shared_cli, 125, *command, str(tmp_path))
    refused(shared_cli, 125, "import", str(good), "BAD NAME")
    refused(shared_cli, 125, "import", "--change", "BOGUS x", str(good))


def test_an_archive_cut_short(shared_cli: Cli, busybox_layout: Path, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(busybox_layout, ".")
    data = packed.getvalue()
    for share in (0.3, 0.6, 0.9):
        path = tmp_path / "image.tar"
        path.write_bytes(data[: int(len(data) * share)])
        assert str(path) in refused(shared_cli, 125, "load", "-i", str(path))
    assert shared_cli.ok("run", "--rm", "--network=none", IMAGE, "echo", "well") == "well\n"
