"""Targets: the table of contents of a zstd:chunked layer, its tar-split, and parts of a blob."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile

import zstandard

from rootless.registry import multipart
from storage.archive import chunked, chunked_table, chunked_write
from storage.archive.chunked_table import Extent, Positions
from storage.oci import Digest
from tests.fakes.registry import BOUNDARY, byteranges
from tests.fuzz.targets.target import Target
from tests.support import layers
from tests.support.layers import directory, file, symlink

TAIL = 100_000
_LINES = (
    b'{"type":2,"payload":"AAAA","position":0}\n{"type":1,"name":"f","size":5,"payload":"AAAAAAAAAAA=","position":1}\n'
)


def table(data: bytes) -> None:
    """A table, and behind a NUL a tar-split: pieces that are all of the blob, each once, or an error."""
    text, _, lines = data.partition(b"\0")
    packed = [zstandard.ZstdCompressor(level=1).compress(part) for part in (text, lines)]
    extents = [
        Extent(TAIL + 8, len(packed[0]), len(text)), Extent(TAIL + 16 + len(packed[0]), len(packed[1]), len(lines)),
    ]  # fmt: skip
    checksum = Digest(f"sha256:{hashlib.sha256(packed[0]).hexdigest()}")
    where = Positions(checksum, extents[0], extents[1] if lines else None, TAIL)
    at = 0
    for piece in chunked_table.pieces(where, b"".join(chunked.skippable(part) for part in packed)):
        assert piece.start == at <= piece.end
        at = piece.end
    assert at == TAIL


def layer_annotations(data: bytes) -> None:
    """Annotations of a layer: places within the blob, or nothing."""
    keys = (chunked.CHECKSUM, chunked.POSITION, chunked.TAR_SPLIT_POSITION)
    texts = dict(zip(keys, data.decode().split("\n"), strict=False))
    where = chunked_table.positions(texts, TAIL)
    if where is not None:
        assert 0 <= where.tail < where.table.end <= TAIL
        assert where.tar_split is None or where.tail < where.tar_split.end <= TAIL


def byte_ranges(data: bytes) -> None:
    """An answer of several parts, in pieces of seven bytes."""
    chunks = (data[at : at + 7] for at in range(0, len(data), 7))
    for offset, piece in multipart.parts(chunks, BOUNDARY, 1000):
        assert piece
        assert 0 <= offset <= 1000 - len(piece)


def _seed() -> bytes:
    with tempfile.TemporaryFile() as target:
        data = layers.archive([directory("d"), file("d/f", "x" * 40), symlink("l", "d"), file("g", "y")])
        layer = chunked_write.convert(io.BytesIO(data), target.fileno())
        where = chunked_table.positions(layer.annotations, layer.size)
        assert where is not None and where.tar_split is not None
        found = [
            zstandard.ZstdDecompressor().decompressobj().decompress(os.pread(target.fileno(), part.length, part.offset))
            for part in (where.table, where.tar_split)
        ]
        return b"\0".join(found)


TARGETS = (
    Target(table, [
        _seed(), b'{"version":1,"entries":[]}', b'{"version":1,"entries":[{"type":"reg","name":"f","size":5,"offset":9,'
        b'"endOffset":99,"chunkSize":2},{"type":"chunk","name":"f","offset":50}]}\0' + _LINES,
    ]),
    Target(layer_annotations, [b"sha256:" + b"a" * 64 + b"\n100:50:60:1\n158:50:60"], (UnicodeDecodeError,)),
    Target(byte_ranges, [byteranges(bytes(1000), "bytes=5-9,100-199"), byteranges(bytes(1000), "bytes=0-999")]),
)  # fmt: skip
