"""A disk, or its table of inodes, without anything free; and one that is mounted read-only under the store.

Nothing half-done stays, what is refused is refused in one line with a hint, and whatever removes things works.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage import reserve
from tests.support import images
from tests.support.cli import new_cli
from tests.support.figures import Tell
from tests.support.of_user import IMAGE, OfUser
from tests.support.saved import saved

pytestmark = [pytest.mark.as_root, pytest.mark.needs("busybox")]

SIZE = 24 << 20
INODES = 2600


class Disk:
    """A small file system, on which a user's store lies; root fills it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def fill(self, inodes: bool) -> None:
        """Leave not a byte, or not an inode."""
        (self.directory / "filler").mkdir(exist_ok=True)
        try:
            if inodes:
                number = len(os.listdir(self.directory / "filler"))
                while True:
                    number += 1
                    (self.directory / f"filler/{number}").touch(exist_ok=False)
            with (self.directory / "filler/bytes").open("ab", buffering=0) as file:
                for size in (1 << 20, 4096, 1):
                    try:
                        while True:
                            file.write(b"x" * size)
                    except OSError:
                        continue
        except OSError:
            pass
        status = os.statvfs(self.directory)
        assert (status.f_ffree if inodes else status.f_bavail) == 0

    def empty(self) -> None:
        """Take the filler away."""
        images.remove_tree(self.directory / "filler")


@contextmanager
def small_disk() -> Iterator[tuple[OfUser, Disk]]:
    """The program of the test user with an image, containers and volumes on a small disk of its own."""
    with new_cli() as made:
        cli = OfUser(made.home)
        layout = images.busybox_layout(made.home / "layout")
        subprocess.run(["chown", "-R", cli.owner, str(made.home)], check=True)
        data = made.home / "data"
        options = f"size={SIZE},nr_inodes={INODES},mode=0700,uid={cli.user.pw_uid},gid={cli.user.pw_gid}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "small", str(data)], check=True)
        try:
            cli.ok("tag", cli.ok("pull", "--quiet", f"oci:{layout}:latest").strip(), IMAGE)
            for name in ("one", "two", "three"):
                cli.ok("run", "--name", name, IMAGE, "sh", "-c", "echo data > /file; echo line")
                cli.ok("volume", "create", f"of-{name}")
            cli.ok("tag", IMAGE, "localhost/second:latest")
            yield cli, Disk(data)
            cli.ok("rm", "-af", "-t", "0")
        finally:
            subprocess.run(["umount", "--lazy", str(data)], check=True)


def _left(cli: OfUser) -> list[str]:
    """What there is below the directories in which a command may leave something half-done."""
    return sorted(
        str(path.relative_to(cli.data)) for name in ("tmp", "trash", "containers", "volumes", "layers", "images")
        for path in (cli.data / name).glob("*"))  # fmt: skip


@pytest.mark.parametrize("inodes", [False, True], ids=["bytes", "inodes"])
def test_a_full_disk_is_emptied_by_the_commands_for_it(inodes: bool, figure: Tell) -> None:
    """The disk is filled again before each: rm, rmi, volume rm, and prune of all."""
    with small_disk() as (cli, disk):
        cli.ok("run", "-d", "--name", "running", IMAGE, "sh", "-c", "trap exit TERM; while true; do sleep 0.1; done")
        removals = [
            ("rm", "one"), ("volume", "rm", "of-one"), ("rmi", "localhost/second:latest"),
            ("stop", "-t", "5", "running"), ("rm", "running"), ("rm", "-f", "two"),
            ("container", "prune", "-f"), ("volume", "prune", "-f"), ("system", "prune", "-af", "--volumes"),
        ]  # fmt: skip
        failed = []
        for command in removals:
            disk.fill(inodes)
            done = cli.run(*command)
            if done.returncode != 0:
                failed.append((command, done.stderr))
        assert failed == []
        assert cli.ok("ps", "-aq") == cli.ok("images", "-q") == cli.ok("volume", "ls", "-q") == ""
        assert list(cli.data.glob("layers/*")) == list(cli.data.glob("trash/*")) == []
        disk.empty()
        cli.ok("system", "prune", "-f")
        assert (cli.data / "reserve").stat().st_size == reserve.SIZE
        assert cli.ok("system", "check") == ""
        kinds = 3  # rm, rmi and prune
        figure("removals that work on a full disk", f"= {kinds}", kinds - len(failed), of=kinds)


@pytest.mark.parametrize("inodes", [False, True], ids=["bytes", "inodes"])
def test_what_needs_space_is_refused_and_leaves_nothing(inodes: bool, tmp_path: Path, figure: Tell) -> None:
    with small_disk() as (cli, disk):
        archive = cli.home / "image.tar"
        archive.write_bytes(images.tar_of([images.file(f"file-{n}", os.urandom(9000)) for n in range(300)]))
        archive.chmod(0o644)
        layout = images.Layout(cli.home / "other")
        layout.add_image("latest", [layout.add_layer(archive.read_bytes())], {"Cmd": ["sh"]})
        subprocess.run(["chmod", "-R", "a+rX", str(cli.home / "other")], check=True)
        (cli.home / "saved.tar").write_bytes(saved({"localhost/loaded:1": [archive.read_bytes()]}))
        (cli.home / "saved.tar").chmod(0o644)
        disk.fill(inodes)
        before = _left(cli)
        refused = [
            ("pull", "--quiet", f"oci:{cli.home}/other:latest"), ("import", str(archive), "localhost/new"),
            ("create", "--name", "new", IMAGE), ("run", "--name", "new", IMAGE, "true"),
            ("run", "-d", "--name", "new", IMAGE, "true"), ("volume", "create", "new"),
            ("commit", "one", "localhost/new"), ("run", "-v", "new:/data", "--name", "new", IMAGE, "true"),
            ("load", "--quiet", "--input", f"{cli.home}/saved.tar"), ("volume", "import", "of-one", str(archive)),
            ("save", "--output", f"{cli.data}/tmp/saved.tar", IMAGE),
            ("save", "--format", "oci-dir", "--output", f"{cli.data}/tmp/saved", IMAGE),
            ("volume", "export", "--output", f"{cli.data}/tmp/v.tar", "of-one"),
        ]  # fmt: skip
        for command in refused:
            error = cli.fails(125, *command)
            lines = error.strip().splitlines()
            assert [line.partition(":")[0] for line in lines] == ["Error", "hint"], (command, error)
            assert "space" in error, (command, error)
        left = [name for name in _left(cli) if name not in before]
        figure("files left by what a full disk refused", "= 0", len(left), of=len(refused))
        disk.empty()
        assert cli.ok("system", "check") == ""
        assert cli.ok("run", "--rm", IMAGE, "echo", "works") == "works\n"


def test_a_container_goes_on_when_the_disk_is_full() -> None:
    """Its log may lose lines; it is not ended, its end is known, and it starts again when there is room."""
    with small_disk() as (cli, disk):
        program = "trap 'exit 7' TERM; while true; do echo a line of the log; sleep 0.02; done"
        cli.ok("run", "-d", "--name", "web", IMAGE, "sh", "-c", program)
        disk.fill(inodes=False)
        assert cli.ok("exec", "web", "echo", "in") == "in\n"
        assert cli.ok("ps", "--format", "{{.Names}}") == "web\n"
        cli.ok("stop", "web")
        state = cli.ok("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "web").split()
        assert state[0] == "exited"
        assert state[1] == "7"
        disk.empty()
        cli.ok("start", "web")
        cli.ok("rm", "-f", "-t", "0", "web")
        assert cli.ok("system", "check") == ""


def test_a_disk_that_became_read_only() -> None:
    """What only reads goes on; what writes says why it cannot, and harms nothing."""
    with small_disk() as (cli, disk):
        subprocess.run(["mount", "-o", "remount,ro", str(disk.directory)], check=True)
        assert "localhost/busybox" in cli.ok("images")
        assert "three" in cli.ok("ps", "-a")
        assert "line" in cli.ok("logs", "one")
        assert cli.ok("inspect", "--format", "{{.Name}}", "one") == "one\n"
        for command in (
            ("rm", "one"), ("rmi", "-f", IMAGE), ("volume", "rm", "of-one"), ("create", IMAGE), ("volume", "create"),
            ("run", "--rm", IMAGE, "true"), ("start", "one"), ("tag", IMAGE, "localhost/x"), ("commit", "one"),
            ("system", "prune", "-f"), ("pull", "--quiet", f"oci:{cli.home}/layout:latest"),
        ):  # fmt: skip
            done = cli.run(*command)
            assert "Traceback" not in done.stderr and "internal error" not in done.stderr, (command, done.stderr)
            if done.returncode == 0:
                assert command[0] in ("system", "pull"), command  # there may have been nothing to do
                continue
            lines = done.stderr.strip().splitlines()
            assert "Read-only file system" in lines[0] and len(lines) <= 2, (command, done.stderr)
        subprocess.run(["mount", "-o", "remount,rw", str(disk.directory)], check=True)
        assert cli.ok("system", "check") == ""
        cli.ok("start", "one")
