"""The format of the store: one of a newer program is left alone, one that lost its version is used as it is."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from storage.store import FORMAT_VERSION
from tests.support.cli import Cli

pytestmark = pytest.mark.needs("subuid", "busybox")

COMMANDS = (
    "ps -a", "images", "run --rm localhost/busybox true", "create localhost/busybox true", "start c", "rm -f c",
    "rmi -f localhost/busybox", "tag localhost/busybox x", "pull oci:/nowhere", "volume create v",
    "system prune -af --volumes", "system check --repair --force", "commit c x",
)  # fmt: skip


def fingerprint(top: Path) -> str:
    """Of names, kinds, modes, owners, times and contents below ``top``."""
    found = hashlib.sha256()
    for directory, names, files in os.walk(top):
        names.sort()
        for name in sorted([".", *names, *files]):
            path = Path(directory, name)
            status = path.lstat()
            found.update(f"{path} {status.st_mode} {status.st_uid} {status.st_mtime_ns} {status.st_size}\n".encode())
            if name in files and path.is_file() and os.access(path, os.R_OK):
                found.update(path.read_bytes())
    return found.hexdigest()


@pytest.fixture
def filled(cli: Cli, busybox_layout: Path) -> Cli:
    """A store with an image, a container and a volume."""
    image = cli.ok("pull", "-q", f"oci:{busybox_layout}:latest").strip()
    cli.ok("tag", image, "localhost/busybox")
    cli.ok("create", "--network=none", "--name", "c", "-v", "vol:/data", "localhost/busybox", "sh", "-c", "echo kept")
    return cli


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1])
def test_newer_store_is_left_alone(filled: Cli, version: int) -> None:
    (filled.data / "FORMAT_VERSION").write_text(f"{version}\n")
    before = fingerprint(filled.data)
    for command in COMMANDS:
        error = filled.fails(125, *command.split())
        assert f"has format {version}, and this program knows {FORMAT_VERSION}" in error, (command, error)
        assert "hint: use the newer program" in error
    assert fingerprint(filled.data) == before


@pytest.mark.parametrize("state", ["missing", "written by nobody yet"])
def test_store_without_its_version_is_used_as_it_is(filled: Cli, state: str) -> None:
    """There was no format before the first, so a store without a version is of that one: nothing in it is lost."""
    version = filled.data / "FORMAT_VERSION"
    version.unlink()
    if state != "missing":
        (filled.data / ".new-0123456789ab").write_text("1")  # its writer was killed
    assert filled.ok("start", "-a", "c") == "kept\n"
    assert version.read_text() == f"{FORMAT_VERSION}\n"
    assert filled.ok("volume", "ls", "-q") == "vol\n"
    assert "localhost/busybox" in filled.ok("images")
    filled.ok("system", "check")


@pytest.mark.parametrize("text", ["", "0\n", "\0\0\0"])
def test_version_that_is_none_is_told(filled: Cli, text: str) -> None:
    (filled.data / "FORMAT_VERSION").write_text(text)
    before = fingerprint(filled.data)
    error = filled.fails(125, "ps")
    assert "FORMAT_VERSION" in error or "format 0" in error, error
    assert fingerprint(filled.data) == before
