"""Targets: archives, their compression, and the lists in saved images."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import tempfile
from pathlib import Path

import zstandard

from rootless.engine.images.transports import docker_archive, oci_layout, tar_split
from rootless.engine.images.transports.files import TarFiles
from storage.archive import pax
from storage.archive.limits import Limits
from storage.archive.stream import compression, decoded
from storage.archive.tar_reader import TarReader
from tests.fuzz.targets.target import OURS, Target, packed
from tests.support import layers
from tests.support.layers import directory, fifo, file, hardlink, symlink

SMALL = Limits(bytes=8 << 20, entries=1000, directories=500, depth=40)
_TREE = [
    directory("d"), file("d/f", "content" * 50, xattrs={"user.note": b"v" * 40}), symlink("l", "d"),
    hardlink("h", "d/f"),
    file("x" * 150, "y"), fifo("p"), file(".wh.gone"), layers.device("n", "c", 1, 3), file("l/../../up"),
]  # fmt: skip
_SEED = layers.archive(_TREE)
_BESIDE = tempfile.mkdtemp(prefix="fuzz-files-")
_BASE = tempfile.mkdtemp(prefix="fuzz-trees-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)


def with_sums(data: bytes) -> bytes:
    """The archive with right checksums, so that changed headers reach the code behind them."""
    fixed = bytearray(data)
    for at in range(0, len(fixed) - 511, 512):
        if fixed[at + 257 : at + 262] == b"ustar":
            fixed[at + 148 : at + 156] = b" " * 8
            fixed[at + 148 : at + 156] = b"%06o\0 " % sum(fixed[at : at + 512])
    return bytes(fixed)


def tar_headers(data: bytes) -> None:
    """Every header and all data of an archive, read and dropped."""
    for _ in TarReader([with_sums(data)], SMALL):
        pass


def layer(data: bytes) -> None:
    """An archive unpacked: nothing appears but below its directory."""
    place = Path(_BASE, "place")
    for parent, directories, _ in os.walk(place):
        for name in directories:
            if not os.path.islink(os.path.join(parent, name)):
                os.chmod(os.path.join(parent, name), 0o700)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    try:
        layers.extract(with_sums(data), place / "tree", SMALL)
    finally:
        assert sorted(os.listdir(place)) == ["tree", "tree.owners"]
        assert os.listdir(_BASE) == ["place"]


def compressed(data: bytes) -> None:
    """Any compression: no more is kept at once than a chunk, and a bomb is told by its size."""
    total = 0
    for chunk in decoded(io.BytesIO(data)):
        total += len(chunk)
        if total > SMALL.bytes:
            return


def pax_records(data: bytes) -> None:
    """The records of an extended header."""
    records = pax.parse(data)
    pax.xattrs(records)
    for _, value in records:
        for read in (lambda value: pax.number(value, "size"), pax.time_ns):
            try:
                read(value)
            except OURS:
                continue


def saved_image(data: bytes) -> None:
    """The list of images in an archive of `save`."""
    path = Path(_BASE).with_suffix(".tar")
    path.write_bytes(layers.archive([
        file("manifest.json", os.fsdecode(data)), file("index.json", os.fsdecode(data)),
        file("oci-layout", '{"imageLayoutVersion": "1.0.0"}'),
    ]))  # fmt: skip
    with path.open("rb", buffering=0) as stream:
        found = TarFiles(stream, "archive", str(path.parent))
    for entries in (docker_archive.entries, oci_layout.entries):
        try:
            entries(found, "archive")
        except OURS:
            continue


def image_archive(data: bytes) -> None:
    """The archive that holds images: in a plain file, where members are skipped, it is what it is as a stream."""
    data = with_sums(data)
    found = []
    for name, text in (("plain.tar", data), ("packed.tar", gzip.compress(data, 1))):
        path = Path(_BESIDE, name)
        path.write_bytes(text)
        scratch = Path(_BESIDE, "scratch")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        try:
            with path.open("rb", buffering=0) as stream:
                files = TarFiles(stream, "archive", str(scratch))
                found.append({each: (files.target(each), files.compression(each)) for each in _MEMBERS})
        except OURS:
            found.append({})
    assert found[0] == found[1] or compression(data[:6]) != "plain"


def notes_of_an_archive(data: bytes) -> None:
    """podman's notes of a layer's archive: no file but those of the layer is read."""
    tree = Path(_BESIDE, "tree")
    if not tree.exists():
        (tree / "d").mkdir(parents=True)
        (tree / "d/f").write_bytes(b"content")
        (tree / "l").symlink_to("/etc/passwd")
        (tree / "up").symlink_to("..")
    directory_fd = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
    try:
        made = b"".join(tar_split.archive(io.BytesIO(data), directory_fd))
    finally:
        os.close(directory_fd)
    assert b"root:x:0:0" not in made or b"root:x:0:0" in data or b"cm9vd" in data


_MEMBERS = ("a", "big", "link", "d/f", "manifest.json")
_LARGE = layers.archive([file("a", "x"), file("big", "y" * 5000), symlink("link", "big"), file("d/f", "z")])

TARGETS = (
    Target(image_archive, [_SEED, _LARGE, layers.archive([file("a", "1"), file("a", "2")]), _LARGE[:2000]]),
    Target(notes_of_an_archive, [
        b'{"type":2,"payload":"AAAA"}\n{"type":1,"name":"d/f","size":7,"payload":"AAAAAAAAAAA="}\n',
        b'{"type":1,"name":"l","size":5}', b'{"type":1,"name":"up/../../etc/passwd","size":5}',
        b'{"type":1,"name_raw":"ZC9m","size":3}', gzip.compress(b'{"type":1,"name":"./d/f","size":7}'),
    ]),
    Target(tar_headers, [_SEED, layers.archive([]), b"\0" * 1024]),
    Target(layer, [
        _SEED, layers.archive([symlink("a", "/"), file("a/x"), hardlink("b", "a/x"), file("a/.wh..wh..opq")])]),
    Target(compressed, [pack(_SEED[:2048]) for pack in (
        bytes, gzip.compress, lzma.compress, bz2.compress, zstandard.compress, lambda data: gzip.compress(data) * 2)]),
    Target(pax_records, [b"20 path=0123456789ab\n", b"30 mtime=1350244992.023960108\n", b"22 SCHILY.xattr.a=b\xff\xfe\n"
           b"25 GNU.sparse.realsize=9\n"]),
    Target(saved_image, packed(
        [{"Config": "a.json", "RepoTags": ["a:b"], "Layers": ["l.tar"]}],
        {"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 3,
         "digest": "sha256:" + "0" * 64, "annotations": {"org.opencontainers.image.ref.name": "x"}}]})),
)  # fmt: skip
