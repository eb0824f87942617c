"""A tar reader for hostile input: v7, ustar, GNU and PAX archives as a stream, in bounded memory.

Where GNU tar and Go's archive/tar would read the same bytes as different trees the archive is refused, so that an
image is the same for every tool. Names are bytes. tar(5) of libarchive and "Basic Tar Format" of GNU tar's manual
describe the fields.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator

from storage.archive import pax, sparse
from storage.archive.limits import Limits
from storage.errors import StorageError, shown

BLOCK = 512
_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
_ZEROS = bytes(BLOCK)
_MAX_SIZE = 1 << 62
_MAX_ID = (1 << 32) - 2  # 2^32-1 is "no id" in every interface of the kernel

REGULAR, HARDLINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_KINDS = {
    b"\0": REGULAR, b"0": REGULAR, b"7": REGULAR, b"S": REGULAR, b"1": HARDLINK, b"2": SYMLINK, b"3": CHARACTER,
    b"4": BLOCK_DEVICE, b"5": DIRECTORY, b"6": FIFO,
}
# Per-file keywords in a global header, which GNU tar obeys and Go ignores: the tools would see two trees.
_NOT_GLOBAL = (b"path", b"linkpath", b"size", b"GNU.sparse.", b"SCHILY.xattr.", b"LIBARCHIVE.xattr.")


class Entry:
    """One member. ``name`` and ``linkname`` are as in the archive; ``size`` is the file's true size in bytes."""

    __slots__ = ("device", "gid", "kind", "linkname", "mode", "mtime_ns", "name", "size", "sparse", "uid", "xattrs")

    def __init__(self, name: bytes, kind: bytes) -> None:
        self.name = name
        self.kind = kind
        self.mode = 0
        self.uid = 0
        self.gid = 0
        self.size = 0
        self.mtime_ns = 0
        self.linkname = b""
        self.device = (0, 0)
        self.sparse: sparse.SparseMap | None = None
        self.xattrs: dict[bytes, bytes] | None = None


def _broken(text: str, name: bytes = b"") -> StorageError:
    where = f" at {shown(name.decode('utf-8', 'surrogateescape'))}" if name else ""
    return StorageError(f"cannot read the archive{where}: {text}")


def number(field: bytes, what: str) -> int:
    """A numeric header field: octal text, or base-256 where the top bit of the first byte is set."""
    text = field.rstrip(b" \0")
    if text.isdigit() and len(text) <= 22:
        try:
            return int(text, 8)
        except ValueError:
            raise _broken(f"bad {what}") from None
    if not text:
        return 0
    if field[0] & 0x80:
        value = int.from_bytes(field, "big", signed=True)
        # The marker bit is no part of a positive number; a negative one is plain two's complement.
        return value if field[0] == 0xFF else value + (1 << (8 * len(field) - 1))
    inner, nul, rest = field.lstrip(b" ").partition(b"\0")
    inner = inner.rstrip(b" ")
    if not inner.isdigit() or (nul and rest.strip(b"\0 ")):
        raise _broken(f"bad {what}")
    try:
        return int(inner, 8)
    except ValueError:
        raise _broken(f"bad {what}") from None


def _signed_sum_fits(header: bytes, checksum: int) -> bool:
    """Old Sun and NeXT tars summed signed bytes."""
    signed = sum(header[:148]) + sum(header[156:]) + 8 * 32 - 256 * sum(byte > 127 for byte in header)
    return signed == checksum


class TarReader:
    """Iterate over the entries of the uncompressed ``chunks``; ``data`` gives the current entry's bytes.

    Raises StorageError for everything that is not a well-formed, unambiguous archive within ``limits``.
    """

    def __init__(self, chunks: Iterable[bytes], limits: Limits, seek: Callable[[int], None] | None = None) -> None:
        """``seek`` makes ``chunks`` go on that many bytes further, where they come from something that can."""
        self._chunks = iter(chunks)
        self._seek = seek
        self._limits = limits
        self._chunk = b""
        self._position = 0
        self._data_left = 0  # of the current entry, still in the stream
        self._padding = 0
        self._globals: dict[bytes, bytes] = {}

    # The window over the stream.

    def _refill(self) -> bool:
        for chunk in self._chunks:
            if chunk:
                self._chunk, self._position = chunk, 0
                return True
        self._chunk, self._position = b"", 0
        return False

    def _take(self, size: int) -> bytes:
        """Exactly ``size`` bytes, fewer at the end of the stream."""
        start = self._position
        data = self._chunk[start : start + size]
        self._position += len(data)
        if len(data) < size:
            parts = [data]
            missing = size - len(data)
            while missing and self._refill():
                part = self._chunk[:missing]
                self._position = len(part)
                missing -= len(part)
                parts.append(part)
            data = b"".join(parts)
        return data

    def _skip(self, size: int) -> None:
        while size:
            step = min(size, len(self._chunk) - self._position)
            self._position += step
            size -= step
            if size and self._seek is not None:
                self._seek(size)
                self._chunk, self._position = b"", 0
                return
            if size and not self._refill():
                raise _broken("it ends in the middle of a file")

    @property
    def ahead(self) -> int:
        """How many bytes of ``chunks`` were taken beyond the place that is read now."""
        return len(self._chunk) - self._position

    def _block(self) -> bytes:
        block = self._take(BLOCK)
        if len(block) < BLOCK:
            raise _broken("it ends in the middle of a header")
        return block

    def _map_block(self) -> bytes:
        if self._data_left < BLOCK:
            raise _broken("the map of a sparse file is longer than its data")
        self._data_left -= BLOCK
        return self._block()

    def data(self) -> Iterator[memoryview]:
        """The stored bytes of the current entry, each once (of a sparse file: its segments one after the other)."""
        while self._data_left:
            step = min(self._data_left, len(self._chunk) - self._position)
            if step:
                view = memoryview(self._chunk)[self._position : self._position + step]
                self._position += step
                self._data_left -= step
                yield view
            elif not self._refill():
                raise _broken("it ends in the middle of a file")

    def _finish_entry(self) -> None:
        self._skip(self._data_left + self._padding)
        self._data_left = self._padding = 0

    # Headers.

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries; what is left of an entry's data is skipped when the next is asked for."""
        count = 0
        while (entry := self._next_entry()) is not None:
            count += 1
            if count > self._limits.entries:
                raise StorageError(f"cannot unpack more than {self._limits.entries} entries from one layer")
            yield entry
            self._finish_entry()
        while self._refill():  # to the end of the stream: the DiffID covers trailing bytes too
            pass

    def _extended(self, size: int) -> bytes:
        """The content of an extended header."""
        if size > self._limits.header_bytes:
            raise _broken(f"an extended header has more than {self._limits.header_bytes} bytes")
        padded = -(-size // BLOCK) * BLOCK
        data = self._take(padded)
        if len(data) < padded:
            raise _broken("it ends in the middle of a header")
        return data[:size]

    def _next_entry(self) -> Entry | None:
        long_name: bytes | None = None
        long_link: bytes | None = None
        records: pax.Records | None = None
        for _ in range(self._limits.entries):
            header = self._take(BLOCK)
            started = long_name is not None or long_link is not None or records is not None
            if len(header) < BLOCK:
                if header or started:
                    raise _broken("it ends in the middle of a header")
                return None
            if header == _ZEROS:
                following = self._take(BLOCK)
                if started or following.strip(b"\0"):
                    raise _broken("there is a block of zeros in the middle")
                return None
            fields = _HEADER.unpack(header)
            self._check_sum(header, fields[6])
            kind = fields[7]
            if kind in _KINDS:
                entry = self._entry(header, fields, records, long_name, long_link)
                return entry
            size = number(fields[4], "size")
            if size < 0:
                raise _broken("negative size")
            content = self._extended(size) if kind in b"LKxgV" else b""
            if kind == b"L" and long_name is None:
                long_name = content.partition(b"\0")[0]
            elif kind == b"K" and long_link is None:
                long_link = content.partition(b"\0")[0]
            elif kind == b"x" and records is None:
                records = pax.parse(content)
            elif kind == b"g":
                self._add_globals(pax.parse(content))
            elif kind != b"V":  # V: the label of the volume, no member
                raise _broken(f"unknown or repeated header of type {shown(kind.decode('latin-1'))}")
        raise StorageError(f"cannot unpack more than {self._limits.entries} entries from one layer")

    def _check_sum(self, header: bytes, field: bytes) -> None:
        checksum = number(field, "checksum")
        # Adler-32's low half is the byte sum modulo 65521, in C; the field itself counts as eight spaces.
        total = (zlib.adler32(header) & 0xFFFF) - 1 - sum(field) + 8 * 32
        if (total - checksum) % 65521 and not _signed_sum_fits(header, checksum):
            raise _broken("wrong checksum: this is not a tar archive, or it is damaged")

    def _add_globals(self, records: pax.Records) -> None:
        for keyword, value in records:
            if keyword.startswith(_NOT_GLOBAL):
                raise _broken("a global header sets what belongs to one file")
            if keyword in (b"uid", b"gid", b"mtime"):
                self._globals[keyword] = value

    def _entry(
        self,
        header: bytes,
        fields: tuple[bytes, ...],
        records: pax.Records | None,
        long_name: bytes | None,
        long_link: bytes | None,
    ) -> Entry:
        name, mode, uid, gid, size, mtime, _, kind, linkname, magic = fields[:10]
        if 0 in name:
            name = name[: name.index(0)]
        if fields[14][0] and magic[:6] == b"ustar\0":
            if magic[6:] != b"00":
                raise _broken("a ustar header of an unknown version", name)
            name = fields[14].partition(b"\0")[0] + b"/" + name
        if long_name is not None:
            name = long_name
        entry = Entry(name, _KINDS[kind])
        stored = number(size, "size")
        entry.mode = number(mode, "mode") & 0o7777
        entry.uid = number(uid, "owner")
        entry.gid = number(gid, "group")
        entry.mtime_ns = number(mtime, "time") * 1_000_000_000
        if long_link is not None:
            entry.linkname = long_link
        elif linkname[0]:
            entry.linkname = linkname.partition(b"\0")[0]
        if records is not None or self._globals:
            stored = self._apply(entry, records or [], stored, long_name is not None, long_link is not None)
        if not 0 <= stored <= _MAX_SIZE:
            raise _broken("negative or impossible size", entry.name)
        if not (0 <= entry.uid <= _MAX_ID and 0 <= entry.gid <= _MAX_ID):
            raise _broken("negative or impossible owner", entry.name)
        entry.size = stored
        if entry.kind == REGULAR:
            self._regular(entry, kind, header, records, stored)
        else:
            if stored and entry.kind != HARDLINK:
                raise _broken("a member that is no file has data", entry.name)
            entry.size = 0  # of a hard link: GNU tar and Go agree that no data follows
            if entry.kind in (CHARACTER, BLOCK_DEVICE):
                entry.device = (number(fields[12], "device"), number(fields[13], "device"))
        return entry

    def _regular(
        self, entry: Entry, kind: bytes, header: bytes, records: pax.Records | None, stored: int
    ) -> None:
        if entry.name.endswith(b"/"):
            if kind != b"\0" or stored:
                raise _broken("a file's name ends with a slash", entry.name)
            entry.kind = DIRECTORY  # the way of v7, which had no type for directories
            return
        self._data_left = stored
        self._padding = -stored % BLOCK
        if kind == b"S":
            segments, entry.size = sparse.old_gnu(header, self._block, number, self._limits)
            entry.sparse = sparse.check(segments, stored, entry.size)
        elif records is not None:
            self._pax_sparse(entry, records)

    def _pax_sparse(self, entry: Entry, records: pax.Records) -> None:
        values = dict(records)
        major = values.get(b"GNU.sparse.major")
        segments = sparse.pax_map(records, self._limits)
        if major is None and segments is None:
            return
        if segments is None:
            if major != b"1" or values.get(b"GNU.sparse.minor") != b"0":
                raise _broken("a sparse file of an unknown form", entry.name)
            segments, _ = sparse.data_map(self._map_block, self._limits)
        real = values.get(b"GNU.sparse.realsize", values.get(b"GNU.sparse.size"))
        if real is None:
            raise _broken("a sparse file without its size", entry.name)
        entry.size = pax.number(real, "size")
        entry.sparse = sparse.check(segments, self._data_left, entry.size)
        entry.name = values.get(b"GNU.sparse.name", entry.name)

    def _apply(
        self, entry: Entry, records: pax.Records, stored: int, has_long_name: bool, has_long_link: bool
    ) -> int:
        """Let PAX records override the header; returns the stored size."""
        values = {**self._globals, **dict(records)}
        if (has_long_name and values.get(b"path")) or (has_long_link and values.get(b"linkpath")):
            raise _broken("both a GNU and a PAX long name", entry.name)
        for keyword, value in values.items():
            if not value:
                continue  # an empty value takes an earlier one back
            if keyword == b"path":
                entry.name = value
            elif keyword == b"linkpath":
                entry.linkname = value
            elif keyword == b"size":
                stored = pax.number(value, "size")
            elif keyword == b"mtime":
                entry.mtime_ns = pax.time_ns(value)
            elif keyword == b"uid":
                entry.uid = pax.number(value, "owner")
            elif keyword == b"gid":
                entry.gid = pax.number(value, "group")
        entry.xattrs = pax.xattrs(records) or None
        return stored
