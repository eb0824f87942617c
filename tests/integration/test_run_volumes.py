"""Volumes, binds, tmpfs and image mounts, seen from inside the container and from the host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.test_run_flags import IMAGE, inside, shell
from tests.support.cli import CHECKOUT, Cli
from tests.support.exchanges import exchanging

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")
STARTS, SWAPS = 20, 5000
SUBPATHS = [("a", "d/sub"), ("b", "d/sub/file")]


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


def test_every_user_reaches_a_mount(shared_cli: Cli, tmp_path: Path) -> None:
    """What is made for its place, and above it, is closed to nobody."""
    assert shell(shared_cli, f"-u 1000 -v {tmp_path}:/new/place", "stat -c %a /new /new/place | head -1") == "755"


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


def volume_directory(cli: Cli, name: str) -> Path:
    """Make a volume; where it is on the host."""
    cli.ok("volume", "create", name)
    return Path(cli.ok("volume", "inspect", "--format", "{{.Mountpoint}}", name).strip())


TAKE = """
import os, sys, time
sys.path.insert(0, {checkout!r})
from rootless.errors import RootlessError
from rootless.init.ops import Bind

seen = {{"refused": 0, "inside": 0}}
number, end = 0, time.monotonic() + 100
while number < {rounds} or (0 in seen.values() and time.monotonic() < end):
    number += 1
    bind = Bind({volume!r}, "/x", settings=[], beneath=("d/sub", "d/sub/file")[number % 2])
    try:
        bind.take()
    except RootlessError:
        answer = "refused"
    else:
        fd = os.open(f"/proc/self/fd/{{bind.mount}}" + "/file" * bind.directory, os.O_RDONLY)
        answer = os.read(fd, 100).decode()
        os.close(fd)
        os.close(bind.mount)
    seen[answer] = seen.get(answer, 0) + 1
print(seen.pop("refused"), seen.pop("inside"), *seen)
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_subpath_of_a_volume_that_is_exchanged(shared_cli: Cli, tmp_path: Path) -> None:
    """What lay below the volume when the container was made may be a link to the host at each of its starts."""
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    (outside / "sub" / "file").write_text("of the host")
    volume = volume_directory(shared_cli, "swapped")
    (volume / "d" / "sub").mkdir(parents=True)
    (volume / "d" / "sub" / "file").write_text("inside")
    (volume / "l").symlink_to(outside)
    mounts = [f"--mount=type=volume,src=swapped,dst=/{to},subpath={path}" for to, path in SUBPATHS]
    script = "cat /a/file /b; echo x >>/a/made"
    try:
        name = shared_cli.ok("create", "--network=none", *mounts, IMAGE, "sh", "-c", script).strip()
        starts: set[str] = set()
        with exchanging(volume, "d", "l"):
            for _ in range(STARTS):
                done = shared_cli.run("start", "-a", name)
                refused = done.returncode == 125 and "cannot bind" in done.stderr
                starts.add("refused" if refused else done.stdout or f"{done.returncode}: {done.stderr}")
            # The step itself, without all that is around it.
            program = TAKE.format(checkout=str(CHECKOUT), rounds=SWAPS, volume=str(volume))
            alone = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-IS", "-c", program]
            taken = subprocess.run(alone, capture_output=True, text=True, check=False)
        assert starts <= {"refused", "insideinside"}
        assert taken.returncode == 0, taken.stderr
        refusals, insides, *others = taken.stdout.split()
        assert not others and min(int(refusals), int(insides)) > 0  # both were met
        assert sorted(path.name for path in outside.rglob("*")) == ["file", "sub"]
    finally:
        shared_cli.ok("rm", "-af", "-t", "0")
        shared_cli.ok("volume", "rm", "swapped")


def test_owner_of_a_subpath(shared_cli: Cli, tmp_path: Path) -> None:
    """U changes what is below the path, through no link, and nothing beside it."""
    volume = volume_directory(shared_cli, "owned")
    (volume / "a" / "b").mkdir(parents=True)
    (volume / "out").symlink_to(tmp_path)
    (tmp_path / "b").mkdir()
    try:
        option = "type=volume,src=owned,dst=/v,U=true,subpath="
        assert shell(shared_cli, f"-u 1000 --mount {option}a/b", "stat -c %u /v") == "1000"
        assert (volume / "a").stat().st_uid == os.getuid() != (volume / "a" / "b").stat().st_uid
        error = shared_cli.fails(125, "run", "--rm", "--network=none", "--mount", f"{option}out/b", IMAGE, "true")
        assert "cannot mount the subpath" in error and (tmp_path / "b").stat().st_uid == os.getuid()
    finally:
        shared_cli.ok("volume", "rm", "owned")
