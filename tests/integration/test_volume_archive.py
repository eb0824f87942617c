"""`volume export` and `volume import`: what goes out comes in again, with its owners, modes, times and attributes."""

from __future__ import annotations

import gzip
import io
import os
import pty
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.alone import Alone
from tests.support.cli import Cli
from tests.support.copying import IMAGE, NONE, bytes_of, members

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")

FILL = """
mkdir -p /v/a/b; echo hi > /v/a/b/f; chown 33:44 /v/a/b/f; chmod 4755 /v/a/b/f; ln /v/a/b/f /v/hard
ln -s /etc/passwd /v/l; mkfifo /v/p; chown 5:6 /v/a; chmod 1770 /v/a; touch -d '2001-02-03 04:05:06' /v/a /v/a/b
"""


@pytest.fixture(autouse=True)
def _clean(shared_cli: Cli) -> Iterator[None]:
    yield
    shared_cli.ok("rm", "-af", "-t0")
    shared_cli.ok("volume", "rm", "-af")


def filled(cli: Cli) -> None:
    cli.ok("volume", "create", "one")
    cli.ok("volume", "create", "two")
    cli.ok("run", "--rm", NONE, "-v", "one:/v", IMAGE, "sh", "-c", FILL)


def look(cli: Cli, volume: str) -> str:
    """All that a container sees in a volume, times with their fractions."""
    with tarfile.open(fileobj=io.BytesIO(bytes_of(cli, "volume", "export", volume))) as archive:
        return "\n".join(
            f"{each.name} {each.uid}:{each.gid} {each.mode:o} {each.type!r} {each.size} {each.mtime} {each.linkname}"
            for each in archive
        )


def test_there_and_back(shared_cli: Cli, tmp_path: Path) -> None:
    filled(shared_cli)
    archive = tmp_path / "one.tar"
    shared_cli.ok("volume", "export", "-o", str(archive), "one")
    found = members(archive.read_bytes())
    assert (found["a/b/f"].uid, found["a/b/f"].gid, found["a/b/f"].mode) == (33, 44, 0o4755)
    assert found["hard"].linkname == "a/b/f" and found["l"].linkname == "/etc/passwd"
    packed = tmp_path / "one.tgz"
    packed.write_bytes(gzip.compress(archive.read_bytes()))
    for number, source in enumerate((archive, packed)):
        shared_cli.ok("volume", "create", f"from-{number}")
        shared_cli.ok("volume", "import", f"from-{number}", str(source))
        assert look(shared_cli, f"from-{number}") == look(shared_cli, "one")
    with shared_cli.popen("volume", "import", "two", "-") as process:
        assert process.communicate(archive.read_bytes(), 30) == (b"", b"")
    assert look(shared_cli, "two") == look(shared_cli, "one")
    peer = subprocess.run(["tar", "-tf", str(archive)], capture_output=True, text=True, check=True)
    assert peer.stdout.splitlines() == ["a/", "a/b/", "a/b/f", "hard", "l", "p"]


def test_what_is_there_stays(shared_cli: Cli, tmp_path: Path) -> None:
    filled(shared_cli)
    made = "echo mine > /v/mine; mkdir /v/l; echo x > /v/l/x"
    shared_cli.ok("run", "--rm", NONE, "-v", "two:/v", IMAGE, "sh", "-c", made)
    shared_cli.ok("volume", "export", "-o", str(tmp_path / "one"), "one")
    shared_cli.ok("volume", "import", "two", str(tmp_path / "one"))
    assert look(shared_cli, "two").replace("mine", "") != look(shared_cli, "one")
    assert "mine 0:0" in look(shared_cli, "two") and "/etc/passwd" in look(shared_cli, "two")


def test_refused(shared_cli: Cli, tmp_path: Path) -> None:
    shared_cli.ok("volume", "create", "one")
    (tmp_path / "text").write_text("no archive" * 100)
    assert "no such volume" in shared_cli.fails(125, "volume", "export", "-o", str(tmp_path / "x"), "missing")
    assert "no such volume" in shared_cli.fails(125, "volume", "import", "missing", str(tmp_path / "text"))
    assert "cannot import" in shared_cli.fails(125, "volume", "import", "one", str(tmp_path / "text"))
    assert "No such file" in shared_cli.fails(125, "volume", "import", "one", str(tmp_path / "none"))
    assert "No such file" in shared_cli.fails(125, "volume", "export", "-o", str(tmp_path / "none/x"), "one")
    assert not (tmp_path / "x").exists()
    master, slave = pty.openpty()
    try:
        for words in (("volume", "export", "one"), ("volume", "import", "one", "-")):
            done = subprocess.run(
                shared_cli.command(*words), stdin=slave, stdout=slave, stderr=subprocess.PIPE,
                env=shared_cli.environment, check=False,
            )  # fmt: skip
            assert done.returncode == 125 and b"terminal" in done.stderr
    finally:
        os.close(master)
        os.close(slave)


def test_devices_are_left_out(shared_cli: Cli, tmp_path: Path) -> None:
    shared_cli.ok("volume", "create", "one")
    path = tmp_path / "archive"
    with tarfile.open(path, "w") as archive:
        for name, kind in (("null", tarfile.CHRTYPE), ("disk", tarfile.BLKTYPE), ("file", tarfile.REGTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.devmajor, member.devminor = kind, 1, 3
            archive.addfile(member)
    assert "2 devices" in shared_cli.run("volume", "import", "one", str(path)).stderr
    assert list(members(bytes_of(shared_cli, "volume", "export", "one"))) == ["file"]


def test_a_directory_of_the_host(shared_cli: Cli, tmp_path: Path) -> None:
    """A volume that is a bind: its directory is read and written."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/f").write_text("text")
    options = ("--opt", "type=none", "--opt", "o=bind", "--opt", f"device={tmp_path}/data")
    shared_cli.ok("volume", "create", *options, "bound")
    shared_cli.ok("volume", "create", "two")
    with shared_cli.popen("volume", "import", "two", "-") as process:
        process.communicate(bytes_of(shared_cli, "volume", "export", "bound"), 30)
    assert list(members(bytes_of(shared_cli, "volume", "export", "two"))) == ["f"]


def test_a_user_without_a_range(alone: Alone, tmp_path: Path) -> None:
    """Owners that he does not have become his."""
    path = tmp_path / "archive"
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("f")
        member.uid, member.gid, member.size = 33, 44, 4
        archive.addfile(member, io.BytesIO(b"text"))
    path.chmod(0o644)
    alone.ok("volume", "create", "one")
    alone.ok("volume", "import", "one", str(path))
    assert alone.ok("run", "--rm", NONE, "-v", "one:/v", IMAGE, "cat", "/v/f") == "text"
