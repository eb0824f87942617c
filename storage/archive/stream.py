"""The uncompressed bytes of a layer blob, with their digest (the DiffID) taken on the way.

The compression is read from the first bytes, never from a media type or a file name. Decompression and hashing run in
a thread (both release the interpreter lock) while the caller writes files.
"""

from __future__ import annotations

import hashlib
import os
from importlib import import_module

from storage.archive.limits import Limits
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import queue
    from collections.abc import Callable, Iterator
    from typing import Protocol
else:
    Protocol = object

CHUNK = 1 << 20  # bytes handed over at a time, at most (zstd: see _zstd)
_READ = 1 << 18  # compressed bytes read at a time
_QUEUED = 4  # chunks waiting for the extractor
_THREAD_FROM = 1 << 20  # a smaller first read than this many compressed bytes is not worth a thread
_WINDOW = 1 << 27  # memory a zstd window or an xz dictionary may take: 128 MiB
# One block of 4 bytes may expand to 128 KiB and the decoder has no bound on its output: 2 KiB in, 64 MiB out at most.
_ZSTD_INPUT = 2048


class Source(Protocol):
    """Where the compressed bytes come from: an open binary file, or anything that reads like one."""

    def read(self, size: int, /) -> bytes: ...


class _Decoder(Protocol):
    """The common interface of the decoders of bz2, lzma and igzip."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


_MODULES = {"gzip": "isal.igzip_lib", "bzip2": "bz2", "xz": "lzma", "zstd": "zstandard"}
_FOR_THREADS = ("queue", "threading")
# Errors of the modules that decode, which are loaded when the first stream of their kind is.
_ERRORS = {"gzip": "error", "xz": "LZMAError", "zstd": "ZstdError"}


def load_decoders() -> None:
    """Load all modules that may be needed to decode a stream: what follows may not be able to load any."""
    for name in (*_MODULES.values(), *_FOR_THREADS):
        import_module(name)


def load_decoder_for(blob: int) -> None:
    """As `load_decoders`, of what the stream in the regular file behind this descriptor needs alone."""
    kind = compression(os.pread(blob, 6, 0))
    names = [_MODULES[kind]] if kind in _MODULES else []
    for name in (*names, *(_FOR_THREADS if os.fstat(blob).st_size >= _THREAD_FROM else ())):
        import_module(name)


def _broken(kind: str) -> tuple[type[BaseException], ...]:
    """What the decoders of a kind raise for a stream that is none."""
    own = [getattr(import_module(_MODULES[kind]), _ERRORS[kind])] if kind in _ERRORS else []
    return (OSError, EOFError, ValueError, *own)


def compression(magic: bytes) -> str:
    """Name the compression of a stream that begins with ``magic`` (6 bytes suffice): gzip, bzip2, xz, zstd or plain."""
    if magic[:2] == b"\x1f\x8b":
        return "gzip"
    if magic[:3] == b"BZh":
        return "bzip2"
    if magic[:6] == b"\xfd7zXZ\0":
        return "xz"
    # A zstd frame, or a skippable frame in front of one (RFC 8878, 3.1).
    if magic[:4] == b"\x28\xb5\x2f\xfd" or (magic[1:4] == b"\x2a\x4d\x18" and 0x50 <= magic[0] <= 0x5F):
        return "zstd"
    return "plain"


def _members(source: Source, data: bytes, new: Callable[[], _Decoder]) -> Iterator[bytes]:
    """Decode streams that follow each other (gzip members, xz and bzip2 streams); zeros may pad the end."""
    while data:
        decoder = new()
        while not decoder.eof:
            if decoder.needs_input and not data:
                data = source.read(_READ)
                if not data:
                    raise EOFError("it ends in the middle")
            chunk = decoder.decompress(data, CHUNK)
            data = b""
            if chunk:
                yield chunk
        data = decoder.unused_data or source.read(_READ)
        while data and not data.lstrip(b"\0"):
            data = source.read(_READ)
        data = data.lstrip(b"\0")


def _zstd(source: Source, data: bytes) -> Iterator[bytes]:
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    decoder = decompressor.decompressobj()
    fresh = True
    parts: list[bytes] = []
    pending = 0
    while data:
        view = memoryview(data)
        while view:
            if decoder.eof:
                decoder, fresh = decompressor.decompressobj(), True
            piece = decoder.decompress(view[:_ZSTD_INPUT])
            view = view[min(_ZSTD_INPUT, len(view)) - len(decoder.unused_data):]
            fresh = False
            if piece:
                parts.append(piece)
                pending += len(piece)
                if pending >= _READ:
                    yield b"".join(parts)
                    parts.clear()
                    pending = 0
        data = source.read(_READ)
    if parts:
        yield b"".join(parts)
    if not decoder.eof and not fresh:
        raise EOFError("it ends in the middle")


def _plain(source: Source, data: bytes) -> Iterator[bytes]:
    while data:
        yield data
        data = source.read(CHUNK)


def _gzip_decoder() -> _Decoder:
    from isal import igzip_lib

    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)  # type: ignore[no-any-return,unused-ignore]


def _bzip2_decoder() -> _Decoder:
    import bz2

    return bz2.BZ2Decompressor()


def _xz_decoder() -> _Decoder:
    import lzma

    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_WINDOW)


def decoded(source: Source, first: bytes = b"") -> Iterator[bytes]:
    """Yield the uncompressed chunks of ``source``; ``first`` are bytes already read from it.

    Raises StorageError if the stream is broken or cut, or needs more than 128 MiB to decode.
    """
    first = first or source.read(_READ)
    kind = compression(first)
    try:
        if kind == "gzip":
            yield from _members(source, first, _gzip_decoder)
        elif kind == "bzip2":
            yield from _members(source, first, _bzip2_decoder)
        elif kind == "xz":
            yield from _members(source, first, _xz_decoder)
        elif kind == "zstd":
            yield from _zstd(source, first)
        else:
            yield from _plain(source, first)
    except _broken(kind) as error:
        raise StorageError(f"cannot decompress the archive ({kind}): {error}") from error


class Ahead:
    """Iterate over ``chunks``, which a thread makes while the caller works with those before.

    What making them raises is raised here. Where no thread can be had they are made by the caller.
    """

    def __init__(self, chunks: Iterator[bytes]) -> None:
        import queue
        import threading

        self._chunks = chunks
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(_QUEUED)
        self._thread = threading.Thread(target=self._produce, daemon=True)
        self._abandoned = False
        try:
            self._thread.start()
        except RuntimeError:  # out of memory, or of processes
            self._alone = True
        else:
            self._alone = False

    def _produce(self) -> None:
        try:
            for chunk in self._chunks:
                self._queue.put(chunk)
                if self._abandoned:
                    return
            self._queue.put(None)
        except BaseException as error:  # handed to the consumer, which raises it
            self._queue.put(error)

    def __iter__(self) -> Iterator[bytes]:
        if self._alone:
            yield from self._chunks
            return
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        """End the thread of an iteration that was given up."""
        import queue

        self._abandoned = True
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue


class LayerStream:
    """Iterate over the uncompressed chunks of ``source`` once; ``digest()`` afterwards is their SHA-256.

    ``on_read`` is called with the number of compressed bytes consumed so far, in the decoding thread.
    Iterating raises StorageError for a broken stream or one beyond ``limits.bytes``.
    """

    def __init__(self, source: Source, limits: Limits, on_read: Callable[[int], None] | None = None) -> None:
        self._source = source
        self._limits = limits
        self._on_read = on_read
        self._hash = hashlib.sha256()
        self.consumed = 0  # compressed bytes read so far
        self._size = 0
        self._ahead: Ahead | None = None

    @property
    def size(self) -> int:
        """Uncompressed bytes seen so far."""
        return self._size

    def digest(self) -> str:
        """``sha256:…`` of all uncompressed bytes; only meaningful after the iteration has ended."""
        return f"sha256:{self._hash.hexdigest()}"

    def read(self, size: int) -> bytes:
        """Read compressed bytes, reporting them (the decoders read through this)."""
        data = self._source.read(size)
        self.consumed += len(data)
        if self._on_read is not None and data:
            self._on_read(self.consumed)
        return data

    def _chunks(self, first: bytes) -> Iterator[bytes]:
        for chunk in decoded(self, first):
            self._hash.update(chunk)
            self._size += len(chunk)
            if self._size > self._limits.bytes:
                raise StorageError(
                    f"cannot unpack more than {self._limits.bytes} bytes from one layer",
                    hint="the archive may be a decompression bomb",
                )
            yield chunk

    def __iter__(self) -> Iterator[bytes]:
        first = self.read(_THREAD_FROM)
        if len(first) < _THREAD_FROM:
            yield from self._chunks(first)
            return
        self._ahead = Ahead(self._chunks(first))
        yield from self._ahead

    def close(self) -> None:
        """Stop the decoding thread of an iteration that was given up."""
        if self._ahead is not None:
            self._ahead.close()
