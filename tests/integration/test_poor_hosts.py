"""Hosts that lack what the others have: devices, helpers, ranges of ids, a home, a runtime directory."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import hosts, images, matrix
from tests.support.cli import Cli, new_cli
from tests.support.fixtures import require

IMAGE = "localhost/busybox"
PROBE = ("run", "--rm", "--network", "none", IMAGE, "cat", "/srv/second-layer")

pytestmark = pytest.mark.needs("userns", "busybox")


class PoorCli(Cli):
    """The program on a host that lacks something: ``prefix`` are the words that take it away."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.prefix: list[str] = []

    def command(self, *arguments: str) -> list[str]:
        """See :class:`Cli`."""
        return [*self.prefix, *super().command(*arguments)]


@pytest.fixture
def poor(busybox_layout: Path) -> Iterator[PoorCli]:
    """The program with an image of busybox."""
    with new_cli() as made:
        cli = PoorCli(made.home)
        cli.ok("tag", cli.ok("pull", "--quiet", f"oci:{busybox_layout}:latest").strip(), IMAGE)
        yield cli


@pytest.fixture
def environment(poor: PoorCli) -> dict[str, str]:
    """The environment of the program, for a test to change."""
    return poor.environment


def test_without_fuse(poor: PoorCli) -> None:
    poor.prefix = hosts.prefix(poor.home / "host", without=["/dev/fuse"])
    assert poor.ok(*PROBE) == "second\n"
    for driver in ("overlay", "copy"):
        assert poor.ok("--storage-driver", driver, *PROBE) == "second\n"
    error = poor.fails(125, "--storage-driver", "fuse-overlayfs", *PROBE)
    assert "/dev/fuse" in error and "hint: " in error


@pytest.mark.as_root
def test_without_newuidmap(busybox_layout: Path) -> None:
    """Only root can hide the helpers from somebody who has a range."""
    with matrix.new_user(matrix.USERS["stranger"]) as user:
        text = f"{matrix.STRANGER}:400000:65536\n"
        helpers = ["/usr/bin/newuidmap", "/usr/bin/newgidmap"]  # in the other places are links to these, if at all
        user.prefix = hosts.prefix(
            user.home / "host", files={"/etc/subuid": text, "/etc/subgid": text}, without=helpers, uid=matrix.STRANGER
        )
        layout = shutil.copytree(busybox_layout, user.home / "layout")
        user.ok("tag", user.ok("pull", "--quiet", f"oci:{layout}:latest").strip(), IMAGE)
        assert user.ok(*PROBE) == "second\n"
        rows = user.ok("run", "--rm", "--network", "none", IMAGE, "cat", "/proc/self/uid_map").split()
        assert rows == ["0", str(matrix.STRANGER), "1"]
        assert "subordinate ids" in user.fails(126, "run", "--rm", "--network", "none", "-u", "33", IMAGE, "true")


@pytest.mark.parametrize("words", [["unshare", "--user", "--map-current-user"], ["setpriv", "--no-new-privs"]])
def test_where_newuidmap_has_no_power(poor: PoorCli, words: list[str]) -> None:
    """In an outer container of one id, or where no set-uid program gains anything."""
    poor.prefix = words
    assert poor.ok(*PROBE) == "second\n"


def test_a_range_that_comes_later(poor: PoorCli) -> None:
    """A user who gets subordinate ids has the owners that the image says, and keeps his containers."""
    require("subuid", "newuidmap")
    with new_cli() as made:
        cli = PoorCli(made.home)
        cli.prefix = hosts.prefix(cli.home / "host", files={"/etc/subuid": "", "/etc/subgid": ""})
        look = ["run", "--rm", "--network", "none", IMAGE, "stat", "-c", "%u", "/home/user/file"]
        layout = images.busybox_layout(cli.home / "layout")
        cli.ok("tag", cli.ok("pull", "--quiet", f"oci:{layout}:latest").strip(), IMAGE)
        assert cli.ok(*look) == "0\n"
        command = ["sh", "-c", "echo x >>/n; cat /n"]
        cli.ok("create", "--name", "kept", "--network", "none", IMAGE, *command)
        assert cli.ok("start", "-a", "kept") == "x\n"
        cli.prefix = []
        assert cli.ok(*look) == "1000\n"
        assert cli.ok("start", "-a", "kept") == "x\nx\n"
        assert cli.ok("system", "check") == ""
        cli.ok("rm", "kept")


def test_without_a_home(poor: PoorCli, environment: dict[str, str]) -> None:
    del environment["HOME"]
    assert poor.ok(*PROBE) == "second\n"


@pytest.mark.parametrize("value", [None, "", "relative/path", "/nonexistent"])
def test_without_a_runtime_directory(poor: PoorCli, environment: dict[str, str], value: str | None) -> None:
    environment.pop("XDG_RUNTIME_DIR")
    if value is not None:
        environment["XDG_RUNTIME_DIR"] = value
    assert poor.ok(*PROBE) == "second\n"


def test_a_runtime_directory_open_to_others(poor: PoorCli, environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    environment["XDG_RUNTIME_DIR"] = str(tmp_path / "open")
    assert poor.ok(*PROBE) == "second\n"
    assert list((tmp_path / "open").iterdir()) == []


def test_a_squatted_runtime_directory(poor: PoorCli, environment: dict[str, str]) -> None:
    """Somebody else made the name in /tmp: a link there leads wherever its owner wants."""
    poor.prefix = hosts.prefix(poor.home / "host", tmpfs=["/tmp"])
    environment.pop("XDG_RUNTIME_DIR")
    name = f"/tmp/rootless-{os.getuid()}"
    squat = ["sh", "-c", f'ln -s /var/tmp {name}; exec "$@"', "sh"]
    if os.access(f"/run/user/{os.getuid()}", os.W_OK):
        pytest.skip("needs no session: a login gave this user a runtime directory")
    done = subprocess.run(
        [*poor.prefix, *squat, *Cli.command(poor, *PROBE)], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "Traceback" in done.stderr) == (125, False)
    assert name in done.stderr and "hint: set XDG_RUNTIME_DIR" in done.stderr


def test_a_home_that_cannot_be_written(poor: PoorCli, environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(0o555)
    environment["HOME"] = str(tmp_path / "home")
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        del environment[name]
    error = poor.fails(125, *PROBE)
    assert str(tmp_path / "home") in error and "--root" in error
    assert poor.run("version").returncode == 0
    # With the data elsewhere the home is needed for nothing.
    environment["XDG_DATA_HOME"] = str(poor.home / "data")
    assert poor.ok(*PROBE) == "second\n"
