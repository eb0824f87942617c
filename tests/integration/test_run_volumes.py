"""Volumes, binds, tmpfs and image mounts, seen from inside the container and from the host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integration.test_run_flags import IMAGE, inside, shell
from tests.support.cli import Cli

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")


def test_bind(shared_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("of the host")
    assert shell(shared_cli, f"-v {tmp_path}:/data", "cat /data/file; echo new > /data/made") == "of the host"
    assert (tmp_path / "made").read_text() == "new\n"
    assert (tmp_path / "made").stat().st_uid == os.getuid()
    assert shell(shared_cli, f"-v {tmp_path}:/data:ro", "touch /data/x 2>/dev/null || echo refused") == "refused"
    assert shell(shared_cli, f"-v {tmp_path}/file:/etc/one:ro,z", "cat /etc/one") == "of the host"
    options = shell(shared_cli, f"-v {tmp_path}:/data:noexec", "grep ' /data ' /proc/mounts")
    assert "noexec" in options and "nosuid" in options and "nodev" in options
    error = shared_cli.fails(125, "run", "--rm", "--network=none", "-v", f"{tmp_path}/missing:/x", IMAGE, "true")
    assert "no such file or directory" in error
    bad_ends = (":x", ":/", ":/proc/x", ":/x:wrong", ":/x:ro,rw", ":/x:idmap", ":/x:upperdir=/tmp")
    for bad in (*(f"{tmp_path}{end}" for end in bad_ends), "a/b:/x"):
        shared_cli.fails(125, "run", "--rm", "--network=none", "-v", bad, IMAGE, "true")


def test_changed_owner(shared_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert shell(shared_cli, f"-u 1000 -v {tmp_path}:/data:U", "stat -c %u /data/file") == "1000"
    assert tmp_path.stat().st_uid != os.getuid()
    assert shell(shared_cli, f"-v {tmp_path}:/data:U", "stat -c %u /data/file") == "0"


def test_throw_away(shared_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    script = "cat /data/kept; echo changed > /data/kept; cat /data/kept"
    assert shell(shared_cli, f"-v {tmp_path}:/data:O", script) == "keptchanged"
    assert (tmp_path / "kept").read_text() == "kept"


def test_named_volume(shared_cli: Cli) -> None:
    try:
        shell(shared_cli, "-v things:/srv", "ls /srv; echo more > /srv/more")
        assert shell(shared_cli, "-v things:/data", "ls /data").split() == ["more", "second-layer"]
        assert shared_cli.ok("volume", "ls", "-q") == "things\n"
    finally:
        shared_cli.ok("volume", "rm", "things")
    assert shared_cli.ok("volume", "ls", "-q") == ""


def test_volume_keeps_its_data(shared_cli: Cli) -> None:
    try:
        shell(shared_cli, "-v kept:/x", "echo own > /x/second-layer")
        assert shell(shared_cli, "-v kept:/srv", "cat /srv/second-layer") == "own"
    finally:
        shared_cli.ok("volume", "rm", "kept")


def test_anonymous_volume(shared_cli: Cli) -> None:
    assert shell(shared_cli, "-v /srv", "ls /srv") == "second-layer"
    assert shared_cli.ok("volume", "ls", "-q") == ""
    shared_cli.ok("create", "--name", "holder", "-v", "/srv", IMAGE, "true")
    assert len(shared_cli.ok("volume", "ls", "-q").strip()) == 64
    shared_cli.ok("rm", "-v", "holder")
    assert shared_cli.ok("volume", "ls", "-q") == ""


def test_volume_in_use(shared_cli: Cli) -> None:
    shared_cli.ok("create", "--name", "user", "-v", "used:/x", IMAGE, "true")
    shared_cli.fails(2, "volume", "rm", "used")
    shared_cli.fails(1, "volume", "rm", "no-such-volume")
    shared_cli.ok("volume", "rm", "-f", "used")
    assert shared_cli.ok("ps", "-aq") == ""


def test_volumes_from(shared_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("shared")
    shared_cli.ok("create", "--name", "giver", "-v", f"{tmp_path}:/data", IMAGE, "true")
    try:
        assert shell(shared_cli, "--volumes-from giver", "cat /data/file") == "shared"
        assert shell(shared_cli, "--volumes-from giver:ro", "touch /data/x 2>/dev/null || echo no") == "no"
    finally:
        shared_cli.ok("rm", "giver")


def test_tmpfs(shared_cli: Cli) -> None:
    assert "size=1024k" in shell(shared_cli, "--tmpfs /x:size=1m,mode=700", "grep ' /x ' /proc/mounts")
    assert inside(shared_cli, "--tmpfs /srv", "ls", "/srv") == "second-layer"
    assert inside(shared_cli, "--mount type=tmpfs,dst=/srv,notmpcopyup", "ls", "/srv") == ""


def test_mount(shared_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert shell(shared_cli, f"--mount type=bind,src={tmp_path},target=/d,readonly", "cat /d/file") == "x"
    assert shell(shared_cli, f"--mount type=image,src={IMAGE},dst=/other", "ls /other/bin | head -1 | wc -l") == "1"
    script = "touch /other/bin/x && ls /other/bin/x"
    assert shell(shared_cli, f"--mount type=image,src={IMAGE},dst=/other,rw=true", script) == "/other/bin/x"
    assert "devpts" in shell(shared_cli, "--mount type=devpts,destination=/dev/pts", "grep ' /dev/pts ' /proc/mounts")
    try:
        shell(shared_cli, "--mount type=volume,src=v,dst=/v", "mkdir -p /v/a/b; echo deep > /v/a/b/c; ln -s / /v/out")
        assert shell(shared_cli, "--mount type=volume,src=v,dst=/v,subpath=a/b", "cat /v/c") == "deep"
        bad = "type=volume,src=v,dst=/v,subpath=out/etc"
        shared_cli.fails(125, "run", "--rm", "--network=none", "--mount", bad, IMAGE, "true")
    finally:
        shared_cli.ok("volume", "rm", "v")
    for bad in ("type=nothing,dst=/x", "type=bind,dst=/x", "type=bind,src=/tmp", "dst=/x,a=1", "type=tmpfs,dst=x"):
        shared_cli.fails(125, "run", "--rm", "--network=none", "--mount", bad, IMAGE, "true")
