"""Files that several layers have take their space once, and nobody can tell but by what `df` says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from storage.dedup import dedup, linked
from storage.errors import StorageError
from storage.layers import Layers
from storage.layout import Layout
from storage.store import Store
from tests.support import layers
from tests.support.cli import CHECKOUT, Cli
from tests.support.drivers import DRIVERS
from tests.support.images import busybox_path
from tests.support.layers import Item, archive, directory, evaluate, file, hardlink, unpack_all

pytestmark = pytest.mark.needs("userns", "libseccomp")

COMMON = "the same in both\n" * 1000
LOWER = [directory("etc"), file("etc/common", COMMON, 0o640, uid=5), file("etc/one", "1" * 5000), file("empty")]
UPPER = [directory("etc", mtime=1), *LOWER[1:2], file("etc/two", "2" * 5000), file("empty")]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Store.open(str(tmp_path / "data"), str(tmp_path / "run")).layout


def unpacked(layout: Layout, tmp_path: Path, *trees: list[Item]) -> list[str]:
    """Unpack each as the layer of an image of its own; where the trees are."""
    found = []
    for number, items in enumerate(trees):
        place = tmp_path / f"blobs{number}"
        place.mkdir()
        found += [Layers(layout).path(name) for name in unpack_all(layout, [archive(items)], place)]
    return found


def stats(paths: list[str]) -> list[Any]:
    """Inode, number of names, mode, owner and time of each, as root of the namespace sees them."""

    def look() -> list[Any]:
        found = [os.lstat(path) for path in paths]
        return [(s.st_ino, s.st_nlink, s.st_mode, s.st_uid, s.st_gid, s.st_mtime_ns) for s in found]

    return list(evaluate(look))


def link(layout: Layout, **more: Any) -> tuple[int, int]:
    shared = dedup(layout, in_userns=layers.in_userns, hard_links=True, **more)
    assert shared.links
    return shared.files, shared.bytes


def without_reflinks(layout: Layout) -> bool:
    try:
        dedup(layout, in_userns=layers.in_userns)
    except StorageError as error:
        assert "--hard-links" in (error.hint or "")
        return True
    return False


def test_equal_files_of_one_path_become_one(layout: Layout, tmp_path: Path) -> None:
    if not without_reflinks(layout):
        pytest.skip("needs a file system without reflinks")
    one, two = unpacked(layout, tmp_path, LOWER, UPPER)
    before = stats([f"{one}/etc/common", f"{one}/etc", f"{two}/etc"])
    assert link(layout) == (1, len(COMMON))
    first, second = stats([f"{one}/etc/common", f"{two}/etc/common"])
    assert first == second and first[1] == 2
    assert first[2:] == before[0][2:]
    assert stats([f"{one}/etc", f"{two}/etc"]) == before[1:]
    assert link(layout) == (0, 0)
    assert linked(layout, layers.in_userns) == [(len(COMMON), sorted(os.listdir(layout.layers)))]
    assert os.listdir(layout.tmp) == []


@pytest.mark.parametrize(
    "other",
    [
        [directory("etc"), file("etc/common", COMMON.replace("s", "x", 1), 0o640, uid=5)],
        [directory("etc"), file("etc/common", COMMON, 0o644, uid=5)],
        [directory("etc"), file("etc/common", COMMON, 0o640, uid=6)],
        [directory("etc"), file("etc/common", COMMON, 0o640, uid=5, mtime=7)],
        [directory("etc"), file("etc/common", COMMON, 0o640, uid=5, xattrs={"user.x": b"y"})],
        [directory("etc"), file("etc/other", COMMON, 0o640, uid=5)],
        [directory("etc"), file("etc/common", COMMON, 0o640, uid=5), hardlink("etc/more", "etc/common")],
    ],
    ids=["content", "mode", "owner", "time", "attribute", "path", "links"],
)
def test_what_differs_stays_apart(layout: Layout, tmp_path: Path, other: list[Item]) -> None:
    if not without_reflinks(layout):
        pytest.skip("needs a file system without reflinks")
    unpacked(layout, tmp_path, LOWER, other)
    assert link(layout) == (0, 0)


def test_a_mounted_layer_is_left_as_it_is(layout: Layout, tmp_path: Path) -> None:
    if not without_reflinks(layout):
        pytest.skip("needs a file system without reflinks")
    unpacked(layout, tmp_path, LOWER, UPPER)
    assert link(layout, busy=frozenset(f"sha256:{key}" for key in os.listdir(layout.layers))) == (0, 0)


def _imported(cli: Cli, name: str, items: list[Item]) -> None:
    path = cli.home / f"{name}.tar"
    path.write_bytes(archive(items))
    cli.ok("import", str(path), name)


def _sizes(cli: Cli) -> tuple[dict[str, tuple[int, int, int]], int]:
    """Size, shared and unique size of each image, and the size of all."""
    script = (
        "import json,sys; from rootless.engine.context import open_engine; from rootless.engine.df import report;"
        "print(json.dumps(report(open_engine({}))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60,
        env={**cli.environment, "PYTHONPATH": str(CHECKOUT)},
    )  # fmt: skip
    found = json.loads(done.stdout)
    rows = {
        row["Repository"].rpartition("/")[2]: (row["Size"], row["SharedSize"], row["UniqueSize"])
        for row in found["images"]
    }
    return rows, found["summary"][0]["RawSize"]


def test_df_tells_what_is_shared_and_the_store_stays_sound(cli: Cli, tmp_path: Path) -> None:
    _imported(cli, "one", LOWER)
    _imported(cli, "two", UPPER)
    each, common = len(COMMON) + 5000, len(COMMON)
    assert _sizes(cli) == ({"one": (each, 0, each), "two": (each, 0, each)}, 2 * each)
    done = cli.run("system", "dedup")
    if done.returncode == 0:
        pytest.skip("needs a file system without reflinks")
    assert "hint: " in done.stderr
    assert cli.ok("system", "dedup", "--hard-links") == "Deduplicated 1 file by hard links: 17kB\n"
    assert _sizes(cli) == ({"one": (each, common, 5000), "two": (each, common, 5000)}, 2 * each - common)
    assert cli.ok("system", "check") == ""
    cli.ok("rmi", "one")
    assert _sizes(cli) == ({"two": (each, 0, each)}, each)
    assert cli.ok("system", "check") == ""


def test_an_image_that_has_a_layer_twice_counts_it_once(cli: Cli, tmp_path: Path) -> None:
    from tests.support.images import Layout as ImageLayout

    layout = ImageLayout(tmp_path / "layout")
    layer = layout.add_layer(archive(LOWER))
    layout.add_image("a", [layer, layer], {"Cmd": ["x"]})
    layout.add_image("b", [layer], {"Cmd": ["y"]})
    for tag in ("a", "b"):
        cli.ok("pull", f"oci:{tmp_path}/layout:{tag}")
        cli.ok("tag", cli.ok("images", "-q").split()[0], f"is-{tag}")
    rows, total = _sizes(cli)
    size = len(COMMON) + 5000
    assert set(rows.values()) == {(size, size, 0)}
    assert total == size


@pytest.mark.needs("busybox")
@pytest.mark.parametrize("driver", DRIVERS)
def test_no_container_changes_the_file_of_another(cli: Cli, driver: str, tmp_path: Path) -> None:
    tool = busybox_path()
    assert tool is not None
    for name, items in (("one", LOWER), ("two", UPPER)):
        path = tmp_path / f"{name}.tar"
        path.write_bytes(archive([directory("bin"), *items]))
        with tarfile.open(path, "a") as tar:
            tar.add(tool, "bin/sh")
        cli.ok("import", str(path), name)
    if cli.run("system", "dedup").returncode == 0:
        pytest.skip("needs a file system without reflinks")
    assert cli.ok("system", "dedup", "--hard-links").startswith("Deduplicated 2 files")
    script = "echo changed >> /etc/common; chmod 600 /etc/common; /bin/sh -c 'exec 3<>/etc/common; echo over >&3'"
    run = ("--storage-driver", driver, "run", "--rm", "--network=none", "-u0")
    for options in ([], ["--userns=keep-id"]):
        cli.ok(*run, *options, "one", "/bin/sh", "-c", script)
    assert cli.ok(*run, "two", "/bin/sh", "-c", "while read line; do echo $line; done < /etc/common") == COMMON
    assert cli.ok("system", "check") == ""


_REFLINKS = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from storage.dedup import dedup
from storage.store import Store
layout = Store.open(sys.argv[2] + "/data", sys.argv[2] + "/run").layout
for key, name in (("a" * 64, "x"), ("b" * 64, "y")):
    os.makedirs(layout.layer_diff(key) + "/etc")
    with open(layout.layer_diff(key) + "/etc/" + name, "wb") as file:
        file.write(b"the same" * 500_000 + b"tail")
def extents(key, name):
    import fcntl, struct
    with open(layout.layer_diff(key) + "/etc/" + name, "rb") as file:
        os.fsync(file.fileno())
        asked = bytearray(struct.pack("=QQIIII", 0, 1 << 40, 0, 0, 8, 0) + bytes(56 * 8))
        fcntl.ioctl(file, 0xC020660B, asked)  # FS_IOC_FIEMAP
        return [struct.unpack_from("=QQQ", asked, 32 + 56 * n) for n in range(struct.unpack_from("=I", asked, 20)[0])]
before = extents("a" * 64, "x"), extents("b" * 64, "y")
shared = dedup(layout, in_userns=lambda function: function())
after = extents("a" * 64, "x"), extents("b" * 64, "y")
print(json.dumps([shared, before[0] == before[1], after[0] == after[1]]))
"""


@pytest.mark.as_root
@pytest.mark.needs("loop")
def test_reflinks_on_btrfs(tmp_path: Path) -> None:
    image = tmp_path / "image"
    with image.open("wb") as disk:
        disk.truncate(200 << 20)
    place = tmp_path / "place"
    place.mkdir()
    script = 'mkfs.btrfs -q "$1" && mount -o loop "$1" "$2" && shift 2 && exec "$@"'
    command = [sys.executable, "-c", _REFLINKS, str(CHECKOUT), str(place)]
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-euc", script, "sh", str(image), str(place), *command],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shared, before, after = json.loads(done.stdout.splitlines()[-1])
    assert shared == [1, 4_000_004, False]
    assert (before, after) == (False, True)
