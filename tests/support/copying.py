"""What the tests of files in and out of containers share: containers in the background, archives, and exchanges."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage import sys as calls
from tests.support.cli import Cli

NONE = "--network=none"
IMAGE = "localhost/busybox"
_EXCHANGE = 2  # renameat2(2), RENAME_EXCHANGE


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


class Exchanger:
    """A process that exchanges two names of a directory as fast as it can."""

    def __init__(self, directory: Path, first: str, second: str) -> None:
        self._counts, write = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            rounds = 0
            try:
                fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
                while True:
                    for _ in range(1000):
                        calls.renameat2(fd, first, fd, second, _EXCHANGE)
                    rounds += 1000
                    os.set_blocking(write, False)
                    try:
                        os.write(write, b"k")
                    except BlockingIOError:
                        pass
            finally:
                os._exit(1)
        os.close(write)

    def rounds(self) -> int:
        """How many exchanges there were at least since the last question."""
        os.set_blocking(self._counts, False)
        try:
            return len(os.read(self._counts, 1 << 20)) * 1000
        except BlockingIOError:
            return 0

    def stop(self) -> None:
        os.kill(self._pid, 9)
        os.waitpid(self._pid, 0)
        os.close(self._counts)


@contextmanager
def exchanging(directory: Path, first: str, second: str) -> Iterator[Exchanger]:
    """Exchange the two names of ``directory`` while the block runs."""
    running = Exchanger(directory, first, second)
    try:
        yield running
    finally:
        running.stop()
