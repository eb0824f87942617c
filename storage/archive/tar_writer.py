"""Writing tar archives as a stream: ustar where that suffices, PAX records where it does not, in bounded memory.

The field layout is that of POSIX.1-2017, pax, "ustar Interchange Format"; sparse files are in the form 1.0 of GNU tar's
manual, "Storing Sparse Files".
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence

from storage.archive.tar_reader import BLOCK

_NAME, _PREFIX, _LINK = 100, 155, 100  # bytes
_LARGEST_ID = 0o7777777
_LARGEST = 0o77777777777  # of size and time
_BUFFER = 1 << 18
_SMALL = 1 << 16  # a file up to this size goes through the buffer
_STEP = 1 << 20
_ZEROS = bytes(_STEP)

Segments = Sequence[tuple[int, int]]
"""Where a sparse file has data: (offset, length), in order."""


class TarWriter:
    """An archive that is written to the descriptor ``fd``, which stays the caller's.

    ``exact_times``: with fractions of seconds, which costs a record for each entry. ``mtime`` says which time (ns) a
    member with a given one gets. Raises OSError.
    """

    __slots__ = ("_buffer", "_exact", "_fd", "_mtime", "_sendfile")

    def __init__(self, fd: int, *, exact_times: bool = False, mtime: Callable[[int], int] = int) -> None:
        self._fd = fd
        self._mtime = mtime
        self._buffer = bytearray()
        self._exact = exact_times
        self._sendfile = True

    def add(
        self,
        name: bytes,
        kind: bytes,
        mode: int,
        uid: int,
        gid: int,
        time_ns: int,
        *,
        size: int = 0,
        link: bytes = b"",
        device: tuple[int, int] = (0, 0),
        xattrs: Mapping[bytes, bytes] | None = None,
        sparse: Segments | None = None,
    ) -> None:
        """Write the header of a member; of a file its ``size`` bytes must follow by ``file`` or ``data``.

        ``sparse``: only these segments follow.
        """
        records: list[tuple[bytes, bytes]] = []
        stored, mapping = size, b""
        if sparse is not None:
            mapping = _sparse_map(sparse, size)
            stored = len(mapping) + sum(length for _, length in sparse)
            records += [
                (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"),
                (b"GNU.sparse.name", name), (b"GNU.sparse.realsize", b"%d" % size),
            ]
            name = b"GNUSparseFile.0/" + name[-_NAME:].rpartition(b"/")[2]
        prefix, short = _split(name)
        if not short:
            records.append((b"path", name))
            short = name[:_NAME]
        if len(link) > _LINK:
            records.append((b"linkpath", link))
        if stored > _LARGEST:
            records.append((b"size", b"%d" % stored))
        if uid > _LARGEST_ID:
            records.append((b"uid", b"%d" % uid))
        if gid > _LARGEST_ID:
            records.append((b"gid", b"%d" % gid))
        seconds, fraction = divmod(self._mtime(time_ns), 1_000_000_000)
        if not 0 <= seconds <= _LARGEST or (self._exact and fraction):
            records.append((b"mtime", _time(seconds * 1_000_000_000 + (fraction if self._exact else 0))))
        for key, value in (xattrs or {}).items():
            records.append((b"SCHILY.xattr." + key, value))
        if records:
            content = b"".join(_record(key, value) for key, value in records)
            label = b"PaxHeaders.0/" + short[-80:]
            self._buffer += _header(label, b"", b"x", 0o644, 0, 0, len(content), 0, b"", (0, 0))
            self._buffer += content + bytes(-len(content) % BLOCK)
        self._buffer += _header(
            short, prefix, kind, mode, min(uid, _LARGEST_ID), min(gid, _LARGEST_ID), min(stored, _LARGEST),
            min(max(seconds, 0), _LARGEST), link[:_LINK], device,
        )  # fmt: skip
        self._buffer += mapping
        self._flush_if_full()

    def file(self, source: int, size: int) -> None:
        """The content of the file just added, from the descriptor ``source``; holes are read as zeros.

        Exactly ``size`` bytes are written: a file that shrinks meanwhile is filled up with zeros.
        """
        if size <= _SMALL:
            data = os.read(source, size) if size else b""
            while len(data) < size and (part := os.read(source, size - len(data))):
                data += part
            self._buffer += data
            self._buffer += bytes(size - len(data))
        elif os.fstat(source).st_blocks * 512 < size:
            position = 0
            for offset, length in segments(source, size):
                self._zeros(offset - position)
                self.data(source, offset, length)
                position = offset + length
            self._zeros(size - position)
        else:
            self.data(source, 0, size)
        self.pad(size)

    def sparse_file(self, source: int, parts: Segments) -> None:
        """The content of a file that was added with ``sparse``."""
        for offset, length in parts:
            self.data(source, offset, length)
        self.pad(sum(length for _, length in parts))

    def pad(self, size: int) -> None:
        """Fill the last block of ``size`` bytes of content."""
        self._buffer += bytes(-size % BLOCK)
        self._flush_if_full()

    def data(self, source: int, offset: int, length: int) -> None:
        """Content from a file, as it is; zeros for what the file has no longer."""
        self.flush()
        while length:
            try:
                done = self._copy(source, offset, min(length, _STEP))
            except OSError as error:
                if not self._sendfile or error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                    raise
                self._sendfile = False  # of a file system that cannot, or to a file opened for appending
                continue
            if not done:
                self._zeros(length)
                return
            offset += done
            length -= done

    def write(self, data: bytes) -> None:
        """Content of the file just added, from memory; ``pad`` must follow the last of it."""
        self.flush()
        self._write(data)

    def _copy(self, source: int, offset: int, length: int) -> int:
        if self._sendfile:
            return os.sendfile(self._fd, source, offset, length)
        data = os.pread(source, length, offset)
        self._write(data)
        return len(data)

    def _zeros(self, length: int) -> None:
        self.flush()
        while length > 0:
            length -= self._write(memoryview(_ZEROS)[: min(length, _STEP)])

    def _write(self, data: bytes | bytearray | memoryview) -> int:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        return len(data)

    def _flush_if_full(self) -> None:
        if len(self._buffer) >= _BUFFER:
            self.flush()

    def flush(self) -> None:
        """Write what is buffered."""
        if self._buffer:
            data, self._buffer = self._buffer, bytearray()
            self._write(data)

    def finish(self) -> None:
        """End the archive."""
        self._buffer += bytes(2 * BLOCK)
        self.flush()


def segments(source: int, size: int) -> list[tuple[int, int]]:
    """Where the first ``size`` bytes of an open file are data (lseek(2), SEEK_DATA)."""
    found = []
    position = 0
    while position < size:
        try:
            start = os.lseek(source, position, os.SEEK_DATA)
            position = min(os.lseek(source, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                break
            if error.errno == errno.EINVAL:  # the file system does not know holes
                return [(0, size)]
            raise
        if start < position:
            found.append((start, position - start))
    return found


def _split(name: bytes) -> tuple[bytes, bytes]:
    """(prefix, name) of a ustar header; two empty strings where the name does not fit."""
    if len(name) <= _NAME:
        return b"", name
    start = max(len(name.rstrip(b"/")) - _NAME - 1, 1)
    slash = name.find(b"/", start, -1)
    if not 0 < slash <= _PREFIX or len(name) - slash - 1 > _NAME:
        return b"", b""
    return name[:slash], name[slash + 1 :]


def _header(
    name: bytes, prefix: bytes, kind: bytes, mode: int, uid: int, gid: int, size: int, time: int, link: bytes,
    device: tuple[int, int],
) -> bytes:  # fmt: skip
    head = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0" % (name.ljust(100, b"\0"), mode & 0o7777, uid, gid, size, time)
    tail = b"%b%bustar\00000%b%07o\0%07o\0%b" % (
        kind, link.ljust(100, b"\0"), bytes(64), device[0] & _LARGEST_ID, device[1] & _LARGEST_ID,
        prefix.ljust(167, b"\0"),
    )  # fmt: skip
    return b"%b%06o\0 %b" % (head, sum(head) + sum(tail) + 8 * 32, tail)


def _record(key: bytes, value: bytes) -> bytes:
    """``LENGTH KEY=VALUE\\n``, where the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) > len(str(rest)):
        length += 1
    return b"%d %b=%b\n" % (length, key, value)


def _time(nanoseconds: int) -> bytes:
    sign = b"-" if nanoseconds < 0 else b""
    seconds, fraction = divmod(abs(nanoseconds), 1_000_000_000)
    return b"%b%d.%09d" % (sign, seconds, fraction) if fraction else b"%b%d" % (sign, seconds)


def _sparse_map(parts: Segments, size: int) -> bytes:
    # GNU tar takes the end of the last segment for the end of the file: a hole there needs an empty one behind it.
    closed = [*parts, (size, 0)]
    lines = [b"%d\n" % len(closed), *(b"%d\n%d\n" % part for part in closed)]
    text = b"".join(lines)
    return text + bytes(-len(text) % BLOCK)


