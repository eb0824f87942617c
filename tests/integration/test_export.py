"""`export`: the archive of a container is what the container has, and nothing of what is mounted in it."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.canary import Canary
from tests.support.cli import Cli
from tests.support.copying import IMAGE, NONE, bytes_of, members
from tests.support.drivers import DRIVERS

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")



@pytest.fixture(autouse=True)
def _clean(shared_cli: Cli) -> Iterator[None]:
    yield
    shared_cli.ok("rm", "-af", "-t0")
    shared_cli.ok("volume", "rm", "-af")


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("running", [False, True], ids=["ended", "running"])
def test_everything_is_in_it(shared_cli: Cli, driver: str, running: bool) -> None:
    script = """
    echo text > /srv/f; chown 33:34 /srv/f; chmod 4711 /srv/f; ln /srv/f /srv/g; ln -s ../x /srv/l; mkfifo /srv/p
    dd if=/dev/zero of=/srv/hole bs=1 seek=3M count=1 2>/dev/null; rm -r /home; echo secret > /data/in; touch /srv/done
    """
    options = ("--storage-driver", driver, "run", NONE, "--name", "c", "-v", "vol:/data")
    if running:
        shared_cli.ok(*options, "-d", IMAGE, "sh", "-c", f"{script}; sleep 1000")
        while "A /srv/done" not in shared_cli.ok("diff", "c"):
            continue
    else:
        shared_cli.ok(*options, IMAGE, "sh", "-c", script)
    found = members(bytes_of(shared_cli, "export", "c"))
    assert found["bin/busybox"].isreg()
    assert found["srv/f"].mode == 0o4711
    assert (found["srv/f"].uid, found["srv/f"].gid, found["srv/f"].size) == (33, 34, 5)
    assert found["srv/g"].islnk()
    assert found["srv/g"].linkname == "srv/f"
    assert found["srv/l"].linkname == "../x"
    assert found["srv/p"].isfifo()
    assert found["srv/hole"].size == (3 << 20) + 1
    assert found["data"].isdir()
    assert not [name for name in found if name.startswith(("home", "data/", "proc/", "dev/"))]
    assert all(not name.startswith(("/", ".")) for name in found)


def test_to_a_file_and_back(shared_cli: Cli, tmp_path: Path) -> None:
    shared_cli.ok("run", NONE, "--name", "c", IMAGE, "sh", "-c", "echo text > /srv/f; chown 5:6 /srv/f")
    previous = os.umask(0o027)
    try:
        assert shared_cli.ok("export", "-o", str(tmp_path / "a.tar"), "c") == ""
    finally:
        os.umask(previous)
    assert (tmp_path / "a.tar").stat().st_mode & 0o777 == 0o640
    image = shared_cli.ok("import", "-q", str(tmp_path / "a.tar")).strip()
    try:
        seen = shared_cli.ok("run", "--rm", NONE, image, "sh", "-c", "cat /srv/f; stat -c %u:%g /srv/f /home/user/file")
        assert seen == "text\n5:6\n1000:1000\n"
    finally:
        shared_cli.ok("rmi", "-f", image)


def test_what_is_refused(shared_cli: Cli, tmp_path: Path) -> None:
    shared_cli.ok("create", NONE, "--name", "c", IMAGE)
    assert "no such container" in shared_cli.fails(125, "export", "-o", str(tmp_path / "a"), "nope")
    assert not (tmp_path / "a").exists()
    assert "':'" in shared_cli.fails(125, "export", "-o", f"{tmp_path}/a:b", "c")
    assert "cannot write" in shared_cli.fails(125, "export", "-o", f"{tmp_path}/none/a", "c")
    master, slave = pty.openpty()
    done = subprocess.run(
        shared_cli.command("export", "c"), stdout=slave, stderr=subprocess.PIPE, text=True, env=shared_cli.environment,
        timeout=60, check=False,
    )  # fmt: skip
    os.close(master)
    os.close(slave)
    assert done.returncode == 125
    assert "refusing to export to terminal" in done.stderr


def test_a_reader_that_goes_away(shared_cli: Cli) -> None:
    shared_cli.ok("create", NONE, "--name", "c", IMAGE)
    process = shared_cli.popen("export", "c", stdin=subprocess.DEVNULL)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.read(100)
    process.stdout.close()
    assert process.wait(60) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.parametrize("driver", DRIVERS)
def test_links_out_of_the_container_are_not_followed(shared_cli: Cli, driver: str, tmp_path: Path) -> None:
    """Directories of a lower layer that the container has replaced by links to the host's."""
    canary = Canary(tmp_path / "canary")
    outside = canary.root
    script = f"rm -r /srv; ln -s {outside} /srv; ln -s {outside}/file /tmp/f; rm -r /etc; ln -s {outside} /etc"
    shared_cli.ok("--storage-driver", driver, "run", NONE, "--name", "c", IMAGE, "sh", "-c", script)
    data = bytes_of(shared_cli, "export", "c")
    assert b"canary file" not in data
    assert members(data)["srv"].issym()
    assert "A /srv/" not in shared_cli.ok("diff", "c")
    shared_cli.ok("commit", "-q", "c", "out")
    shared_cli.ok("rmi", "-f", "out")
    canary.check()
