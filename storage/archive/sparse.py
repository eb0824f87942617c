"""The four ways in which GNU tar stores files with holes: old GNU headers and PAX 0.0, 0.1 and 1.0.

A map is a list of ``(offset, length)`` of the data segments, in order; the file's true size comes with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from storage.archive.limits import Limits
from storage.archive.pax import Records, number
from storage.errors import StorageError

SparseMap = list[tuple[int, int]]

_BLOCK = 512


def check(segments: SparseMap, stored: int, real_size: int) -> SparseMap:
    """Return ``segments`` without empty ones if they are in order, fit the file and use all stored bytes.

    GNU tar begins each segment at a block of the archive, others do not: only the last may end within one.
    """
    position = total = 0
    for offset, length in segments:
        if offset < position or offset + length > real_size:
            raise StorageError("cannot read the archive: the map of a sparse file is out of order")
        if length and total % _BLOCK:
            raise StorageError("cannot read the archive: a segment of a sparse file does not begin at a block")
        position = offset + length
        total += length
    if total != stored:
        raise StorageError("cannot read the archive: the map of a sparse file does not fit its data")
    return [segment for segment in segments if segment[1]]


def _pairs(values: Iterable[int], limits: Limits) -> SparseMap:
    numbers = list(values)
    if len(numbers) % 2:
        raise StorageError("cannot read the archive: the map of a sparse file has half a pair")
    if len(numbers) // 2 > limits.sparse_segments:
        raise too_many(limits)
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def too_many(limits: Limits) -> StorageError:
    """The error for a map with more segments than allowed."""
    return StorageError(f"cannot unpack a sparse file of more than {limits.sparse_segments} segments")


def old_gnu(
    header: bytes, next_block: Callable[[], bytes], field: Callable[[bytes, str], int], limits: Limits
) -> tuple[SparseMap, int]:
    """Read the map of a type ``S`` header and its extension blocks: ``(segments, real size)``."""
    segments: SparseMap = []

    def add(block: bytes, start: int, count: int) -> None:
        for at in range(start, start + 24 * count, 24):
            if not block[at : at + 24].strip(b"\0 "):
                return
            segments.append((field(block[at : at + 12], "offset"), field(block[at + 12 : at + 24], "length")))
        if len(segments) > limits.sparse_segments:
            raise too_many(limits)

    add(header, 386, 4)
    extended = header[482]
    while extended:
        block = next_block()
        add(block, 0, 21)
        extended = block[504]
    return segments, field(header[483:495], "size")


def pax_map(records: Records, limits: Limits) -> SparseMap | None:
    """The map that PAX records hold themselves (forms 0.0 and 0.1); None where there is none.

    GNU tar wants to know its length first.
    """
    values = dict(records)
    inline = values.get(b"GNU.sparse.map")
    count = -1
    numbers: list[bytes] = []
    for keyword, value in records:
        if keyword == b"GNU.sparse.numblocks":
            count = number(value, "number of sparse segments")
        elif keyword in (b"GNU.sparse.offset", b"GNU.sparse.numbytes", b"GNU.sparse.map") and count < 0:
            raise StorageError("cannot read the archive: the map of a sparse file comes before its length")
        elif keyword in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            if keyword != (b"GNU.sparse.numbytes" if len(numbers) % 2 else b"GNU.sparse.offset"):
                raise StorageError("cannot read the archive: the map of a sparse file is out of order")
            numbers.append(value)
    if count < 0:
        return None
    if inline is not None:
        if inline.count(b",") > 2 * limits.sparse_segments:
            raise too_many(limits)
        numbers = inline.split(b",") if inline else []
    segments = _pairs((number(value, "sparse map") for value in numbers), limits)
    if len(segments) != count:
        raise StorageError("cannot read the archive: the map of a sparse file has a wrong length")
    return segments


def data_map(next_block: Callable[[], bytes], limits: Limits) -> tuple[SparseMap, int]:
    """Read the map that form 1.0 keeps in front of the data: ``(segments, bytes of the map with its padding)``."""
    buffer = bytearray()
    blocks = 0

    def take() -> int:
        nonlocal blocks
        while (newline := buffer.find(b"\n", 0, 24)) < 0:
            if len(buffer) > 24:
                raise StorageError("cannot read the archive: bad number in the map of a sparse file")
            buffer.extend(next_block())
            blocks += 1
        value = number(bytes(buffer[:newline]), "sparse map")
        del buffer[: newline + 1]
        return value

    count = take()
    if count > limits.sparse_segments:
        raise too_many(limits)
    segments = [(take(), take()) for _ in range(count)]
    return segments, blocks * _BLOCK
