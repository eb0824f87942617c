"""Builds of small Containerfiles, and what their layers hold."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.cli import Cli

BASE = "localhost/busybox"


def build(
    cli: Cli, context: Path, text: str, *flags: str, env: Mapping[str, str] | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Build the Containerfile ``text``, whose first line is given: the base is busybox."""
    context.mkdir(exist_ok=True)
    file = context.parent / f"{context.name}.Containerfile"
    file.write_text(f"FROM {BASE}\n{text}")
    words = ("build", "--network=none", "-f", str(file), *flags, str(context))
    return cli.run(*words, env=env, timeout=timeout)


def built(cli: Cli, context: Path, text: str, *flags: str, env: Mapping[str, str] | None = None) -> str:
    """The same, which must succeed; all that was said."""
    done = build(cli, context, text, *flags, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def refused(cli: Cli, context: Path, text: str, *flags: str, env: Mapping[str, str] | None = None) -> str:
    """The same, which must fail in words."""
    done = build(cli, context, text, *flags, env=env)
    assert done.returncode != 0 and "Traceback" not in done.stderr and "internal error" not in done.stderr, done
    return done.stderr


def config(cli: Cli, image: str) -> dict[str, Any]:
    """The configuration of an image."""
    found: dict[str, Any] = json.loads(cli.ok("image", "inspect", image))[0]
    return found


def layers(cli: Cli, image: str) -> list[list[tarfile.TarInfo]]:
    """The members of each layer of an image, base first."""
    digest = json.loads(cli.ok("image", "inspect", image))[0]["Digest"]
    blobs = cli.data / "images" / "blobs" / "sha256"
    manifest = json.loads((blobs / digest.partition(":")[2]).read_text())
    found = []
    for layer in manifest["layers"]:
        with tarfile.open(blobs / layer["digest"].partition(":")[2]) as archive:
            found.append(archive.getmembers())
    return found


def names(cli: Cli, image: str, layer: int = -1) -> list[str]:
    """The names in one layer of an image."""
    return [member.name for member in layers(cli, image)[layer]]
