"""`cp` as podman's own tests have it (test/system/065-cp.bats), on containers that run and that do not."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import layers
from tests.support.cli import Cli
from tests.support.copying import IMAGE, NONE, background, bytes_of, members
from tests.support.drivers import DRIVERS

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")

Make = Callable[..., None]


@pytest.fixture(autouse=True)
def _clean(shared_cli: Cli) -> Iterator[None]:
    yield
    shared_cli.ok("rm", "-af", "-t0")
    shared_cli.ok("volume", "rm", "-af")


@pytest.fixture(params=["running", "created"])
def make(request: pytest.FixtureRequest, shared_cli: Cli) -> Make:
    """Makes a container, in the state of the test: ``make(name, *options)``."""

    def made(name: str, *options: str) -> None:
        if request.param == "running":
            background(shared_cli, name, *options)
        else:
            shared_cli.ok("create", NONE, "--name", name, *options, IMAGE, "sleep", "1000")

    return made


def content(cli: Cli, name: str, path: str) -> dict[str, bytes]:
    """The files of a path of a container by their names in a stream."""
    with tarfile.open(fileobj=io.BytesIO(bytes_of(cli, "cp", f"{name}:{path}", "-"))) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive if m.isreg()}  # type: ignore[union-attr]


def test_a_file_into_a_container(shared_cli: Cli, make: Make, tmp_path: Path) -> None:
    make("c", "--workdir=/srv")
    (tmp_path / "f").write_text("text")
    (tmp_path / "dot.").write_text("dot")
    bytes_of(shared_cli, "cp", "-", "c:/srv", stdin=layers.archive([layers.directory("sub")]))
    for target, found in (
        ("/", "/f"), ("/new.txt", "/new.txt"), ("/tmp", "/tmp/f"), ("/tmp/", "/tmp/f"), ("/tmp/.", "/tmp/f"),
        ("/tmp/new.txt", "/tmp/new.txt"), (".", "/srv/f"), ("./", "/srv/f"), ("new.txt", "/srv/new.txt"),
        ("sub", "/srv/sub/f"), ("/tmp/../var/x", "/var/x"),
    ):  # fmt: skip
        assert shared_cli.ok("cp", str(tmp_path / "f"), f"c:{target}") == ""
        assert list(content(shared_cli, "c", found).values()) == [b"text"], target
    shared_cli.ok("cp", str(tmp_path / "dot."), "c:/tmp")
    assert content(shared_cli, "c", "/tmp/dot.") == {"dot.": b"dot"}
    error = shared_cli.fails(125, "cp", str(tmp_path / "nope"), "c:/tmp")
    assert f'"{tmp_path}/nope" could not be found on the host' in error
    error = shared_cli.fails(125, "cp", str(tmp_path / "f"), "c:/nope/")
    assert '"/nope/" could not be found on container c: no such file or directory' in error
    shared_cli.fails(125, "cp", str(tmp_path / "f"), "c:/nope/f")
    shared_cli.fails(125, "cp", str(tmp_path / "f"), "c:/etc/passwd/")


def test_a_file_out_of_a_container(shared_cli: Cli, make: Make, tmp_path: Path) -> None:
    make("c", "--workdir=/etc")
    (tmp_path / "here").mkdir()
    for source, target, found in (
        ("/etc/os-release", "", "os-release"), ("/etc/os-release", "/", "os-release"),
        ("/etc/os-release", "/.", "os-release"), ("/etc/os-release", "/new", "new"), ("os-release", "", "os-release"),
        ("../srv/second-layer", "/", "second-layer"),
    ):  # fmt: skip
        assert shared_cli.ok("cp", f"c:{source}", f"{tmp_path}/here{target}") == ""
        assert (tmp_path / "here" / found).stat().st_size > 0
        assert (tmp_path / "here" / found).stat().st_uid == os.getuid()
        (tmp_path / "here" / found).unlink()
    for wrong in ("/nope", "/etc/*", "nope", "/etc/os-release/", "/etc/os-release/x"):
        error = shared_cli.fails(125, "cp", f"c:{wrong}", str(tmp_path))
        assert f'"{wrong}" could not be found on container c' in error
    assert 'could not be found on the host' in shared_cli.fails(125, "cp", "c:os-release", f"{tmp_path}/no/")
    assert "invalid destination" in shared_cli.fails(125, "cp", "c:os-release", "/dev/null")
    assert "destination must be a directory" in shared_cli.fails(125, "cp", "c:/etc", "/etc/passwd")
    assert "does not exist" in shared_cli.fails(125, "cp", "nope:/x", str(tmp_path))
    assert "must specify paths" in shared_cli.fails(125, "cp", "c:", str(tmp_path))
    assert "one container" in shared_cli.fails(125, "cp", "here", str(tmp_path))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with a directory of two files, whose content is their names, and one whose name ends with a dot."""
    for name in ("dir", "dir."):
        (tmp_path / name / "sub").mkdir(parents=True)
        for file in ("a", "b"):
            (tmp_path / name / "sub" / file).write_text(file)
    return tmp_path


TREES = [
    ("dir", "/", "/dir/sub"), ("dir.", "/", "/dir./sub"), ("dir/", "/tmp", "/tmp/dir/sub"),
    ("dir/.", "/usr/", "/usr/sub"), ("dir/sub", ".", "/srv/sub"), ("dir/sub/.", "there/.", "/srv/there"),
    ("dir", "/new1", "/new1/sub"), ("dir/", "/new2", "/new2/sub"), ("dir/.", "/new3", "/new3/sub"),
    ("dir.", "/new4", "/new4/sub"),
]  # fmt: skip


def test_a_directory_into_a_container(shared_cli: Cli, make: Make, tree: Path) -> None:
    make("c", "--workdir=/srv")
    bytes_of(shared_cli, "cp", "-", "c:/srv", stdin=layers.archive([layers.directory("there")]))
    for source, target, found in TREES:
        shared_cli.ok("cp", f"{tree}/{source}", f"c:{target}")
        assert sorted(content(shared_cli, "c", f"{found}/.").values()) == [b"a", b"b"], source
    assert "must be a directory when copying" in shared_cli.fails(125, "cp", str(tree / "dir"), "c:/etc/os-release")


def test_a_directory_out_of_a_container_and_into_another(shared_cli: Cli, make: Make, tree: Path) -> None:
    make("c")
    make("d")
    shared_cli.ok("cp", f"{tree}/dir/.", "c:/source")
    out = tree / "out"
    for number, (source, target, found) in enumerate((
        ("/source", "", "source/sub"), ("/source/", "", "source/sub"), ("/source/.", "", "sub"),
        ("/source", "/new", "new/sub"), ("/source/.", "/new", "new/sub"), ("/source/sub/.", "", ""),
    )):  # fmt: skip
        base = out / str(number)
        base.mkdir(parents=True)
        shared_cli.ok("cp", f"c:{source}", f"{base}{target}")
        assert {name: (base / found / name).read_text() for name in "ab"} == {"a": "a", "b": "b"}
        shared_cli.ok("cp", str(base), "d:/")
        bytes_of(shared_cli, "cp", "-", "d:/", stdin=layers.archive([layers.directory(f"t{number}")]))
        shared_cli.ok("cp", f"c:{source}", f"d:/t{number}{target}")
        assert sorted(content(shared_cli, "d", f"/t{number}/{found}/.").values()) == [b"a", b"b"]
    shared_cli.ok("cp", "c:/source", "c:/srv")
    assert sorted(content(shared_cli, "c", "/srv/source/sub").values()) == [b"a", b"b"]


def test_links_are_followed_inside_the_container(shared_cli: Cli, make: Make, tmp_path: Path) -> None:
    make("c")
    (tmp_path / "secret").write_text("of the host")
    items = [
        layers.directory("d"), layers.file("d/f", "text"), layers.symlink("abs", "/d"),
        layers.symlink("host", str(tmp_path / "secret")), layers.symlink("loop", "loop"),
        layers.symlink("dangling", "/d/made"), layers.symlink("up", "../../../../../../d"),
    ]  # fmt: skip
    bytes_of(shared_cli, "cp", "-", "c:/", stdin=layers.archive(items))
    shared_cli.ok("cp", "c:/abs", str(tmp_path / "one"))
    shared_cli.ok("cp", "c:/up/.", str(tmp_path / "two"))
    assert [(tmp_path / name / "f").read_text() for name in ("one", "two")] == ["text", "text"]
    shared_cli.ok("cp", "c:/abs", str(tmp_path))  # under the name of what it leads to
    assert (tmp_path / "d" / "f").read_text() == "text"
    for wrong in ("host", "loop"):
        assert "could not be found on container c" in shared_cli.fails(125, "cp", f"c:/{wrong}", str(tmp_path / "no"))
        assert not (tmp_path / "no").exists()
    (tmp_path / "f").write_text("made")
    shared_cli.ok("cp", str(tmp_path / "f"), "c:/dangling")
    assert content(shared_cli, "c", "/d/made") == {"made": b"made"}
    shared_cli.fails(125, "cp", str(tmp_path / "f"), "c:/dangling/")
    shared_cli.fails(125, "cp", str(tmp_path / "f"), "c:/host")
    assert (tmp_path / "secret").read_text() == "of the host"


def test_files_and_directories_replace_each_other_with_overwrite(shared_cli: Cli, make: Make, tmp_path: Path) -> None:
    make("c")
    (tmp_path / "f" / "foo").mkdir(parents=True)
    (tmp_path / "f" / "foo" / "x").write_text("x")
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "foo").write_text("file")
    shared_cli.ok("cp", f"{tmp_path}/f/foo", "c:/tmp")
    error = shared_cli.fails(125, "cp", f"{tmp_path}/g/foo", "c:/tmp")
    assert 'error creating "/tmp/foo": ' in error and ": file exists" in error
    shared_cli.ok("cp", "--overwrite", f"{tmp_path}/g/foo", "c:/tmp")
    assert content(shared_cli, "c", "/tmp/foo") == {"foo": b"file"}
    assert "file exists" in shared_cli.fails(125, "cp", f"{tmp_path}/f/foo", "c:/tmp/")
    shared_cli.ok("cp", "--overwrite", f"{tmp_path}/f/foo", "c:/tmp/")
    assert content(shared_cli, "c", "/tmp/foo") == {"foo/x": b"x"}
    assert "file exists" in shared_cli.fails(125, "cp", "c:/tmp/foo", str(tmp_path / "g"))
    shared_cli.ok("cp", "--overwrite", "c:/tmp/foo", str(tmp_path / "g"))
    assert (tmp_path / "g" / "foo" / "x").read_text() == "x"


def test_streams(shared_cli: Cli, make: Make) -> None:
    make("c")
    data = layers.archive([layers.directory("d"), layers.file("d/f", "text", uid=1042, gid=1043)])
    import bz2
    import gzip
    import lzma

    import zstandard

    for number, packed in enumerate((
        data, gzip.compress(data), bz2.compress(data), lzma.compress(data), zstandard.compress(data)
    )):  # fmt: skip
        bytes_of(shared_cli, "cp", "-", "c:/", stdin=layers.archive([layers.directory(f"s{number}")]))
        bytes_of(shared_cli, "cp", "-", f"c:/s{number}", stdin=packed)
        assert content(shared_cli, "c", f"/s{number}/d") == {"d/f": b"text"}
    bytes_of(shared_cli, "cp", "-a=false", "-", "c:/srv", stdin=data)
    found = members(bytes_of(shared_cli, "cp", "c:/srv/.", "-"))
    assert (found["d/f"].uid, found["d/f"].gid) == (1042, 1043)
    assert "must be a (compressed) tar archive" in shared_cli.fails(125, "cp", "-", "c:/tmp", stdin="text\n" * 1000)
    assert "must be a (compressed) tar archive" in shared_cli.fails(125, "cp", "-", "c:/tmp", stdin="")
    for wrong in ("/etc/os-release", "/tmp/nope"):
        assert "must be a directory when copying from stdin" in shared_cli.fails(125, "cp", "-", f"c:{wrong}")
    strange = layers.archive([layers.file("x", "y", uid=2_000_000_000)])
    done = shared_cli.popen("cp", "-a=false", "-", "c:/tmp")
    assert b"id map" in done.communicate(strange)[1]
    assert done.returncode == 125


def test_owners_and_modes(shared_cli: Cli, make: Make, tmp_path: Path) -> None:
    make("c", "--user", "user")
    (tmp_path / "d").mkdir(mode=0o750)
    (tmp_path / "d" / "f").write_text("x")
    (tmp_path / "d" / "f").chmod(0o640)
    (tmp_path / "d" / "l").symlink_to("/nowhere")
    os.mkfifo(tmp_path / "d" / "p")
    os.utime(tmp_path / "d" / "f", ns=(1, 1_500_000_000_123_456_789))
    shared_cli.ok("cp", str(tmp_path / "d"), "c:/srv")
    found = members(bytes_of(shared_cli, "cp", "c:/srv/d", "-"))
    assert {(member.uid, member.gid) for member in found.values()} == {(1000, 1000)}
    assert {name: found[name].mode for name in ("d", "d/f")} == {"d": 0o750, "d/f": 0o640}
    assert found["d/p"].isfifo() and found["d/l"].linkname == "/nowhere"
    shared_cli.ok("cp", "c:/srv/d", str(tmp_path / "back"))
    back = (tmp_path / "back" / "f").stat()
    assert (back.st_uid, stat.S_IMODE(back.st_mode)) == (os.getuid(), 0o640)
    assert back.st_mtime_ns == 1_500_000_000_123_456_789
    assert stat.S_ISFIFO((tmp_path / "back" / "p").stat().st_mode)
    shared_cli.ok("cp", "-a=false", "c:/home/user/file", "c:/tmp/kept")
    assert members(bytes_of(shared_cli, "cp", "c:/tmp/kept", "-"))["kept"].uid == 1000


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("running", [True, False], ids=["running", "created"])
def test_volumes_and_binds(shared_cli: Cli, driver: str, running: bool, tmp_path: Path) -> None:
    """What is mounted is seen, also in what is mounted; a volume that is still empty gets the image's files first."""
    (tmp_path / "bound").mkdir()
    (tmp_path / "f").write_text("text")
    options = ("-v", "one:/v", "-v", "two:/v/sub", "-v", f"{tmp_path}/bound:/v/sub/bound", "-v", "home:/home",
               "-v", f"{tmp_path}/bound:/ro:ro", "--tmpfs", "/t")  # fmt: skip
    how = ("run", "-d") if running else ("create",)
    command = ("--storage-driver", driver, *how, NONE, "--name", "c", *options, IMAGE, "sleep", "1000")
    shared_cli.ok(*command)
    for target in ("/v/f", "/v/sub/f", "/v/sub/bound/f", "/home/f", *(["/t/x"] if running else [])):
        shared_cli.ok("cp", str(tmp_path / "f"), f"c:{target}")
    volumes = {name: Path(shared_cli.ok("volume", "inspect", "--format", "{{.Mountpoint}}", name).strip())
               for name in ("one", "two", "home")}  # fmt: skip
    assert sorted(os.listdir(volumes["one"])) == ["f", "sub"]
    assert sorted(os.listdir(volumes["two"])) == ["bound", "f"]
    assert os.listdir(tmp_path / "bound") == ["f"]
    assert sorted(os.listdir(volumes["home"])) == ["f", "user"]
    assert content(shared_cli, "c", "/v") == {"v/f": b"text", "v/sub/f": b"text", "v/sub/bound/f": b"text"}
    assert "read-only" in shared_cli.fails(125, "cp", str(tmp_path / "f"), "c:/ro/g")
    if running:
        assert content(shared_cli, "c", "/t") == {"t/x": b"text"}
    assert not [line for line in shared_cli.ok("diff", "c").splitlines() if line.endswith("/f")]


def test_a_file_that_is_mounted_is_written_in_place(shared_cli: Cli, tmp_path: Path) -> None:
    background(shared_cli, "c")
    (tmp_path / "hosts").write_text("127.0.0.1 localhost again\n")
    shared_cli.ok("cp", str(tmp_path / "hosts"), "c:/etc/hosts")
    assert content(shared_cli, "c", "/etc/hosts") == {"hosts": b"127.0.0.1 localhost again\n"}


def test_the_whole_root(shared_cli: Cli, make: Make, tmp_path: Path) -> None:
    make("c")
    shared_cli.ok("cp", "c:/", str(tmp_path / "root"))
    assert (tmp_path / "root" / "bin" / "busybox").stat().st_mode & 0o777 == 0o755
    assert not {"proc", "sys", "dev"} & set(os.listdir(tmp_path / "root"))
    shared_cli.ok("cp", str(tmp_path / "root"), "c:/copied")
    shared_cli.ok("cp", "c:/copied/etc/passwd", str(tmp_path))
    if shared_cli.ok("inspect", "--format", "{{.State.Status}}", "c") == "running\n":
        assert "kernel" in shared_cli.fails(125, "cp", "c:/proc/version", str(tmp_path))


def test_holes_stay_holes(shared_cli: Cli, make: Make, tmp_path: Path) -> None:
    make("c")
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(200 << 20)
        file.seek(100 << 20)
        file.write(b"middle")
    shared_cli.ok("cp", str(tmp_path / "hole"), "c:/hole")
    shared_cli.ok("cp", "c:/hole", str(tmp_path / "back"))
    back = (tmp_path / "back").stat()
    assert back.st_size == 200 << 20
    assert back.st_blocks * 512 < 1 << 20
    with (tmp_path / "back").open("rb") as file:
        file.seek(100 << 20)
        assert file.read(7) == b"middle\0"


def test_what_cannot_be_read_on_the_host(shared_cli: Cli, make: Make, tmp_path: Path) -> None:
    make("c")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "closed").write_text("x")
    (tmp_path / "d" / "closed").chmod(0)
    assert "closed: Permission denied" in shared_cli.fails(125, "cp", str(tmp_path / "d"), "c:/d")


@pytest.mark.parametrize("mode", ["keep-id", "nomap", "auto"])
def test_other_id_maps(shared_cli: Cli, make: Make, mode: str, tmp_path: Path) -> None:
    # A new volume belongs to the caller, whom the other two maps do not have.
    make("c", f"--userns={mode}", *(["-v", "vol:/v"] if mode == "keep-id" else []))
    (tmp_path / "f").write_text("x")
    for target in ("/srv", *(["/v"] if mode == "keep-id" else [])):
        shared_cli.ok("cp", str(tmp_path / "f"), f"c:{target}")
        owner = os.getuid() if mode == "keep-id" else 0
        assert members(bytes_of(shared_cli, "cp", f"c:{target}/f", "-"))["f"].uid == owner
    shared_cli.ok("cp", "c:/home/user/file", str(tmp_path))
    assert (tmp_path / "file").read_text() == "user's\n"


def test_a_container_that_is_gone_when_it_ends(shared_cli: Cli, tmp_path: Path) -> None:
    shared_cli.ok("run", "-d", "--rm", NONE, "--name", "c", "-v", "/anonymous", IMAGE, "sleep", "1000")
    (tmp_path / "f").write_text("x")
    shared_cli.ok("cp", str(tmp_path / "f"), "c:/anonymous")
    shared_cli.ok("cp", str(tmp_path / "f"), "c:/srv")
    assert content(shared_cli, "c", "/anonymous") == {"anonymous/f": b"x"}
    assert "A /srv/f" in shared_cli.ok("diff", "c").splitlines()
    assert "srv/f" in members(bytes_of(shared_cli, "export", "c"))
