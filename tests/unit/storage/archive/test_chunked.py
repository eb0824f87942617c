"""zstd:chunked: what is written is the archive, and its table leads to each file."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import zstandard
from fastcrc import crc64
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.archive import chunked, chunked_table, chunked_write
from storage.archive.chunked_table import Piece, TableError
from storage.archive.chunked_write import CHUNK, Layer
from storage.archive.stream import decoded
from tests.support import layers, tarbytes
from tests.support.layers import device, directory, fifo, file, hardlink, symlink

ITEMS = [
    directory("etc"), file("etc/hosts", "127.0.0.1 localhost\n"), file("etc/empty"), symlink("etc/link", "hosts"),
    hardlink("etc/again", "etc/hosts"), fifo("etc/fifo"), device("dev-null", "c", 1, 3),
    file("große Datei", "x" * 5000, 0o4755), file("other", "y" * 5000),
]  # fmt: skip
NOISE = base64.b64encode(os.urandom(2_000_000)).decode()


def convert(data: bytes, path: Path, level: int = 3) -> tuple[Layer, bytes]:
    """The layer made of an archive, and its blob."""
    with path.open("wb") as target:
        layer = chunked_write.convert(io.BytesIO(data), target.fileno(), level=level)
    return layer, path.read_bytes()


def table(layer: Layer, blob: bytes) -> Any:
    """The table of contents, as whoever trusts the annotations reads it."""
    offset, length, size, kind = map(int, layer.annotations[chunked.POSITION].split(":"))
    data = blob[offset : offset + length]
    assert f"sha256:{hashlib.sha256(data).hexdigest()}" == layer.annotations[chunked.CHECKSUM]
    text = zstandard.ZstdDecompressor().decompress(data)
    assert (len(text), kind) == (size, 1)
    return json.loads(text)


def tar_split(layer: Layer, blob: bytes) -> list[Any]:
    """The lines of the tar-split."""
    offset, length, size = map(int, layer.annotations[chunked.TAR_SPLIT_POSITION].split(":"))
    data = blob[offset : offset + length]
    assert table(layer, blob)["tarSplitDigest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
    text = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    assert len(text) == size
    return [json.loads(line) for line in text.splitlines()]


def content(blob: bytes, start: int, end: int) -> bytes:
    return b"".join(decoded(io.BytesIO(blob[start:end])))


def pieces(layer: Layer, blob: bytes) -> list[Piece]:
    where = chunked_table.positions(layer.annotations, len(blob))
    assert where is not None
    return chunked_table.pieces(where, blob[where.tail :])


def test_the_blob_is_the_archive_for_any_reader_of_zstd(tmp_path: Path) -> None:
    data = layers.archive(ITEMS)
    layer, blob = convert(data, tmp_path / "blob")
    assert (layer.digest, layer.size) == (f"sha256:{hashlib.sha256(blob).hexdigest()}", len(blob))
    assert layer.diff_id == layers.diff_id(data)
    assert content(blob, 0, len(blob)) == data
    told = subprocess.run(["zstd", "-dc", str(tmp_path / "blob")], capture_output=True, check=True)
    assert told.stdout == data


def test_the_table_tells_each_member_and_leads_to_its_content(tmp_path: Path) -> None:
    layer, blob = convert(layers.archive(ITEMS), tmp_path / "blob")
    entries = table(layer, blob)["entries"]
    assert [(entry["type"], entry["name"].rstrip("/")) for entry in entries] == [
        ("dir", "etc"), ("reg", "etc/hosts"), ("reg", "etc/empty"), ("symlink", "etc/link"), ("hardlink", "etc/again"),
        ("fifo", "etc/fifo"), ("char", "dev-null"), ("reg", "große Datei"), ("reg", "other"),
    ]  # fmt: skip
    by_name = {entry["name"]: entry for entry in entries}
    assert by_name["etc/link"]["linkName"] == "hosts"
    assert (by_name["dev-null"]["devMajor"], by_name["dev-null"]["devMinor"]) == (1, 3)
    assert by_name["große Datei"]["mode"] & 0o7777 == 0o4755
    assert "digest" not in by_name["etc/empty"]
    for name, text in (("etc/hosts", b"127.0.0.1 localhost\n"), ("große Datei", b"x" * 5000)):
        entry = by_name[name]
        assert content(blob, entry["offset"], entry["endOffset"]) == text
        assert entry["digest"] == f"sha256:{hashlib.sha256(text).hexdigest()}"


def test_times_owners_and_attributes_are_in_the_table(tmp_path: Path) -> None:
    headers = tarbytes.pax(
        (b"mtime", b"1700000000.000000120"), (b"atime", b"1.5"), (b"SCHILY.xattr.user.x", b"\0y"), (b"uid", b"4000000")
    )
    data = headers + tarbytes.block(b"f", mode=0o100755, gid=7) + tarbytes.END
    layer, blob = convert(data, tmp_path / "blob")
    (entry,) = table(layer, blob)["entries"]
    assert entry == {
        "type": "reg", "name": "f", "mode": 0o100755, "uid": 4000000, "gid": 7,
        "modtime": "2023-11-14T22:13:20.00000012Z", "accesstime": "1970-01-01T00:00:01.5Z",
        "xattrs": {"user.x": base64.b64encode(b"\0y").decode()},
    }  # fmt: skip


def test_the_tar_split_and_the_contents_are_the_archive(tmp_path: Path) -> None:
    big = NOISE
    data = layers.archive([*ITEMS, file("big", big)])
    layer, blob = convert(data, tmp_path / "blob")
    files = {entry["name"]: entry for entry in table(layer, blob)["entries"] if entry["type"] == "reg"}
    made = bytearray()
    for line in tar_split(layer, blob):
        if line["type"] == 2:
            made += base64.b64decode(line["payload"])
        elif line.get("size"):
            entry = files[line["name"]]
            text = content(blob, entry["offset"], entry["endOffset"])
            assert base64.b64decode(line["payload"]) == crc64.go_iso(text).to_bytes(8, "big")
            made += text
    assert bytes(made) == data


def test_a_large_file_is_in_chunks(tmp_path: Path) -> None:
    big = NOISE[:CHUNK] + "\0" * CHUNK + "end"
    layer, blob = convert(layers.archive([file("big", big)]), tmp_path / "blob")
    first, *more = table(layer, blob)["entries"]
    assert first["digest"] == f"sha256:{hashlib.sha256(big.encode()).hexdigest()}"
    assert [(entry["type"], entry["chunkOffset"], entry["chunkSize"]) for entry in more] == [
        ("chunk", CHUNK, CHUNK), ("chunk", 2 * CHUNK, 3),
    ]  # fmt: skip
    found = [content(blob, piece.start, piece.end) for piece in pieces(layer, blob) if piece.key[:1] == b"f"]
    assert b"".join(found) == big.encode() and len(found) == 3


def test_the_same_archive_gives_the_same_blob_and_levels_count(tmp_path: Path) -> None:
    data = layers.archive([*ITEMS, file("big", NOISE)])
    assert convert(data, tmp_path / "a")[1] == convert(data, tmp_path / "b")[1]
    assert convert(data, tmp_path / "c", level=9)[0].size != convert(data, tmp_path / "d", level=1)[0].size


@pytest.mark.parametrize(
    "data",
    [
        tarbytes.block(b"\xff") + tarbytes.END,
        tarbytes.pax((b"comment", b"x"), kind=b"g") + tarbytes.block() + tarbytes.END,
        tarbytes.block(b"f", mtime=b"\x80" + b"\x7f" * 11) + tarbytes.END,
        tarbytes.block(b"f", size=3) + tarbytes.padded(b"abc") + tarbytes.block(b"\xff") + tarbytes.END,
    ],
)
def test_what_the_table_cannot_say_leaves_it_out(data: bytes, tmp_path: Path) -> None:
    layer, blob = convert(data, tmp_path / "blob")
    assert layer.annotations == {}
    assert content(blob, 0, len(blob)) == data


def test_the_pieces_are_all_of_the_blob_and_hold_what_they_say(tmp_path: Path) -> None:
    layer, blob = convert(layers.archive(ITEMS), tmp_path / "blob")
    found = pieces(layer, blob)
    where = chunked_table.positions(layer.annotations, len(blob))
    assert where is not None
    assert [piece.start for piece in found] == [0, *(piece.end for piece in found[:-1])]
    assert found[-1].end == where.tail
    for piece in found:
        text = content(blob, piece.start, piece.end)
        digest = hashlib.sha256(text).digest()
        assert piece.key == (b"b" + digest if piece.key[:1] == b"b" else b"f%d:%b" % (len(text), digest))


def test_two_blobs_share_the_pieces_that_did_not_change(tmp_path: Path) -> None:
    one, blob = convert(layers.archive(ITEMS), tmp_path / "one")
    two, changed = convert(layers.archive([*ITEMS[:-1], file("other", "z" * 5000)]), tmp_path / "two")
    mine = {piece.key: blob[piece.start : piece.end] for piece in pieces(one, blob)}
    theirs = {piece.key: changed[piece.start : piece.end] for piece in pieces(two, changed)}
    assert len(mine.keys() & theirs.keys()) == len(mine) - 1
    assert all(mine[key] == theirs[key] for key in mine.keys() & theirs.keys())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (chunked.POSITION, "1:2:3"), (chunked.POSITION, "8:99999999:5:1"), (chunked.POSITION, "-8:1:1:1"),
        (chunked.POSITION, "100:50:50:2"), (chunked.POSITION, "100:50:99999999999:1"), (chunked.POSITION, "4:50:50:1"),
        (chunked.CHECKSUM, "sha256:../../x"), (chunked.CHECKSUM, ""), (chunked.POSITION, "٣:1:1:1"),
        (chunked.TAR_SPLIT_POSITION, "110:10:10"), (chunked.POSITION, "100:5:50:1"),
    ],
)  # fmt: skip
def test_annotations_that_say_nothing_possible_are_none(key: str, value: str) -> None:
    good = {chunked.POSITION: "100:8850:8850:1", chunked.CHECKSUM: "sha256:" + "0" * 64}
    assert chunked_table.positions(good, 9000) is not None
    assert chunked_table.positions({**good, key: value}, 9000) is None


ENTRY = {"type": "reg", "name": "a", "size": 5, "offset": 10, "endOffset": 20, "digest": "sha256:" + "0" * 64}


@pytest.mark.parametrize(
    "document",
    [
        b"", b"[]", b'{"version":1', b'{"version":2,"entries":[]}', b'{"version":1,"entries":[1]}', b"\xff",
        b'{"version":1,"entries":[{}],}', b'{"version":1,"entries":[{},]}', b'{"version":1,"entries":[NaN]}',
        b'{"version":1,"entries":[]}x', b"[" * 100_000, b'{"version":1,"x":"' + b"y" * 200_000 + b'","entries":[]}',
        *(
            json.dumps({"version": 1, "entries": entries}).encode()
            for entries in (
                [{**ENTRY, "offset": 21}], [{**ENTRY, "endOffset": 10_000}], [{**ENTRY, "size": -1}],
                [{**ENTRY, "offset": "10"}], [ENTRY, ENTRY], [{**ENTRY, "endOffset": True}], [{**ENTRY, "name": 1}],
                [{"type": "chunk", "name": "a"}], [ENTRY, {"type": "chunk", "name": "b", "offset": 15}],
                [ENTRY, {"type": "chunk", "name": "a", "offset": 20}],
            )
        ),
    ],
)  # fmt: skip
def test_a_bad_table_is_refused(document: bytes) -> None:
    data = zstandard.ZstdCompressor().compress(document)
    where = chunked_table.positions(
        {
            chunked.CHECKSUM: f"sha256:{hashlib.sha256(data).hexdigest()}",
            chunked.POSITION: f"1008:{len(data)}:{len(document)}:1",
        },
        1008 + len(data),
    )
    assert where is not None and where.tail == 1000
    with pytest.raises(TableError):
        chunked_table.pieces(where, bytes(8) + data)


def test_a_table_with_another_digest_or_size_is_refused(tmp_path: Path) -> None:
    layer, blob = convert(layers.archive(ITEMS), tmp_path / "blob")
    where = chunked_table.positions(layer.annotations, len(blob))
    assert where is not None
    tail = bytearray(blob[where.tail :])
    tail[10] ^= 1
    with pytest.raises(TableError, match="digest"):
        chunked_table.pieces(where, bytes(tail))
    smaller = where._replace(table=where.table._replace(uncompressed=10))
    with pytest.raises(TableError, match="size"):
        chunked_table.pieces(smaller, blob[where.tail :])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.binary(max_size=4), st.one_of(st.binary(max_size=40), st.integers(1, 3 * CHUNK).map(bytes))),
        max_size=4,
    ),
    st.binary(max_size=600),
)
def test_any_archive_comes_back(tmp_path_factory: Any, members: list[tuple[bytes, bytes]], trailing: bytes) -> None:
    data = b"".join(
        tarbytes.block(b"n" + name.replace(b"\0", b"").replace(b"/", b""), size=len(text)) + tarbytes.padded(text)
        for name, text in members
    )
    data += tarbytes.END + trailing
    layer, blob = convert(data, tmp_path_factory.mktemp("chunked") / "blob")
    assert content(blob, 0, len(blob)) == data
    if layer.annotations:
        assert [hashlib.sha256(content(blob, p.start, p.end)).digest() for p in pieces(layer, blob)] == [
            p.key[1:] if p.key[:1] == b"b" else p.key.partition(b":")[2] for p in pieces(layer, blob)
        ]
