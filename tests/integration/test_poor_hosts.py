"""Hosts that lack what the others have: devices, helpers, ranges of ids, a home, a runtime directory."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import hosts, images, matrix
from tests.support.cli import Cli
from tests.support.fixtures import require
from tests.support.poor import IMAGE, PROBE, RUN, PoorCli, poor_cli

pytestmark = pytest.mark.needs("userns", "busybox")


@pytest.fixture
def poor(busybox_layout: Path) -> Iterator[PoorCli]:
    """The program with an image of busybox."""
    with poor_cli(busybox_layout) as made:
        yield made


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


def test_without_tun(poor: PoorCli) -> None:
    """What was not asked for is done without, and told; what was is refused."""
    poor.prefix = hosts.prefix(poor.home / "host", without=["/dev/net/tun"])
    done = poor.run("run", "--rm", IMAGE, "sh", "-c", "cat /srv/second-layer; ls /sys/class/net")
    assert (done.returncode, done.stdout) == (0, "second\nlo\n")
    assert "The container has no way to the network: /dev/net/tun cannot be opened" in done.stderr
    for line in (poor.expected()["Network"], poor.got()["Network"]):
        assert line["Less"] and line["Has"] == ["network.private"] and "/dev/net/tun" in line["Why"], line
    for flags in (("--network", "pasta"), ("-p", "127.0.0.1::80"), ("--require", "network.connected")):
        error = poor.fails(125, "run", "--rm", *flags, IMAGE, "true")
        assert "/dev/net/tun" in error and "hint: " in error, error
    assert poor.got("--network", "none")["Network"]["Less"] is False


@pytest.mark.needs("pasta", "slirp4netns", "tun")
def test_without_helpers_for_the_network(poor: PoorCli) -> None:
    """The other one stands in; without both there is no way out."""
    helpers = ["/usr/bin/pasta", "/usr/bin/slirp4netns"]
    for missing, kind in ((helpers[:1], "slirp4netns"), (helpers[1:], "pasta"), (helpers, "")):
        poor.prefix = hosts.prefix(poor.home / f"host{kind}", without=missing)
        line = poor.expected()["Network"]
        assert line["Less"] is not bool(kind) and (f"connected by {kind}" if kind else "without a way") in line["Got"]
    assert poor.run("run", "--rm", IMAGE, "echo", "runs").stdout == "runs\n"


def test_without_a_range(poor: PoorCli) -> None:
    """One user, and the names of what is missing."""
    poor.prefix = hosts.prefix(poor.home / "host", files={"/etc/subuid": "", "/etc/subgid": ""})
    assert poor.ok(*PROBE) == "second\n"
    for line in (poor.expected()["UserIDs"], poor.got("--network", "none")["UserIDs"]):
        assert (line["Got"], line["Less"], line["Has"]) == ("one user id", True, ["ids"])
    error = poor.fails(125, *RUN, "--require", "ids.range", IMAGE, "true")
    assert "ids.range" in error and "hint: sudo usermod --add-subuids" in error


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
    with poor_cli() as cli:
        cli.prefix = hosts.prefix(cli.home / "host", files={"/etc/subuid": "", "/etc/subgid": ""})
        look = ["run", "--rm", "--network", "none", IMAGE, "stat", "-c", "%u", "/home/user/file"]
        layout = images.busybox_layout(cli.home / "layout")
        cli.pull(layout)
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
    assert poor.doctor(125)["store"]["State"] == "BROKEN"
    # With the data elsewhere the home is needed for nothing.
    environment["XDG_DATA_HOME"] = str(poor.home / "data")
    assert poor.ok(*PROBE) == "second\n"


def test_a_home_that_is_mounted_read_only(poor: PoorCli) -> None:
    """The store that was there can be read; nothing is made, and the way out is told."""
    script = f'mount --bind {poor.home} {poor.home} && mount -o remount,bind,ro {poor.home} && exec "$@"'
    poor.prefix = ["unshare", "--user", "--map-current-user", "--keep-caps", "--mount", "sh", "-c", script, "sh"]
    error = poor.fails(125, *PROBE)
    assert "Read-only file system" in error and "hint: " in error and "--root" in error
    assert poor.run("version").returncode == 0
    assert poor.doctor(125)["store"]["State"] == "BROKEN"
    poor.prefix = []
    assert poor.ok("system", "check") == "" and poor.ok(*PROBE) == "second\n"
