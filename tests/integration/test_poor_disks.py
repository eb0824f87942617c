"""Stores on file systems that refuse what local ones do: the next rung, or a limit with a name, never half a store."""

from __future__ import annotations

import errno
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import images, matrix, poor
from tests.support.layers import archive, file, hardlink
from tests.support.of_user import of_user
from tests.support.poor import IMAGE, LESS_THAN_NFS, NFS, PROBE, RUN, PoorCli

pytestmark = pytest.mark.needs("userns", "busybox", "bindfs")


@pytest.fixture
def cli() -> Iterator[PoorCli]:
    with poor.poor_cli() as made:
        yield made


def is_whole(cli: PoorCli) -> bool:
    """Whether the store has nothing damaged, and nothing half done after a prune."""
    assert cli.ok("system", "check") == ""
    cli.ok("system", "prune", "-f")
    return not any((cli.data / name).exists() and any((cli.data / name).iterdir()) for name in ("tmp", "trash"))


def live(cli: PoorCli, layout: Path) -> None:
    """All of an image's life and of a container's."""
    cli.pull(layout)
    assert cli.ok(*PROBE) == "second\n"
    script = "echo x >>/n; rm -f /srv/second-layer; mkdir -p /d/e; ln -sf /n /d/link; cat /n"
    cli.ok("create", "--name", "kept", "--network", "none", "-v", "vol:/data", IMAGE, "sh", "-c", script)
    assert cli.ok("start", "-a", "kept") == "x\n"
    assert cli.ok("start", "-a", "kept") == "x\nx\n"
    image = cli.ok("commit", "-q", "kept").strip()
    assert cli.ok(*RUN, image, "cat", "/d/link") == "x\nx\n"
    done = cli.run(*RUN, image, "cat", "/srv/second-layer")
    assert done.returncode == 1 and "No such file" in done.stderr
    assert cli.ok("cp", "kept:/n", "-") != ""
    cli.ok("rm", "-v", "kept")
    assert is_whole(cli)


def test_a_disk_without_overlay(cli: PoorCli, busybox_layout: Path, tmp_path: Path) -> None:
    """The kernel takes no FUSE as a layer of an overlay: fuse-overlayfs or the copy stands in, and says why."""
    poor.on_network_disk(cli, tmp_path)
    live(cli, busybox_layout)
    for line in (cli.expected()["RootFS"], cli.got("--network", "none")["RootFS"]):
        assert line["Got"] in ("fuse-overlayfs", "copy") and "no overlay: " in line["Why"]
        assert line["Less"] and "rootfs.overlay" not in line["Has"]
    error = cli.fails(125, *RUN, "--require", "rootfs.overlay", IMAGE, "true")
    assert "rootfs.overlay" in error and "no overlay: " in error


def test_a_disk_like_nfs(cli: PoorCli, busybox_layout: Path, tmp_path: Path) -> None:
    """Without attributes, changes of owner, renames with flags and reserved space each container is a copy."""
    calls = {name: number for name, number in LESS_THAN_NFS.items() if "link" not in name}
    poor.on_network_disk(cli, tmp_path, *NFS, without=calls)
    live(cli, busybox_layout)
    line = cli.got("--network", "none")["RootFS"]
    assert (line["Got"], line["Less"], line["Has"]) == ("copy", True, [])
    assert "no overlay: " in line["Why"] and "no fuse-overlayfs: " in line["Why"]
    check = cli.doctor()["root file system"]
    assert check["State"] == "less" and "copies its image" in check["Cost"]


def refused(cli: PoorCli, layout: Path, tag: str) -> str:
    """What a pull says that cannot be done here; the store is as it was."""
    error = cli.fails(125, "pull", "--quiet", f"oci:{layout}:{tag}")
    assert "hint: " in error and "--root" in error, error
    assert json.loads(cli.ok("images", "--format", "json")) == []
    assert list((cli.data / "layers").iterdir()) == []
    assert is_whole(cli)
    return error


def test_marks_that_nothing_can_hold(cli: PoorCli, tmp_path: Path) -> None:
    """A directory that hides those of lower layers is marked by an attribute."""
    layout = matrix.layout(tmp_path / "special")
    poor.on_network_disk(cli, tmp_path, *NFS)
    assert "not supported" in refused(cli, layout, "special")


def test_a_disk_without_hard_links(cli: PoorCli, busybox_layout: Path, tmp_path: Path) -> None:
    """Only images that have some are refused, by the name of the file."""
    made = images.Layout(tmp_path / "links")
    entries = archive([file("data/one", "linked"), hardlink("data/two", "data/one")])
    made.add_image("links", [made.add_layer(entries)], {"Cmd": ["sh"]})
    poor.on_network_disk(cli, tmp_path, without=LESS_THAN_NFS)
    error = refused(cli, tmp_path / "links", "links")
    assert '"data/two"' in error and "hard link" in error


def test_a_disk_without_locks(cli: PoorCli, busybox_layout: Path, tmp_path: Path) -> None:
    """Nothing is done where two commands could do it at once; with locks the store is as it was."""
    environment = dict(cli.environment)
    poor.on_network_disk(cli, tmp_path, *NFS)
    cli.pull(busybox_layout)
    filtered = poor.forbidding(tmp_path, flock=errno.ENOLCK)
    whole = list(cli.prefix)
    cli.prefix = [*whole, *filtered]
    for command in (("run", "--network", "none", IMAGE, "true"), ("create", IMAGE), ("rmi", "-f", IMAGE)):
        error = cli.fails(125, *command)
        assert "No locks available" in error and "hint: the file system has no locks" in error, error
    assert "No locks" in cli.doctor(125)["store"]["Found"]
    cli.prefix = whole
    assert cli.ok("ps", "-aq") == "" and cli.ok(*PROBE) == "second\n"
    assert is_whole(cli)
    # A disk that has no locks from the beginning.
    cli.environment, cli.prefix = {**environment, "XDG_DATA_HOME": str(cli.home / "new")}, filtered
    error = cli.fails(125, "pull", f"oci:{busybox_layout}:latest")
    assert "No locks available" in error and "hint: the file system has no locks" in error


@pytest.mark.as_root
def test_a_range_on_such_a_disk() -> None:
    """No file can be given to a subordinate id: all are the user's, and what is true is remembered."""
    with of_user() as cli:
        shown = cli.home / "shown"
        shown.mkdir()
        cli.before = poor.disk(cli.data.parent, shown, NFS, ordinary=False)
        cli.environment["XDG_DATA_HOME"] = str(shown)
        layout = images.busybox_layout(cli.home / "layout")
        subprocess.run(["chown", "-R", cli.owner, str(layout)], check=True)
        cli.ok("rmi", "-af")
        cli.ok("tag", cli.ok("pull", "--quiet", f"oci:{layout}:latest").strip(), IMAGE)
        assert cli.ok(*RUN, "--require", "ids.range", IMAGE, "stat", "-c", "%u", "/home/user/file") == "0\n"
        assert cli.ok("info", "--format", "{{.Isolation.RootFS.Got}}") == "copy\n"
        saved = cli.home / "saved.tar"
        cli.ok("create", "--name", "one", "--network", "none", IMAGE)
        cli.ok("export", "-o", str(saved), "one")
        cli.ok("rm", "one")
        with tarfile.open(saved) as archive:
            assert archive.getmember("home/user/file").uid == 1000
        assert cli.ok("system", "check") == ""
