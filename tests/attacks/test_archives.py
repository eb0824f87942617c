"""Hostile archives at the commands that take them, and what came in at those that show it."""

from __future__ import annotations

import gzip
import json
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import attacks, layers
from tests.support.canary import TEXT, Canary
from tests.support.cli import Cli, new_cli
from tests.support.copying import NONE, background, bytes_of, members
from tests.support.figures import amount
from tests.support.fixtures import require
from tests.support.images import Layout, busybox_tar, host_platform
from tests.support.layers import Item, archive, device, directory, fifo, file, symlink
from tests.support.saved import saved
from tests.support.tarbytes import END, block, gnu_long, padded

pytestmark = [pytest.mark.needs("userns", "subuid", "newuidmap", "busybox", "libseccomp"), pytest.mark.timeout(600)]
NEEDS = {"overlay": ["overlay"], "fuse-overlayfs": ["fuse", "fuse-overlayfs"], "copy": []}
STRIDE = amount(usual=27, nightly=3)


@pytest.fixture(params=NEEDS)
def driver(request: pytest.FixtureRequest) -> str:
    """The name of each driver."""
    require(*NEEDS[request.param])
    return str(request.param)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A user with the image ``base``, and no containers when a test begins."""
    with new_cli() as cli:
        load(cli, tmp_path_factory.mktemp("base"), "base", [])
        yield cli


@pytest.fixture(autouse=True)
def _clean(host: Cli) -> Iterator[None]:
    yield
    host.ok("rm", "-af", "-t0")


def load(cli: Cli, directory: Path, name: str, *contents: list[Item]) -> None:
    """Load an image of busybox and further layers."""
    data = saved({f"localhost/{name}": [busybox_tar(), *(archive(items) for items in contents)]})
    (directory / "saved").write_bytes(data)
    cli.ok("load", "-q", "-i", str(directory / "saved"))


# Row 7: what else reads an archive.


def test_layouts_by_cp_row_7(host: Cli, driver: str, canary: Canary, tmp_path: Path) -> None:
    """A part of the layouts with each driver, into the root and into a volume; in the long run all of them."""
    volume = tmp_path / "volume"
    volume.mkdir()
    words = ("--storage-driver", driver, "run", "-d", NONE, "--name", "c", "-v", f"{volume}:/volume")
    host.ok(*words, "base", "sleep", "1000")
    start = list(NEEDS).index(driver)
    for number, attack in enumerate(attacks.ALL[start::STRIDE]):
        target = "/volume" if number % 2 else "/tmp"
        for items in attacks.aimed(attack, str(canary)).layers:
            process = host.popen("cp", "--overwrite", "-", f"c:{target}")
            _, error = process.communicate(archive(items), timeout=60)
            assert process.returncode in (0, 125), error
            assert b"Traceback" not in error
        canary.check()
    assert sorted(os.listdir(tmp_path)) == ["canary", "volume"]


def member(name: str, kind: bytes, target: str = "") -> bytes:
    """An entry without data."""
    return block(name.encode(), kind, link=target.encode())


def outer(canary: Canary, case: str) -> bytes:
    """An archive of an image, hostile itself: ``manifest.json`` and its like are links to the host, or named so."""
    out = str(canary.root / "file")
    tar = archive([file("f", "in")])
    identity = layers.diff_id(tar)
    config = {**host_platform(), "rootfs": {"type": "layers", "diff_ids": [identity]}}
    entry = {"Config": "c.json", "RepoTags": ["hostile:1"], "Layers": ["l.tar"]}
    parts = {"l.tar": plain("l.tar", tar), "c.json": plain("c.json", json.dumps(config).encode())}
    kind, _, name = case.partition(" ")
    if kind in ("symlink", "hardlink"):
        parts[name] = member(name, b"2" if kind == "symlink" else b"1", out)
    elif kind == "climbing":
        parts[name] = member(name, b"2", "../" * 20 + out)
    elif kind == "pipe":
        parts[name] = member(name, b"6")
    elif kind == "device":
        parts[name] = member(name, b"3")
    elif kind == "named":
        entry[name] = [out] if name == "Layers" else out
    elif kind == "upwards":
        entry[name] = ["../" * 20 + out] if name == "Layers" else "../" * 20 + out
    elif kind == "members":
        parts["x"] = plain("../" * 20 + out, b"in") + plain(out, b"in") + plain("../x", b"in")
    manifest = plain("manifest.json", json.dumps([entry]).encode())
    parts["manifest.json"] = parts.get("manifest.json", manifest)
    return b"".join(parts.values()) + END


def plain(name: str, data: bytes) -> bytes:
    """A file of an archive."""
    return gnu_long(name.encode()) + block(b"long", size=len(data)) + padded(data)


OUTER = [f"{kind} {name}" for kind in ("symlink", "hardlink", "climbing", "pipe", "device")
         for name in ("l.tar", "c.json", "manifest.json")]  # fmt: skip
OUTER += ["named Layers", "named Config", "upwards Layers", "upwards Config", "members"]


@pytest.mark.parametrize("case", OUTER)
def test_archives_of_images_row_7(host: Cli, canary: Canary, tmp_path: Path, case: str) -> None:
    """CVE-2025-11395: the archive that holds an image is as hostile as its layers."""
    (tmp_path / "saved").write_bytes(outer(canary, case))
    for words in (["load", "-q", "-i", str(tmp_path / "saved")], ["pull", "-q", f"docker-archive:{tmp_path}/saved"]):
        done = host.run(*words, timeout=30)
        assert done.returncode == (0 if case == "members" else 125), done.stderr
        assert "Traceback" not in done.stderr and TEXT.decode() not in done.stderr
    canary.check()
    assert sorted(os.listdir(tmp_path)) == ["canary", "saved"]
    for blob in (host.data / "images" / "blobs" / "sha256").iterdir():
        assert TEXT not in blob.read_bytes()
    host.run("rmi", "localhost/hostile:1")


@pytest.mark.parametrize("place", ["index.json", "oci-layout", "blob", "manifest"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_layouts_of_images_row_7(host: Cli, canary: Canary, tmp_path: Path, place: str, kind: str) -> None:
    """A directory whose files are links to the host's, or pipes that nobody writes to."""
    made = Layout(tmp_path / "layout")
    descriptor, identity = made.add_layer(archive([file("f", "in")]))
    digest = made.add_image("latest", [(descriptor, identity)], {}).partition(":")[2]
    blob = made.blobs / str(descriptor["digest"]).partition(":")[2]
    path = {"blob": blob, "manifest": made.blobs / digest}.get(place, made.directory / place)
    path.unlink()
    if kind == "link":
        path.symlink_to(canary.root / "file")
    else:
        os.mkfifo(path)
    for words in (["pull", "-q", f"oci:{made.directory}:latest"], ["load", "-q", "-i", str(made.directory)]):
        if place == "oci-layout" and words[0] == "pull":
            continue  # it is read only to tell what a directory is
        error = host.fails(125, *words, timeout=30)
        assert TEXT.decode() not in error


# Row 14: what steers overlay file systems.

STEERING = [
    f"{family}.{name}"
    for family in ("user.overlay", "trusted.overlay", "user.fuseoverlayfs", "trusted.fuseoverlayfs")
    for name in ("redirect", "opaque", "whiteout", "whiteouts", "metacopy", "origin", "impure", "nlink", "upper")
] + ["user.containers.override_stat", "user.rootlesscontainers"]  # fmt: skip


def test_steering_attributes_of_a_layer_row_14(host: Cli, driver: str, tmp_path: Path) -> None:
    """A layer that sets them on its directories and files: what is below stays as it is, and nothing else shows."""
    lower = [directory("secret"), file("secret/s", "low"), directory("d"), file("d/low", "low"), file("f", "low")]
    marks = {name: b"/secret" if name.endswith(("redirect", "origin")) else b"y" for name in STEERING}
    upper = [directory("d", xattrs=marks), file("d/up", "up", xattrs=marks), file("f", "up", xattrs=marks),
             directory("e", xattrs=marks)]  # fmt: skip
    load(host, tmp_path, "steered", lower, upper)
    words = ("--storage-driver", driver, "run", "--rm", NONE, "localhost/steered")
    seen = host.ok(*words, "sh", "-c", "ls -A /d /e /secret; cat /f /d/up /d/low")
    assert seen == "/d:\nlow\nup\n\n/e:\n\n/secret:\ns\nupuplow"
    identity = layers.diff_id(archive(upper)).partition(":")[2]
    tree = host.data / "layers" / identity / "diff"
    assert [os.listxattr(tree / name) for name in ("d", "d/up", "f", "e")] == [[], [], [], []]
    host.ok("rmi", "localhost/steered")


# Row 16: what is not a file.


def test_special_files_row_16(host: Cli, driver: str, tmp_path: Path) -> None:
    """Pipes where the program looks for files, and devices of the host: nothing blocks, and none is real."""
    items = [
        fifo("etc/passwd"), fifo("etc/group"), fifo("etc/hosts"), fifo("etc/resolv.conf"), fifo("etc/mtab"),
        fifo("etc/subuid"), device("memory", "c", 1, 1), device("disk", "b", 8, 0), device("dev/sda", "b", 8, 0),
        device("etc/hostname", "c", 1, 3), fifo("pipe"),
    ]  # fmt: skip
    load(host, tmp_path, "special", items)
    with_driver = ("--storage-driver", driver)
    host.ok(*with_driver, "run", "-d", NONE, "--name", "c", "localhost/special", "sleep", "1000", timeout=30)
    script = "stat -c %F /memory /disk /pipe; test -e /dev/sda || echo none"
    kinds = host.ok("exec", "c", "sh", "-c", script, timeout=30).splitlines()
    assert kinds == ["regular empty file", "regular empty file", "fifo", "none"]
    for user in ("0", "1000", "nobody", "root:games"):
        assert host.run("exec", "-u", user, "c", "true", timeout=30).returncode in (0, 125, 126, 255)
        done = host.run(*with_driver, "run", "--rm", NONE, "-u", user, "localhost/special", "true", timeout=30)
        assert done.returncode in (0, 125, 126), done.stderr
    for words in (["diff", "c"], ["cp", "c:/etc", str(tmp_path / "etc")], ["cp", "c:/pipe", str(tmp_path / "pipe")],
                  ["cp", "c:/disk", str(tmp_path / "disk")], ["export", "-o", str(tmp_path / "all"), "c"],
                  ["commit", "-q", "c", "localhost/again"], ["stop", "-t0", "c"], ["start", "c"]):  # fmt: skip
        host.ok(*words, timeout=60)
    for path in [path for path in tmp_path.rglob("*") if path.name != "all"]:
        assert not path.is_char_device() and not path.is_block_device()
    exported = members((tmp_path / "all").read_bytes())
    assert exported["disk"].isblk() and exported["memory"].ischr() and exported["pipe"].isfifo()
    host.ok("rm", "-f", "-t0", "c")
    host.ok("rmi", "localhost/again", "localhost/special")


# Row 17: bytes that are not those of the configuration.


@pytest.mark.parametrize("how", ["pull", "load"])
def test_other_bytes_than_the_configuration_says_row_17(host: Cli, tmp_path: Path, how: str) -> None:
    real, other = archive([file("f", "real")]), layers.diff_id(archive([file("f", "other")]))
    before = sorted(os.listdir(host.data / "layers"))
    made = Layout(tmp_path / "layout")
    made.add_image("latest", [(made.add_layer(real)[0], other)], {})
    words = ["pull", "-q", f"oci:{made.directory}:latest"]
    if how == "load":
        tarred = {str(path.relative_to(made.directory)): path for path in made.directory.rglob("*") if path.is_file()}
        data = b"".join(plain(name, path.read_bytes()) for name, path in tarred.items()) + END
        (tmp_path / "saved").write_bytes(gzip.compress(data))
        words = ["load", "-q", "-i", str(tmp_path / "saved")]
    assert f"its content is {layers.diff_id(real)}" in host.fails(125, *words)
    assert sorted(os.listdir(host.data / "layers")) == before
    assert os.listdir(host.data / "tmp") == []


# Row 19: names.

NAMES = [b"new\nline", b"esc\x1b[2J\x1b]0;owned\x07", b"\xff\xfe", b"back\\slash\\..", b"n" * 250, b"c1\xc2\x9b31m",
         "right\u202eleft".encode(), b"tab\there", b"-rf", b"$(id)", b"%s%n", b" "]  # fmt: skip


def on_terminal(cli: Cli, *arguments: str) -> str:
    """What a command writes to a terminal, output and errors."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        cli.command(*arguments), stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, env=cli.environment
    )
    os.close(slave)
    shown = b""
    try:
        while part := os.read(master, 65536):
            shown += part
    except OSError:
        pass  # the other end was closed
    os.close(master)
    process.wait(60)
    return shown.decode("utf-8", "surrogateescape").replace("\r\n", "\n")


def harmless(text: str) -> bool:
    """Whether a terminal only shows it."""
    return all(line.isprintable() for line in text.splitlines())


def test_names_row_19(host: Cli, driver: str, tmp_path: Path) -> None:
    """The bytes of a name are kept, and are shown so that no terminal obeys them."""
    names = [os.fsdecode(name) for name in NAMES]
    load(host, tmp_path, "named", [directory("names"), *(file(f"names/{name}", "x") for name in names)])
    host.ok("--storage-driver", driver, "run", NONE, "--name", "c", "localhost/named", "cp", "-r", "/names", "/tmp")
    exported = {os.fsencode(name) for name in members(bytes_of(host, "export", "c"))}
    assert {b"names/" + name for name in NAMES} | {b"tmp/names/" + name for name in NAMES} <= exported
    host.ok("cp", "c:/tmp/names", str(tmp_path / "out"))
    assert sorted(os.listdir(os.fsencode(tmp_path / "out"))) == sorted(NAMES)
    found = host.ok("diff", "c").splitlines()
    assert len([line for line in found if line.startswith("A /tmp/names/")]) == len(NAMES)
    shown = on_terminal(host, "diff", "c")
    assert harmless(shown) and shown.count("\nA /tmp/names/") == len(NAMES)
    host.ok("rm", "c")
    evil = "\x1b]0;owned\x07\x9b31m\u202e\n"
    host.run("create", NONE, "--name", "c", "localhost/named", evil)
    for words in (["ps", "-a"], ["ps", "-a", "--no-trunc"], ["inspect", "c"], ["start", "-a", "c"], ["logs", "c"],
                  ["cp", f"c:/{evil}", "/tmp/x"], ["run", "--rm", NONE, "localhost/named", evil],
                  ["run", "--rm", NONE, "-w", f"/{evil}", "localhost/named", f"/{evil}"], ["inspect", evil],
                  ["rm", evil], ["import", f"/{evil}"], ["load", "-i", f"/{evil}"],
                  ["history", "localhost/named"]):  # fmt: skip
        assert harmless(on_terminal(host, *words)), words
    host.ok("rm", "-f", "c")
    host.ok("rmi", "localhost/named")


def test_errors_name_members_row_19(host: Cli) -> None:
    """What is refused is named in the error, escaped also where it is no terminal."""
    background(host, "c", image="base")
    for number, name in enumerate(("new\nline", "esc\x1b[2J", "\udcff\udcfe", "c1\x9b31m", "x" * 300)):
        items = (
            [file(f"../{name}", "in")], [file(name, "in"), file(f"{name}/x", "in")],
            [symlink(name, name), file(f"{name}/x", "in")],
        )[number % 3]  # fmt: skip
        for words in (["import", "-q", "-"], ["cp", "-", "c:/tmp"]):
            process = host.popen(*words)
            _, error = process.communicate(archive(items), timeout=60)
            text = error.decode("utf-8", "surrogateescape")
            assert process.returncode == 125 and harmless(text) and len(text.splitlines()) <= 2, text
