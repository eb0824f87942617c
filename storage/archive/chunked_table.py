"""Reading the table of contents of a zstd:chunked layer (see ``chunked``), which is hostile input.

What comes of it is the blob as a sequence of *pieces*, each a frame or several, and for most of them what they hold: a
chunk of a file by its digest, what is between files by the digest of the bytes in the tar-split. So pieces that two
blobs have in common are found. Nothing is believed of it but that: who puts a blob together from pieces verifies the
digest of the whole.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import zstandard

from storage.archive import chunked
from storage.errors import StorageError
from storage.oci import Digest, is_digest

MOST_TABLE = 24 << 20
"""Bytes of a table, uncompressed, at most; and so of a tar-split. It is about those of 75,000 files."""
MOST_COMPRESSED = 16 << 20

_MOST_BESIDE = 1024  # bytes of frames' headers and of the footer
_MOST_FILES = 150_000
_MOST_NAMED = 1 << 16  # bytes of a line of the tar-split that names a file
_MOST_ENTRY = 1 << 17  # characters
_WINDOW = 1 << 20  # characters that are parsed at a time: JSON takes up to 40 times as much memory
_MOST_DIGITS = 15

# As every program writes it; anything else could take much memory to read.
_SEGMENT = re.compile(rb'\{"type":2,"payload":"([A-Za-z0-9+/]*={0,2})","position":[0-9]{1,9}\}')

Key = bytes


class Piece(NamedTuple):
    """Bytes of a blob from ``start`` to ``end``; ``key`` tells what they hold, and is empty where that is unknown."""

    start: int
    end: int
    key: Key


class Extent(NamedTuple):
    """Where the data of a skippable frame is, and its length when decompressed."""

    offset: int
    length: int
    uncompressed: int

    @property
    def end(self) -> int:
        """Where it ends in the blob."""
        return self.offset + self.length


class TableError(StorageError):
    """The table is not what its form asks for. The blob may be good all the same."""


class Positions(NamedTuple):
    """What the annotations of a layer say. ``tail``: where the frames that hold no part of the archive begin."""

    checksum: Digest
    table: Extent
    tar_split: Extent | None
    tail: int

    @property
    def memory(self) -> int:
        """Bytes that it takes to read both."""
        return sum(extent.length + extent.uncompressed for extent in (self.table, self.tar_split) if extent is not None)


def positions(annotations: dict[str, str], size: int) -> Positions | None:
    """Where the table of a blob of ``size`` bytes is; None if the annotations do not say so, or nothing possible."""
    checksum = chunked.annotation(annotations, chunked.CHECKSUM)
    table = _extent(chunked.annotation(annotations, chunked.POSITION), 4, size)
    if not is_digest(checksum) or table is None:
        return None
    tar_split = _extent(chunked.annotation(annotations, chunked.TAR_SPLIT_POSITION), 3, size)
    tail = min(extent.offset for extent in (table, tar_split) if extent is not None) - chunked.FRAME_HEADER
    if tail < 0 or (tar_split is not None and tar_split.offset < table.end and table.offset < tar_split.end):
        return None
    if size - tail > table.length + (tar_split.length if tar_split is not None else 0) + _MOST_BESIDE:
        return None  # whoever reads from there to the end must not have to read more
    return Positions(Digest(checksum), table, tar_split, tail)


def _extent(text: str, fields: int, size: int) -> Extent | None:
    parts = text.split(":")
    if len(parts) != fields or any(not _decimal(part) for part in parts):
        return None
    if parts[3:] not in ([], [str(chunked.TABLE_TYPE)]):
        return None
    found = Extent(*(int(part) for part in parts[:3]))
    possible = found.length <= MOST_COMPRESSED and found.uncompressed <= MOST_TABLE and found.end <= size
    return found if possible and found.length else None


def _decimal(text: str) -> bool:
    return 0 < len(text) <= _MOST_DIGITS and text.isascii() and text.isdigit()


def pieces(where: Positions, tail: bytes) -> list[Piece]:
    """The pieces of a blob up to ``where.tail``, of which ``tail`` is the rest. Raises TableError."""
    data = _cut(tail, where.table, where.tail)
    hasher = hashlib.new(where.checksum.algorithm, data)
    if hasher.hexdigest() != where.checksum.encoded:
        raise TableError("cannot use the table of a layer: its digest is another than the manifest says")
    files, split_digest = _files(_decompress(data, where.table.uncompressed), where.tail)
    between: list[tuple[int, Key]] = []
    if where.tar_split is not None:
        data = _cut(tail, where.tar_split, where.tail)
        if split_digest is not None and f"sha256:{hashlib.sha256(data).hexdigest()}" != split_digest:
            raise TableError("cannot use the tar-split of a layer: its digest is another than the table says")
        between = list(_between(_decompress(data, where.tar_split.uncompressed)))
    return _joined(files, between, where.tail)


def _cut(tail: bytes, extent: Extent, start: int) -> bytes:
    return tail[extent.offset - start : extent.end - start]


def _decompress(data: bytes, size: int) -> bytes:
    """One frame or several, which give ``size`` bytes. Raises TableError."""
    reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(data, read_across_frames=True)
    try:
        found = reader.read(size + 1)
    except zstandard.ZstdError as error:
        raise TableError(f"cannot use the table of a layer: {error}") from None
    if len(found) != size:
        raise TableError("cannot use the table of a layer: it has another size than the manifest says")
    return found


# The table.


class _File:
    """A file with content: its size, and its chunks as (start, key); the last one ends at ``end``."""

    __slots__ = ("chunks", "end", "name", "size")

    def __init__(self, name: str, size: int, end: int) -> None:
        self.name = name
        self.size = size
        self.end = end
        self.chunks: list[tuple[int, Key]] = []


def _files(data: bytes, tail: int) -> tuple[list[_File], str | None]:
    """The files that have content, in the order of the blob, and the digest of the tar-split."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise _malformed("is not UTF-8") from None
    split_digest: list[str] = []
    files: list[_File] = []
    for entry in _entries(text, split_digest):
        kind = entry.get("type")
        if kind == "reg" and _number(entry, "size"):
            found = _File(_text(entry, "name"), _number(entry, "size"), _number(entry, "endOffset"))
            whole = "chunkSize" not in entry
            size = found.size if whole else _number(entry, "chunkSize")
            key = _key(entry.get("digest" if whole else "chunkDigest"), size)
            found.chunks.append((_number(entry, "offset"), key))
            files.append(found)
        elif kind == "chunk":
            if not files or files[-1].name != _text(entry, "name"):
                raise _malformed("has a part of a file apart from it")
            files[-1].chunks.append(
                (_number(entry, "offset"), _key(entry.get("chunkDigest"), _number(entry, "chunkSize")))
            )
        if len(files) > _MOST_FILES:
            raise _malformed("has too many files")
    at = 0
    for file in files:
        for start, _ in file.chunks:
            if start < at:
                raise _malformed("names places that are not in order")
            at = start
        if not at < file.end <= tail:
            raise _malformed("names places that are not in order")
        at = file.end
    return files, split_digest[0] if split_digest else None


def _malformed(how: str) -> TableError:
    return TableError(f"cannot use the table of a layer: it {how}")


def _number(entry: dict[str, Any], key: str) -> int:
    value = entry.get(key, 0)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 62:
        raise _malformed(f"has a bad {key}")
    return value


def _text(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str):
        raise _malformed(f"has a bad {key}")
    return value


def _key(digest: object, size: int) -> Key:
    """The key of a part of a file; empty where the table does not tell its digest."""
    if not is_digest(digest):
        return b""
    assert isinstance(digest, str)
    return b"f%d:%b" % (size, bytes.fromhex(digest.partition(":")[2]))


def _entries(text: str, split_digest: list[str]) -> Iterator[dict[str, Any]]:
    """The members of ``entries``, one at a time; ``split_digest`` gets ``tarSplitDigest``. Raises TableError."""
    scan = _Scanner(text)
    scan.expect("{")
    version = None
    while True:
        name = scan.value()
        scan.expect(":")
        if name == "entries":
            scan.expect("[")
            while scan.peek() != "]":
                entry = scan.value()
                if not isinstance(entry, dict):
                    raise _malformed("has an entry that is no object")
                yield entry
                if scan.peek() == ",":
                    scan.expect(",")
                    if scan.peek() == "]":
                        raise _malformed("is not JSON")
                elif scan.peek() != "]":
                    raise _malformed("is not JSON")
            scan.expect("]")
        elif name == "version":
            version = scan.value()
        elif name == "tarSplitDigest":
            digest = scan.value()
            if not isinstance(digest, str) or split_digest:
                raise _malformed("has a bad tarSplitDigest")
            split_digest.append(digest)
        else:
            scan.value()
        if scan.peek() == "}":
            break
        scan.expect(",")
    scan.expect("}")
    if scan.peek() or version != 1:
        raise _malformed("is of an unknown version" if version != 1 else "is not JSON")


class _Scanner:
    """Takes a JSON document apart, value by value, so that only one of them is in memory."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._window = ""
        self._at = 0  # in the window
        self._next = 0  # in the text, behind the window
        self._decoder = json.JSONDecoder(parse_constant=_no_constant)

    def _fill(self) -> None:
        if len(self._window) - self._at < _MOST_ENTRY and self._next < len(self._text):
            rest = self._window[self._at :]
            self._window = rest + self._text[self._next : self._next + _WINDOW]
            self._next += _WINDOW
            self._at = 0

    def peek(self) -> str:
        """The next character that is no blank; '' at the end."""
        while True:
            self._fill()
            while self._at < len(self._window) and self._window[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._window):
                return self._window[self._at]
            if self._next >= len(self._text):
                return ""

    def expect(self, character: str) -> None:
        """Pass over ``character``. Raises TableError if it is not the next one."""
        if self.peek() != character:
            raise _malformed("is not JSON")
        self._at += 1

    def value(self) -> Any:
        """The next value. Raises TableError for one that is broken, or very large."""
        self.peek()
        start = self._at
        try:
            value, self._at = self._decoder.raw_decode(self._window, start)
        except (ValueError, RecursionError):
            raise _malformed("is not JSON") from None
        if self._at - start > _MOST_ENTRY:
            raise _malformed("has an entry that is too large")
        return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number of JSON")


# The tar-split.


def _between(data: bytes) -> Iterator[tuple[int, Key]]:
    """For each file with content its size and the key of what is before it; last, of what is behind them all: 0."""
    found = hashlib.sha256()
    at = 0
    while at < len(data):
        end = data.find(b"\n", at)
        end = len(data) if end < 0 else end
        segment = _SEGMENT.match(data, at, end)
        try:
            if segment is not None and segment.end() == end:
                found.update(base64.b64decode(segment[1], validate=True))
            elif size := _named(data[at : min(end, at + _MOST_NAMED)]):
                yield size, b"b" + found.digest()
                found = hashlib.sha256()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error):
            raise TableError("cannot use the tar-split of a layer: it is malformed") from None
        at = end + 1
    yield 0, b"b" + found.digest()


def _named(line: bytes) -> int:
    """The size of the file that a line names. Raises ValueError, KeyError, … for one that names none."""
    item = json.loads(line)
    size = item.get("size", 0)
    if item["type"] != 1 or not isinstance(size, int):
        raise ValueError
    return size


def _joined(files: list[_File], between: list[tuple[int, Key]], tail: int) -> list[Piece]:
    """All pieces in order. Where table and tar-split tell of different files nothing is known of what is between."""
    if [size for size, _ in between] != [*(file.size for file in files), 0]:
        between = [(0, b"")] * (len(files) + 1)
    found: list[Piece] = []
    at = 0
    for file, (_, key) in zip(files, between[:-1], strict=True):
        if at < file.chunks[0][0]:
            found.append(Piece(at, file.chunks[0][0], key))
        ends = [*(start for start, _ in file.chunks[1:]), file.end]
        found += (Piece(start, end, key) for (start, key), end in zip(file.chunks, ends, strict=True))
        at = file.end
    if at < tail:
        found.append(Piece(at, tail, between[-1][1]))
    return found
