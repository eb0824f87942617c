"""What the tests of files in and out of containers share: containers in the background, and archives."""

from __future__ import annotations

import io
import subprocess
import tarfile

from tests.support.cli import Cli

NONE = "--network=none"
IMAGE = "localhost/busybox"


def background(cli: Cli, name: str, *options: str, image: str = IMAGE) -> None:
    """A container that waits until it is removed."""
    cli.ok("run", "-d", NONE, "--name", name, *options, image, "sleep", "1000")


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    """The members of an archive by their names, without the slash behind a directory's."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: member for member in archive}


def bytes_of(cli: Cli, *arguments: str, stdin: bytes = b"") -> bytes:
    """Standard output of a command that must succeed."""
    done = subprocess.run(
        cli.command(*arguments), input=stdin, capture_output=True, timeout=60, env=cli.environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
