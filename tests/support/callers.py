"""The OCI runtime as an installed program, and podman as one of those that call it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import images
from tests.support.cli import CHECKOUT, entry_point
from tests.support.places import OWN, Place, place

PATIENCE = 20.0
"""Seconds that anything may take."""
NAMES = ("crun", "runc")
"""Names by which podman knows what a runtime can do; see :func:`installed`."""

# Locks of one's own: those in /dev/shm are for all that a user does with podman.
_SETTINGS = """
[containers]
log_driver = "k8s-file"
[engine]
lock_type = "file"
"""
# Notes each call before it is made: the container's end may come before that of the call.
_NOTING = """#!/bin/sh
echo "$*" >>{log}
exec {program} "$@"
"""


def installed(place: Place) -> Path:
    """``rootless-oci`` as a program that needs no environment; beside it links to it that are called as its peers are.

    Of the environment that runs the tests, or, where that has none, an installation of this checkout in the place.
    """
    script, name = Path(entry_point("rootless-oci")[0]), "rootless-oci"
    directory = place.home / "installed"
    programs = directory / "bin"
    if script.is_absolute():
        programs.mkdir(parents=True)
        (programs / name).symlink_to(script)
    else:
        venv.create(directory, symlinks=True)
        (packages,) = directory.glob("lib/python3*/site-packages")
        for package in ("rootless", "storage"):
            (packages / package).symlink_to(CHECKOUT / package)
        others = [path for path in sys.path if path.endswith("-packages")]
        (packages / "others.pth").write_text("\n".join(others) + "\n")
        shutil.copy(CHECKOUT / "contrib/launcher/rootless-oci", programs)
    for peer in NAMES:
        (programs / peer).symlink_to(programs / name)
    return programs / name


def noting(place: Place, program: Path) -> tuple[Path, Path]:
    """A runtime that puts down how it is called, and the file in which it does."""
    log = place.write("calls", "")
    script = place.write("noting", _NOTING.format(log=log, program=program))
    script.chmod(0o755)
    return script, log


def verbs(log: Path) -> list[str]:
    """The verbs of the calls that a :func:`noting` runtime got."""
    known = {"create", "start", "state", "kill", "delete", "exec", "ps", "pause", "resume", "update", "events"}
    return [next(word for word in line.split() if word in known) for line in log.read_text().splitlines() if line]


class Terminal:
    """A program on a terminal of 33 rows and 77 columns, of which the test holds the other side."""

    def __init__(self, place: Place, *words: str | Path) -> None:
        self.master, slave = pty.openpty()
        self.resize(33, 77)
        self.shown = ""
        self.process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *place.command(*words)],
            stdin=slave, stdout=slave, stderr=slave, env=place.environment, cwd=place.home,
        )  # fmt: skip
        os.close(slave)

    def resize(self, rows: int, columns: int) -> None:
        """Change its size; the kernel tells the program."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, text: str) -> None:
        """Read what is shown until ``text`` has come."""
        end = time.monotonic() + PATIENCE
        while text not in self.shown:
            if not self._read(end):
                raise AssertionError(f"{text!r} is not among {self.shown!r}")

    def type(self, text: str) -> None:
        """Type ``text``."""
        os.write(self.master, text.encode())

    def end(self) -> int:
        """Wait until the program has ended; its exit code."""
        end = time.monotonic() + PATIENCE
        while self._read(end):
            continue
        code = self.process.wait(PATIENCE)
        os.close(self.master)
        return code

    def _read(self, end: float) -> bool:
        if not select.select([self.master], [], [], max(0, end - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self.master, 4096)
        except OSError:  # EIO: nobody has the terminal any more
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)


class Podman:
    """podman with storage and state of its own, which calls ``runtime``."""

    def __init__(self, place: Place, runtime: Path) -> None:
        self.place = place
        self.runtime = runtime
        self.state = place.directory("libpod")
        place.directory(".config/containers")
        # Where it must be for podman's clean-up process, which gets no variable but HOME.
        place.write(".config/containers/containers.conf", _SETTINGS)
        self._flags: list[str | Path] = ["podman", "--root", place.directory("storage"), "--runroot", self.state]
        self._flags += ["--tmpdir", self.state / "tmp", "--network-config-dir", self.state / "cni"]
        self._flags += ["--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "file"]

    def words(self, *arguments: str | Path, runtime: str | Path = "") -> list[str | Path]:
        """The command line; ``runtime``: the name of another beside the usual one, or its path."""
        return [*self._flags, "--runtime", self.runtime.parent / runtime if runtime else self.runtime, *arguments]

    def run(
        self, *arguments: str | Path, runtime: str | Path = "", stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run podman to its end; never raises for an exit code."""
        return self.place.run(*self.words(*arguments, runtime=runtime), stdin=stdin)

    def ok(self, *arguments: str | Path, runtime: str | Path = "", stdin: str = "") -> str:
        """Run what must succeed; its standard output without the last newline."""
        return self.place.ok(*self.words(*arguments, runtime=runtime), stdin=stdin).rstrip("\n")

    def terminal(self, *arguments: str) -> Terminal:
        """podman on a terminal."""
        return Terminal(self.place, *self.words(*arguments))

    def load(self) -> None:
        """Have an image of busybox as ``box``."""
        layout = images.busybox_layout(self.place.home / "image")
        self.ok("tag", self.ok("pull", "--quiet", f"oci:{layout}:latest"), "localhost/box")

    def status(self, container: str) -> str:
        """The status and the exit code."""
        return self.ok("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", container)


@contextmanager
def podman(kind: str) -> Iterator[Podman]:
    """podman in a place; its containers, and the process that keeps an ordinary user's namespaces, end with it."""
    with place(kind) as where:
        made = Podman(where, installed(where))
        try:
            made.load()
            yield made
        finally:
            made.run("rm", "--all", "--force", "--time", "0")
            pause = made.state / "tmp/pause.pid"
            if kind == OWN and pause.exists():
                os.kill(int(pause.read_text()), signal.SIGKILL)
