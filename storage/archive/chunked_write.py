"""Writing a layer as zstd:chunked (see ``chunked``). The same archive always gives the same bytes.

Frames are compressed in threads, in batches of a MiB; a file of more than a MiB is split into chunks of one, so that an
append, or a change in place, leaves most of them as they were.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Container, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import zstandard
from fastcrc import crc64

from storage import atomic
from storage.archive import chunked, pax
from storage.archive import tar_reader as tar
from storage.archive.chunked_tap import Reader, Tap
from storage.archive.limits import Limits
from storage.archive.stream import LayerStream, Source
from storage.errors import StorageError

CHUNK = 1 << 20
"""Bytes of a file's content in one frame, at most."""
LEVEL = 3
"""How hard to compress when nothing is asked for: zstd's own choice."""

_BATCH = 1 << 20
_TYPES = {
    tar.REGULAR: "reg", tar.HARDLINK: "hardlink", tar.SYMLINK: "symlink", tar.CHARACTER: "char",
    tar.BLOCK_DEVICE: "block", tar.DIRECTORY: "dir", tar.FIFO: "fifo",
}  # fmt: skip
_XATTR = b"SCHILY.xattr."
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS = range(-62_135_596_800, 253_402_300_800)  # of the years 1 to 9999, which are all that the table can name

_Frame = tuple[bytes, bytes]  # compressed, SHA-256 of what it holds
Written = Callable[[int, int, bytes], None]


class Layer(NamedTuple):
    """A written blob. ``annotations`` belong into its descriptor; an archive that has no table has none."""

    digest: str
    size: int
    diff_id: str
    annotations: dict[str, str]


class OtherFramesError(StorageError):
    """The blob does not become the one that was expected."""


def convert(
    source: Source, target: int, *, level: int = LEVEL, limits: Limits | None = None,
    ends: Container[int] | None = None,
) -> Layer:  # fmt: skip
    """Write the layer ``source``, compressed in any way or not at all, to the descriptor ``target``.

    ``ends``: where frames of the expected blob end; raises OtherFramesError at the first batch that ends elsewhere.
    What the table cannot say (names that are not UTF-8, sparse files, global headers) leaves it out: the blob is then
    zstd like any other. Raises StorageError for a broken archive, OSError.
    """
    limits = limits or Limits()
    stream = LayerStream(source, limits)
    try:
        writer = _Writer(stream, target, level, limits, ends)
        writer.run()
    finally:
        stream.close()
    return Layer(f"sha256:{writer.hash.hexdigest()}", writer.size, stream.digest(), writer.annotations)


class _Writer:
    """The state of one conversion."""

    def __init__(
        self, chunks: Iterable[bytes], target: int, level: int, limits: Limits, ends: Container[int] | None
    ) -> None:
        self.hash = hashlib.sha256()
        self.size = 0
        self.annotations: dict[str, str] = {}
        self._target = target
        self._level = level
        self._tap = Tap(chunks)
        self._reader = Reader(self._tap, limits)
        self._frames = _Frames(level, self._put, ends)
        self._between: list[bytes] = []  # the contents of two files
        self._entries: list[dict[str, Any]] = []
        self._plain = False  # there will be no table
        self._tar_split = _TarSplit(level)

    def run(self) -> None:
        """Read the archive and write the blob. Raises StorageError, OSError."""
        with self._frames:
            for entry in self._reader:
                self._member(entry)
            self._header(self._tap.until(self._tap.end))
            self._end_between()
        if not self._plain:
            self._finish()

    # Members.

    def _member(self, entry: tar.Entry) -> None:
        self._header(self._tap.until(self._reader.position))
        item = None if self._plain else self._describe(entry)
        if item is None:
            self._plain = True
            self._end_between()
            for _ in self._reader.data():
                self._frames.add(self._tap.until(self._reader.position))
            return
        self._entries.append(item)
        checksum = b""
        if entry.size:
            self._end_between()
            checksum = self._content(entry, item)
        if not self._plain:
            self._tar_split.file(item["name"], entry.size, checksum)

    def _header(self, data: bytes) -> None:
        self._between.append(data)
        if not self._plain:
            self._tar_split.segment(data)

    def _end_between(self) -> None:
        data = b"".join(self._between)
        self._between.clear()
        if data:
            self._frames.add(data)

    def _content(self, entry: tar.Entry, item: dict[str, Any]) -> bytes:
        """Add a file's content as chunks; returns its CRC-64."""
        whole = hashlib.sha256()
        checksum: int | None = None
        parts: list[bytes] = []
        have = done = 0
        for _ in self._reader.data():
            data = self._tap.until(self._reader.position)
            checksum = crc64.go_iso(data, checksum)
            while data:
                part = data[: CHUNK - have]
                data = data[len(part) :]
                parts.append(part)
                have += len(part)
                if have == CHUNK or done + have == entry.size:
                    piece = parts[0] if len(parts) == 1 else b"".join(parts)
                    if entry.size > CHUNK:
                        whole.update(piece)
                    self._chunk(item, piece, done, entry.size)
                    done += have
                    parts, have = [], 0
        if entry.size > CHUNK:
            item["digest"] = f"sha256:{whole.hexdigest()}"
        return (checksum or 0).to_bytes(8, "big")

    def _chunk(self, item: dict[str, Any], piece: bytes, offset: int, size: int) -> None:
        target = item
        if size > CHUNK:
            if offset:
                target = {"type": "chunk", "name": item["name"], "chunkOffset": offset}
                self._entries.append(target)
            target["chunkSize"] = len(piece)

        def written(start: int, end: int, digest: bytes) -> None:
            target["offset"] = start
            item["endOffset"] = end
            target["chunkDigest" if size > CHUNK else "digest"] = f"sha256:{digest.hex()}"

        self._frames.add(piece, written)

    def _describe(self, entry: tar.Entry) -> dict[str, Any] | None:
        """The table's entry for a member; None: it cannot say what the header does."""
        header, records = self._reader.header, self._reader.records
        of_gnu = header[257:265] == b"ustar  \0"
        if self._reader.odd or entry.sparse is not None or (of_gnu and header[345:369].strip(b"\0")):
            return None
        values = dict(records)
        try:
            item: dict[str, Any] = {
                "type": _TYPES[entry.kind], "name": entry.name.decode(), "linkName": entry.linkname.decode(),
                "mode": tar.number(header[100:108], "mode"), "size": entry.size, "uid": entry.uid, "gid": entry.gid,
                "modtime": _time(entry.mtime_ns),
                "xattrs": {
                    key.removeprefix(_XATTR).decode(): base64.b64encode(value).decode()
                    for key, value in values.items() if key.startswith(_XATTR)
                },
            }  # fmt: skip
            for name, key in (("accesstime", b"atime"), ("changetime", b"ctime")):
                if values.get(key):
                    item[name] = _time(pax.time_ns(values[key]))
        except (UnicodeDecodeError, OverflowError):
            return None
        if header[257:262] == b"ustar":
            item["devMajor"], item["devMinor"] = (tar.number(header[at : at + 8], "device") for at in (329, 337))
        return {key: value for key, value in item.items() if value or key in ("type", "name")}

    # The end.

    def _put(self, data: bytes) -> None:
        self.hash.update(data)
        self.size += len(data)
        atomic.write_all(self._target, data)

    def _finish(self) -> None:
        split, split_size = self._tar_split.end()
        table = {
            "version": 1, "entries": self._entries, "tarSplitDigest": f"sha256:{hashlib.sha256(split).hexdigest()}",
        }  # fmt: skip
        text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
        data = zstandard.ZstdCompressor(level=self._level).compress(text)
        at = self.size + chunked.FRAME_HEADER
        split_at = at + len(data) + chunked.FRAME_HEADER
        self._put(chunked.skippable(data))
        self._put(chunked.skippable(split))
        where, split_where = (at, len(data), len(text)), (split_at, len(split), split_size)
        self._put(chunked.skippable(chunked.footer(where, split_where)))
        self.annotations = {
            chunked.CHECKSUM: f"sha256:{hashlib.sha256(data).hexdigest()}",
            chunked.POSITION: ":".join(map(str, (*where, chunked.TABLE_TYPE))),
            chunked.TAR_SPLIT_POSITION: ":".join(map(str, split_where)),
        }


class _Frames:
    """Compresses in threads, a batch at a time, and hands the frames to ``put`` in their order."""

    def __init__(self, level: int, put: Callable[[bytes], None], ends: Container[int] | None) -> None:
        self._level = level
        self._ends = ends
        self._put = put
        self._most = 2 * len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(self._most // 2)
        self._queue: deque[tuple[list[Written | None], Future[list[_Frame]]]] = deque()
        self._pieces: list[bytes] = []
        self._tell: list[Written | None] = []
        self._size = self._offset = 0

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._submit()
                while self._queue:
                    self._take()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def add(self, data: bytes, written: Written | None = None) -> None:
        """``data`` is the next frame; ``written`` is called with its place in the blob and the digest of ``data``."""
        self._pieces.append(data)
        self._tell.append(written)
        self._size += len(data)
        if self._size >= _BATCH:
            self._submit()

    def _submit(self) -> None:
        if len(self._queue) >= self._most:
            self._take()
        self._queue.append((self._tell, self._pool.submit(self._compress, self._pieces)))
        self._pieces, self._tell, self._size = [], [], 0

    def _compress(self, pieces: list[bytes]) -> list[_Frame]:
        compressor = zstandard.ZstdCompressor(level=self._level)
        return [(compressor.compress(piece), hashlib.sha256(piece).digest()) for piece in pieces]

    def _take(self) -> None:
        tell, future = self._queue.popleft()
        frames = future.result()
        self._put(b"".join(data for data, _ in frames))
        for written, (data, digest) in zip(tell, frames, strict=True):
            if written is not None:
                written(self._offset, self._offset + len(data), digest)
            self._offset += len(data)
        if self._ends is not None and self._offset not in self._ends:
            raise OtherFramesError("cannot make the same layer: another program, or another level, compressed it")


class _TarSplit:
    """The lines of a tar-split: what is between files as it is, and name, size and CRC-64 of each file."""

    def __init__(self, level: int) -> None:
        self._compressor = zstandard.ZstdCompressor(level=level).compressobj()
        self._done: list[bytes] = []
        self._waiting = bytearray()
        self._size = self._count = 0

    def segment(self, data: bytes) -> None:
        """What is in front of a member's content, or behind the last."""
        if data:
            self._line(b'{"type":2,"payload":"%b"' % base64.b64encode(data))

    def file(self, name: str, size: int, checksum: bytes) -> None:
        """A member, which need not be a file."""
        payload = b'"%b"' % base64.b64encode(checksum) if size else b"null"
        text = json.dumps(name, ensure_ascii=False).encode()
        self._line(b'{"type":1,"name":%b,"size":%d,"payload":%b' % (text, size, payload))

    def _line(self, line: bytes) -> None:
        self._waiting += b'%b,"position":%d}\n' % (line, self._count)
        self._count += 1
        if len(self._waiting) >= _BATCH:
            self._compress()

    def _compress(self) -> None:
        self._size += len(self._waiting)
        self._done.append(self._compressor.compress(self._waiting))
        self._waiting.clear()

    def end(self) -> tuple[bytes, int]:
        """All of it, compressed, and its size before that."""
        self._compress()
        return b"".join(self._done) + self._compressor.flush(), self._size


def _time(nanoseconds: int) -> str:
    """RFC 3339, as Go writes it; '' for the epoch, which it leaves out. Raises OverflowError outside its years."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    if not nanoseconds:
        return ""
    if seconds not in _SECONDS:
        raise OverflowError
    text = (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text:0>19}" + (f".{fraction:09d}".rstrip("0") if fraction else "") + "Z"
