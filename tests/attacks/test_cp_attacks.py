"""`cp` against containers and archives that want out: nothing outside is read or changed, and nothing waits."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.canary import Canary
from tests.support.cli import Cli
from tests.support.copying import IMAGE, NONE, background, bytes_of, members
from tests.support.exchanges import exchanging
from tests.support.layers import archive, directory, fifo, file, symlink

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")

ROUNDS = 10_000
TEXT = b"canary file"


@pytest.fixture(autouse=True)
def _clean(shared_cli: Cli) -> Iterator[None]:
    yield
    shared_cli.ok("rm", "-af", "-t0")
    shared_cli.ok("volume", "rm", "-af")


def start(cli: Cli, running: bool, name: str, *options: str) -> None:
    if running:
        background(cli, name, *options)
    else:
        cli.ok("create", NONE, "--name", name, *options, IMAGE, "sleep", "1000")


@pytest.mark.parametrize("running", [True, False], ids=["running", "created"])
def test_exchanges_while_files_go_in_and_out_rows_68_69(
    shared_cli: Cli, canary: Canary, running: bool, tmp_path: Path
) -> None:
    """Rows 68 and 69: a directory of a volume and a link to the host change places all the time."""
    volume = tmp_path / "volume"
    (volume / "d" / "dir").mkdir(parents=True)
    (volume / "d" / "file").write_text("inside")
    (volume / "l").symlink_to(canary.root)
    start(shared_cli, running, "c", "-v", f"{volume}:/v", "-v", "other:/v/other")
    (tmp_path / "source" / "dir" / "below").mkdir(parents=True)
    for name in ("file", "victim", "dir/file", "dir/below/file", "new"):
        (tmp_path / "source" / name).write_text("from the host")
    out = tmp_path / "out"
    out.mkdir()
    rounds = done = 0
    deadline = time.monotonic() + 60
    with exchanging(volume, "d", "l") as exchanger:
        while (rounds < ROUNDS or done < 8) and time.monotonic() < deadline:
            shared_cli.run("cp", f"{tmp_path}/source/.", "c:/v/d")
            shared_cli.run("cp", "--overwrite", f"{tmp_path}/source", "c:/v/d/dir")
            shared_cli.run("cp", f"{tmp_path}/source/file", "c:/v/d/file")
            shared_cli.run("cp", "c:/v/d/file", str(out / f"file{done}"))
            shared_cli.run("cp", "c:/v/d", str(out / f"tree{done}"))
            shared_cli.run("cp", "c:/v", str(out / f"all{done}"))
            rounds += exchanger.rounds()
            done += 1
    assert rounds >= ROUNDS
    copied = [path for path in out.rglob("*") if path.is_file() and not path.is_symlink()]
    assert copied
    assert not [path for path in copied if TEXT in path.read_bytes()]


def test_exchanges_in_the_target_on_the_host_row_68(shared_cli: Cli, canary: Canary, tmp_path: Path) -> None:
    """A directory of the host that is also a container's: what the container puts there is not followed."""
    volume = tmp_path / "volume"
    (volume / "to" / "tree").mkdir(parents=True)
    (volume / "to" / "l").symlink_to(canary.root)
    background(shared_cli, "c", "-v", f"{volume}:/v")
    items = [directory("tree", 0o777), directory("tree/dir", 0o777), file("tree/file", "x"), file("tree/dir/file", "x"),
             file("tree/closed", "x", 0o777)]  # fmt: skip
    bytes_of(shared_cli, "cp", "-", "c:/srv", stdin=archive(items))
    rounds = done = 0
    deadline = time.monotonic() + 60
    with exchanging(volume / "to", "tree", "l") as exchanger:
        while (rounds < ROUNDS or done < 8) and time.monotonic() < deadline:
            shared_cli.run("cp", "c:/srv/tree", str(volume / "to"))
            shared_cli.run("cp", "--overwrite", "c:/srv/tree", str(volume / "to"))
            rounds += exchanger.rounds()
            done += 1
    assert rounds >= ROUNDS


def test_exchanges_of_a_file_and_a_pipe(shared_cli: Cli, tmp_path: Path) -> None:
    """What is a file at one moment is a pipe at the next: the copy never waits for a writer."""
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "f").write_text("text")
    os.mkfifo(volume / "p")
    background(shared_cli, "c", "-v", f"{volume}:/v")
    kinds = set()
    with exchanging(volume, "f", "p"):
        for number in range(12):
            target = tmp_path / f"out{number}"
            assert shared_cli.run("cp", "c:/v", str(target), timeout=20).returncode == 0
            assert shared_cli.run("cp", f"{volume}/f", f"c:/tmp/in{number}", timeout=20).returncode in (0, 125)
            kinds.add(stat.S_IFMT((target / "f").lstat().st_mode) if (target / "f").exists() else 0)
    assert kinds <= {0, stat.S_IFREG, stat.S_IFIFO}


@pytest.mark.parametrize("running", [True, False], ids=["running", "created"])
def test_special_files_do_not_block(shared_cli: Cli, running: bool, tmp_path: Path) -> None:
    start(shared_cli, running, "c")
    bytes_of(shared_cli, "cp", "-", "c:/srv", stdin=archive([fifo("p"), directory("d"), fifo("d/p"), file("f", "x")]))
    shared_cli.ok("cp", "c:/srv/p", str(tmp_path / "p"), timeout=20)
    shared_cli.ok("cp", "c:/srv", str(tmp_path / "srv"), timeout=20)
    assert stat.S_ISFIFO((tmp_path / "srv" / "d" / "p").stat().st_mode)
    (tmp_path / "f").write_text("over a pipe")
    shared_cli.ok("cp", str(tmp_path / "f"), "c:/srv/p", timeout=20)
    assert members(bytes_of(shared_cli, "cp", "c:/srv/p", "-"))["p"].isreg()
    shared_cli.ok("cp", str(tmp_path / "p"), "c:/srv/p", timeout=20)
    assert members(bytes_of(shared_cli, "cp", "c:/srv/p", "-"))["p"].isfifo()
    assert "invalid destination" in shared_cli.fails(125, "cp", "c:/srv/f", str(tmp_path / "p"), timeout=20)
    assert "device" in shared_cli.fails(125, "cp", "/dev/null", "c:/srv/null", timeout=20)
    if running:
        shared_cli.ok("cp", "c:/dev/null", str(tmp_path / "null"), timeout=20)
        assert not (tmp_path / "null").exists()


@pytest.mark.parametrize("running", [True, False], ids=["running", "created"])
def test_links_of_the_image_lead_nowhere_outside_row_68(
    shared_cli: Cli, canary: Canary, running: bool, tmp_path: Path
) -> None:
    """Row 68: every directory and file that a user is likely to name is a link to the host."""
    start(shared_cli, running, "c")
    outside = str(canary.root)
    items = [
        symlink("to-dir", f"{outside}/dir"), symlink("to-file", f"{outside}/file"),
        symlink("up", "../../../../../../../.." + outside), symlink("proc-root", "/proc/1/root" + outside),
        symlink("self-root", "/proc/self/root" + outside), symlink("cwd", "/proc/self/cwd"),
    ]
    bytes_of(shared_cli, "cp", "-", "c:/tmp", stdin=archive(items))
    (tmp_path / "f").write_text("x")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "file").write_text("x")
    for item in items:
        for source in ("f", "d/."):
            for below in ("", "/new"):
                shared_cli.run("cp", f"{tmp_path}/{source}", f"c:/tmp/{item.name}{below}")
        shared_cli.run("cp", f"c:/tmp/{item.name}", str(tmp_path / f"out-{item.name}"))
        shared_cli.run("cp", f"c:/tmp/{item.name}/file", str(tmp_path / f"out2-{item.name}"))
        canary.check()
    for path in tmp_path.glob("out*"):
        assert not path.is_file() or TEXT not in path.read_bytes()


ODD_NAMES = ("*", "?", "[a-z]*", "{a,b}", "$(touch x)", "-rf", "a\nb", "~", "..x", "\\*", ":", "b:c")


@pytest.mark.parametrize("running", [True, False], ids=["running", "created"])
def test_names_are_no_patterns_row_68(shared_cli: Cli, running: bool, tmp_path: Path) -> None:
    """CVE-2019-10152's kin: what a shell would expand is one name in either direction, and its neighbours stay."""
    (tmp_path / "in").mkdir()
    for number, name in enumerate(ODD_NAMES):
        (tmp_path / "in" / name).write_text(str(number))
    start(shared_cli, running, "c")
    shared_cli.ok("cp", f"{tmp_path}/in", "c:/srv")
    for name in ("*", "[a-z]*", "$(touch x)"):
        out = tmp_path / "out" / name
        out.mkdir(parents=True)
        shared_cli.ok("cp", f"c:/srv/in/{name}", f"{out}/{name}")
        assert os.listdir(out) == [name] and (out / name).read_text() == str(ODD_NAMES.index(name))
        shared_cli.ok("cp", f"{tmp_path}/in/{name}", f"c:/tmp/{name}")
    names = sorted(members(bytes_of(shared_cli, "cp", "c:/tmp", "-")))
    assert names == ["tmp", "tmp/$(touch x)", "tmp/*", "tmp/[a-z]*"]
    shared_cli.ok("cp", "c:/srv/in", f"{tmp_path}/back")
    assert {path.name: path.read_text() for path in (tmp_path / "back").iterdir()} == {
        name: str(number) for number, name in enumerate(ODD_NAMES)
    }


def test_programs_of_the_image_are_not_run_row_62(shared_cli: Cli, tmp_path: Path) -> None:
    """Row 62: an image full of traps; a program of it that ran here would leave its mark beside the volume."""
    trap = f"#!/bin/sh\ntouch {tmp_path}/ran /volume/ran\n"
    names = ["tar", "xz", "gzip", "sh", "nsenter", "ps", "newuidmap", "fuse-overlayfs", "python3", "cp"]
    items = [directory("usr/bin")] + [file(f"usr/bin/{name}", trap, 0o755) for name in names]
    items += [file(f"lib/{name}", "no library") for name in ("libnss_files.so.2", "libc.so.6")]
    items += [file("etc/ld.so.preload", "/lib/libnss_files.so.2\n"), directory("etc")]
    (tmp_path / "volume").mkdir()
    background(shared_cli, "c", "-v", f"{tmp_path}/volume:/volume")
    bytes_of(shared_cli, "cp", "-", "c:/", stdin=archive(items))
    shared_cli.ok("cp", "c:/etc", str(tmp_path / "etc"))
    shared_cli.ok("diff", "c")
    bytes_of(shared_cli, "export", "c")
    shared_cli.ok("commit", "-q", "c", "trapped")
    shared_cli.ok("stop", "-t0", "c")
    shared_cli.ok("cp", "c:/usr", str(tmp_path / "usr"))
    shared_cli.ok("cp", str(tmp_path / "usr"), "c:/")
    shared_cli.ok("rm", "c")
    shared_cli.ok("rmi", "trapped")
    assert sorted(os.listdir(tmp_path)) == ["etc", "usr", "volume"]
    assert os.listdir(tmp_path / "volume") == []


def test_exchanges_while_a_container_is_read_as_a_whole(shared_cli: Cli, canary: Canary, tmp_path: Path) -> None:
    """Row 71: export, commit and diff of a tree in which directories and links to the host change places."""
    shared_cli.ok("--storage-driver", "copy", "run", "-d", NONE, "--name", "c", IMAGE, "sleep", "1000")
    container = shared_cli.ok("inspect", "--format", "{{.Id}}", "c").strip()
    root = shared_cli.data / "containers" / container / "rootfs" / "tmp"
    (root / "d" / "dir" / "below").mkdir(parents=True)
    for name in ("file", "dir/file", "dir/below/file"):
        (root / "d" / name).write_text("inside")
    (root / "l").symlink_to(canary.root)
    rounds = done = 0
    deadline = time.monotonic() + 60
    with exchanging(root, "d", "l") as exchanger:
        while (rounds < ROUNDS or done < 5) and time.monotonic() < deadline:
            assert TEXT not in bytes_of(shared_cli, "export", "c")
            assert "A /tmp/l/victim" not in shared_cli.ok("diff", "c")
            rounds += exchanger.rounds()
            done += 1
        image = shared_cli.ok("commit", "-q", "c").strip()
    assert rounds >= ROUNDS
    seen = shared_cli.ok("run", "--rm", NONE, image, "sh", "-c", "cat /tmp/*/file /tmp/*/*/file 2>/dev/null; true")
    assert "canary" not in seen
    shared_cli.ok("rmi", "-f", image)


def test_a_container_that_ends_meanwhile(shared_cli: Cli, tmp_path: Path) -> None:
    """A copy that has begun is finished or fails in words; the container that follows finds its files whole."""
    background(shared_cli, "c")
    (tmp_path / "tree").mkdir()
    for number in range(300):
        (tmp_path / "tree" / str(number)).write_text("x" * 10000)
    stopper = threading.Thread(target=lambda: shared_cli.run("kill", "c"))
    process = shared_cli.popen("cp", str(tmp_path / "tree"), "c:/tmp")
    stopper.start()
    _, error = process.communicate(timeout=60)
    stopper.join()
    assert process.returncode in (0, 125)
    assert b"Traceback" not in error and b"internal error" not in error
    shared_cli.ok("cp", "c:/etc/passwd", str(tmp_path))
