"""Unpacking in a user namespace: what is stored, what is refused, and what a failure leaves (nothing)."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import resource
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from rootless import idmaps, userns
from rootless.security.confine import unpacker
from storage import gc, locks, ownership, trees
from storage.archive.limits import Limits
from storage.errors import StorageError
from storage.layers import Layers, layer_key
from storage.layers_unpack import LayerSource, unpack
from storage.store import Store
from tests.support import layers
from tests.support.layers import archive, directory, file

pytestmark = pytest.mark.needs("userns", "libseccomp")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "data"), str(tmp_path / "run"))


def nothing_left(store: Store) -> bool:
    return not (os.listdir(store.layout.layers) or os.listdir(store.layout.tmp) or os.listdir(store.layout.links))


def unpack_one(store: Store, blob: bytes, identity: str, tmp_path: Path, **more: Any) -> list[str]:
    path = tmp_path / "blob"
    path.write_bytes(blob)
    return unpack(
        store.layout, [LayerSource(identity, str(path))], [identity],
        in_userns=layers.in_userns, confine=unpacker, **more,
    )


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "gzip members": lambda data: gzip.compress(data[:700]) + gzip.compress(data[700:]),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
    "zstd frames": lambda data: zstandard.compress(data[:700]) + zstandard.compress(data[700:]),
    "zstd skippable": lambda data: b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstandard.compress(data),
}


@pytest.mark.parametrize("packer", PACKERS)
def test_compressions(store: Store, tmp_path: Path, packer: str) -> None:
    data = archive([file("f", "x" * 5000), directory("d")])
    reported: list[str] = []
    assert unpack_one(store, PACKERS[packer](data), layers.diff_id(data), tmp_path) == [layers.diff_id(data)]
    path = Layers(store.layout).path(layers.diff_id(data))
    assert layers.listing(Path(path)) == {"f": "= " + "x" * 5000, "d": "dir"}
    record = json.loads(Path(store.layout.layer_record(layer_key(layers.diff_id(data)))).read_text())
    assert record == {"diff_id": layers.diff_id(data), "map": "", "size": 5000, "entries": 2, "archive": len(data)}
    assert os.listdir(store.layout.tmp) == [] and not reported


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("damage", ["cut", "cut by one", "flipped", "garbage behind"])
def test_broken_streams_row_11(store: Store, tmp_path: Path, packer: str, damage: str) -> None:
    """Row 11: whatever breaks, the answer is one error and nothing is left."""
    data = archive([file("f", os.urandom(20_000).hex())])
    packed = bytearray(PACKERS[packer](data))
    if damage == "cut":
        del packed[len(packed) // 2 :]
    elif damage == "cut by one":
        del packed[-1]
    elif damage == "flipped":
        packed[len(packed) // 2] ^= 0x55
    else:
        packed += b"garbage behind the end"
    with pytest.raises(StorageError) as caught:
        unpack_one(store, bytes(packed), layers.diff_id(data), tmp_path)
    assert "\n" not in caught.value.message
    assert nothing_left(store)


@pytest.mark.parametrize(
    "blob",
    [b"", b"\0", b"hello", b"\x1f\x8b", b"\x1f\x8b" + lzma.compress(b"x"), gzip.compress(gzip.compress(archive([]))),
     b"\x28\xb5\x2f\xfd", b"BZh9", b"\xfd7zXZ\0", os.urandom(4096)],
)
def test_not_an_archive(store: Store, tmp_path: Path, blob: bytes) -> None:
    with pytest.raises(StorageError):
        unpack_one(store, blob, "sha256:" + "0" * 64, tmp_path)
    assert nothing_left(store)


def test_diff_id_is_verified_row_17(store: Store, tmp_path: Path) -> None:
    """Row 17: trailing data counts."""
    data = archive([file("f", "x")])
    for wrong in (data + bytes(512), archive([file("f", "y")])):
        with pytest.raises(StorageError, match="its content is sha256:"):
            unpack_one(store, wrong, layers.diff_id(data), tmp_path)
        assert nothing_left(store)
    assert unpack_one(store, data + bytes(512), layers.diff_id(data + bytes(512)), tmp_path)


@pytest.mark.parametrize(
    ("items", "limits"),
    [
        ([file(f"f{number}") for number in range(50)], Limits(entries=40)),
        ([directory(f"d{number}") for number in range(50)], Limits(directories=40)),
        ([file("/".join("d" * 30) + "/f")], Limits(depth=20)),
        ([file("/".join("d" * 30) + "/f")], Limits(directories=20)),
        ([file("f", "x" * 100_000)], Limits(bytes=50_000)),
        ([file("f", xattrs={"user.x": b"v" * 60_000})], Limits(header_bytes=10_000)),
    ],
)
def test_limits(store: Store, tmp_path: Path, items: list[layers.Item], limits: Limits) -> None:
    data = archive(items)
    with pytest.raises(StorageError):
        unpack_one(store, data, layers.diff_id(data), tmp_path, limits=limits)
    assert nothing_left(store)


@pytest.mark.parametrize("packer", [gzip.compress, zstandard.compress, lzma.compress, bz2.compress])
def test_bomb_row_12(store: Store, tmp_path: Path, packer: Callable[[bytes], bytes]) -> None:
    """Row 12: 256 MiB of zeros behind a small blob stop at the limit, in little memory."""
    header = archive([file("f", "")])[:512]
    blob = packer(header + bytes(256 << 20))
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    with pytest.raises(StorageError, match="cannot unpack more than"):
        unpack_one(store, blob, "sha256:" + "0" * 64, tmp_path, limits=Limits(bytes=64 << 20))
    assert nothing_left(store)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss <= max(before, 700 << 10)


def test_image_needs_all_layers(store: Store, tmp_path: Path) -> None:
    """One bad layer of an image: none is published."""
    good = archive([file("f", "x")])
    blobs = [tmp_path / "good", tmp_path / "bad"]
    blobs[0].write_bytes(good)
    blobs[1].write_bytes(b"not a layer" * 100)
    sources = [LayerSource(layers.diff_id(good), str(blobs[0])), LayerSource("sha256:" + "1" * 64, str(blobs[1]))]
    with pytest.raises(StorageError):
        unpack(store.layout, sources, [], in_userns=layers.in_userns, confine=unpacker)
    assert nothing_left(store)


def test_layers_of_several_images_at_once(store: Store, tmp_path: Path) -> None:
    """Two pulls of one image beside each other: both succeed, each layer is there once."""
    archives = [archive([file(f"f{number}", "x" * 10_000) for number in range(200)] + [file(str(n))]) for n in range(4)]
    failures: list[BaseException] = []

    def pull(name: str) -> None:
        try:
            (tmp_path / name).mkdir()
            layers.unpack_all(store.layout, archives, tmp_path / name)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=pull, args=(str(number),)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(os.listdir(store.layout.layers)) == len(os.listdir(store.layout.links)) == 4
    assert os.listdir(store.layout.tmp) == []


def test_unpacking_again_does_nothing(store: Store, tmp_path: Path) -> None:
    data = archive([file("f", "x")])
    assert unpack_one(store, data, layers.diff_id(data), tmp_path)
    assert unpack_one(store, b"never read", layers.diff_id(data), tmp_path) == []


def test_confinement_comes_before_the_archive(store: Store, tmp_path: Path) -> None:
    data = archive([file("f", "x")])

    class Watched(io.BytesIO):
        confined = False

        def read(self, size: int | None = -1) -> bytes:
            assert Watched.confined
            return super().read(size)

    def confine(fd: int) -> None:
        assert stat.S_ISDIR(os.fstat(fd).st_mode)
        Watched.confined = True

    identity = layers.diff_id(data)
    assert unpack(store.layout, [LayerSource(identity, Watched(data))], [identity], in_userns=layers.in_userns,
                  confine=confine) == [identity]


def test_failing_confinement_stops_everything(store: Store, tmp_path: Path) -> None:
    def confine(fd: int) -> None:
        raise StorageError("cannot confine the unpacker")

    data = archive([file("f", "x")])
    identity = layers.diff_id(data)
    with pytest.raises(StorageError, match="cannot confine"):
        unpack(store.layout, [LayerSource(identity, io.BytesIO(data))], [identity], in_userns=layers.in_userns,
               confine=confine)
    assert nothing_left(store)


def test_killed_worker(store: Store, tmp_path: Path) -> None:
    def confine(fd: int) -> None:
        os.kill(os.getpid(), 9)

    data = archive([file("f", "x")])
    identity = layers.diff_id(data)
    with pytest.raises(StorageError, match="its worker was killed"):
        unpack(store.layout, [LayerSource(identity, io.BytesIO(data))], [identity], in_userns=layers.in_userns,
               confine=confine)
    assert nothing_left(store)


@pytest.mark.parametrize("moment", ["reading", "extracting"])
def test_killed_in_the_middle(store: Store, tmp_path: Path, moment: str) -> None:
    """SIGKILL of the caller ends the workers; what they leave is unlocked, swept, and no hindrance to the next pull."""
    data = archive([file(f"f{number}", "x" * 4000, uid=7) for number in range(600)])
    identity = layers.diff_id(data)
    reader, writer = os.pipe()

    class Slow(io.BytesIO):
        """Stops in the middle for ever, and says so."""

        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > (1_000_000 if moment == "extracting" else -1):
                os.write(writer, b"!")
                signal.pause()
            return super().read(100_000)

    child = os.fork()
    if child == 0:
        unpack(store.layout, [LayerSource(identity, Slow(data))], [identity], in_userns=layers.in_userns,
               confine=unpacker)
    os.read(reader, 1)
    (work,) = os.listdir(store.layout.tmp)
    assert locks.is_held(f"{store.layout.tmp}/{work}")
    os.kill(child, 9)
    os.waitpid(child, 0)
    deadline = time.monotonic() + 5
    while locks.is_held(f"{store.layout.tmp}/{work}"):
        assert time.monotonic() < deadline, "a worker outlives its caller"
        time.sleep(0.02)
    gc.sweep(store, lambda path: void(layers.in_userns(lambda: b"x" * trees.delete(path))))
    assert nothing_left(store)
    assert unpack_one(store, data, identity, tmp_path) == [identity]


def void(_: object) -> None:
    """Drop a value."""


@pytest.mark.needs("subuid")
def test_true_owners_are_recorded(store: Store, tmp_path: Path) -> None:
    data = archive([
        file("inside", "x", uid=60_000),
        file("beyond", "x", 0o6755, uid=172_761_424, gid=3),
        layers.device("null", "c", 1, 3, 0o666),
        file("trusted", "x", xattrs={
            "trusted.note": b"v", "trusted.overlay.redirect": b"/etc", "user.overlay.opaque": b"y",
        }),
        layers.hardlink("again", "beyond"),
        file("replaced", "x", uid=99_999_999),
        file("replaced", "y"),
    ])
    identity = layers.diff_id(data)
    unpack_one(store, data, identity, tmp_path)
    owners = ownership.load(f"{store.layout.layer(layer_key(identity))}/owners")
    assert owners["beyond"] == owners["again"] == {"path": "beyond", "uid": 172_761_424, "gid": 3, "mode": 0o6755}
    assert owners["null"]["type"] == "c" and owners["null"]["device"] == [1, 3] and owners["null"]["mode"] == 0o666
    assert list(owners["trusted"]["xattrs"]) == ["trusted.note"]
    assert "inside" not in owners and "replaced" not in owners

    def look() -> list[Any]:
        tree = Path(Layers(store.layout).path(identity))
        beyond = os.stat(tree / "beyond")
        return [
            os.stat(tree / "inside").st_uid, beyond.st_uid, beyond.st_gid, stat.S_IMODE(beyond.st_mode),
            os.listxattr(tree / "trusted"), stat.S_ISREG(os.lstat(tree / "null").st_mode),
        ]

    assert layers.evaluate(look) == [60_000, 65_534, 3, 0o2755, [], True]


def test_single_id(store: Store, tmp_path: Path) -> None:
    """Without subordinate ids everything is the user's own, and the truth is beside it."""
    data = archive([directory("d", uid=1), file("d/f", "x", 0o4755, uid=33, gid=34), file("root", "x", 0o4755)])
    identity = layers.diff_id(data)
    blob = tmp_path / "blob"
    blob.write_bytes(data)
    unpack(
        store.layout, [LayerSource(identity, str(blob))], [identity], confine=unpacker,
        in_userns=lambda function: userns.run_in_userns(function, idmaps.single_map()),
    )
    tree = Path(Layers(store.layout).path(identity))
    assert {os.stat(tree / name).st_uid for name in ("d", "d/f", "root")} == {os.getuid()}
    assert stat.S_IMODE(os.stat(tree / "d/f").st_mode) == 0o755
    assert stat.S_IMODE(os.stat(tree / "root").st_mode) == 0o4755
    owners = ownership.load(f"{store.layout.layer(layer_key(identity))}/owners")
    assert owners["d/f"] == {"path": "d/f", "uid": 33, "gid": 34, "mode": 0o4755}
    assert owners["d"]["uid"] == 1 and "root" not in owners


def test_others_cannot_reach_the_store_row_15(store: Store, tmp_path: Path) -> None:
    """Row 15: set-user-ID files of an image are behind directories that only the user enters."""
    umask = os.umask(0)
    try:
        data = archive([file("su", "x", 0o4755)])
        unpack_one(store, data, layers.diff_id(data), tmp_path)
    finally:
        os.umask(umask)
    path = Layers(store.layout).path(layers.diff_id(data))
    closed = [parent for parent in Path(path).parents if stat.S_IMODE(parent.stat().st_mode) == 0o700]
    assert Path(store.layout.data) in closed and Path(path).parent in closed


@pytest.mark.parametrize("format_", ["gnu", "oldgnu", "posix", "posix --sparse-version=0.0",
                                     "posix --sparse-version=0.1", "posix --sparse-version=1.0"])
def test_same_tree_as_gnu_tar(store: Store, tmp_path: Path, format_: str) -> None:
    """What GNU tar packs is unpacked as GNU tar unpacks it."""
    source = tmp_path / "source"
    deep = source / "/".join(["x" * 120] * 3)
    deep.mkdir(parents=True)
    (deep / ("y" * 200)).write_text("deep")
    (source / "a").write_text("a")
    os.link(source / "a", source / "b")
    (source / "l").symlink_to("z" * 150)
    os.mkfifo(source / "p")
    (source / os.fsdecode(b"\xff\xfe")).write_text("bytes")
    (source / "closed").mkdir(mode=0o511)
    with open(source / "holes", "wb") as holes:
        for at in (5_000_000, 70_000_000, 90_000_000):
            holes.seek(at)
            holes.write(b"data")
        holes.truncate(100_000_000)
    os.utime(source / "a", ns=(1, 123_456_789_123_456_789))
    packed = tmp_path / "packed.tar"
    subprocess.run(
        ["tar", *f"--format={format_}".split(), "--owner=0", "--group=0", "--sparse", "--sort=name", "-C", str(source),
         "-cf", str(packed), "."],
        check=True,
    )
    data = packed.read_bytes()
    unpack_one(store, data, layers.diff_id(data), tmp_path)
    ours, theirs = Path(Layers(store.layout).path(layers.diff_id(data))), tmp_path / "theirs"
    theirs.mkdir()
    subprocess.run(["tar", "-C", str(theirs), "-xpf", str(packed)], check=True)

    def describe(root: Path) -> dict[str, Any]:
        found = {}
        for parent, directories, files in os.walk(root):
            for path in [parent, *(os.path.join(parent, name) for name in [*directories, *files])]:
                status = os.lstat(path)
                content = hashlib.sha256(Path(path).read_bytes()).hexdigest() if stat.S_ISREG(status.st_mode) else ""
                found[os.path.relpath(path, root)] = (
                    status.st_mode, status.st_size if not stat.S_ISDIR(status.st_mode) else 0, status.st_mtime_ns,
                    status.st_nlink, content, os.readlink(path) if stat.S_ISLNK(status.st_mode) else "",
                )
        return found

    assert describe(ours) == describe(theirs)
    assert os.stat(ours / "holes").st_blocks * 512 < 1_000_000
