"""The tar reader against archives that are odd, ambiguous or made to hurt it."""

from __future__ import annotations

import io
import subprocess
import tarfile
import time
import tracemalloc
from pathlib import Path

import pytest

from storage.archive.limits import Limits
from storage.archive.tar_reader import Entry, TarReader, number
from storage.errors import StorageError
from tests.support.tarbytes import BLOCK, END, block, gnu_long, padded, pax


def blocks(count: int) -> tuple[bytes, bytes]:
    """The record that comes before the map of a sparse file."""
    return b"GNU.sparse.numblocks", b"%d" % count


def read(data: bytes, limits: Limits | None = None, step: int = 0) -> list[tuple[Entry, bytes]]:
    """All entries with their stored bytes; ``step`` cuts the stream into chunks of that size."""
    step = step or len(data) or 1
    chunks = [data[at : at + step] for at in range(0, len(data), step)]
    reader = TarReader(chunks, limits or Limits())
    return [(entry, b"".join(map(bytes, reader.data()))) for entry in reader]


def names(data: bytes) -> list[bytes]:
    return [entry.name for entry, _ in read(data)]


# Row 18: the same names as GNU tar prints, or refused.
AGREED: dict[str, tuple[bytes, list[bytes]]] = {
    "prefix": (block(b"n", prefix=b"p/q"), [b"p/q/n"]),
    "prefix is no prefix in GNU's header": (block(b"n", magic=b"ustar  \0", tail=bytes(155)), [b"n"]),
    "no prefix in v7": (block(b"n", magic=bytes(8), prefix=b"p"), [b"n"]),
    "long name and ustar prefix": (gnu_long(b"long") + block(b"n", prefix=b"p"), [b"long"]),
    "long name": (gnu_long(b"x/" * 100 + b"y") + block(b"n"), [b"x/" * 100 + b"y"]),
    "pax name": (pax((b"path", b"other")) + block(b"n"), [b"other"]),
    "pax name twice": (pax((b"path", b"one"), (b"path", b"two")) + block(b"n"), [b"two"]),
    "pax size": (pax((b"size", b"5")) + block(b"n", size=0) + padded(b"hello") + block(b"m"), [b"n", b"m"]),
    "volume label": (block(b"label", b"V") + block(b"n"), [b"n"]),
    "contiguous file": (block(b"n", b"7", 3) + padded(b"abc"), [b"n"]),
    "old directory": (block(b"d/", b"\0", magic=bytes(8)), [b"d/"]),
    "hard link with a size": (block(b"h", b"1", 5000, link=b"n") + block(b"m"), [b"h", b"m"]),
    "no end marker": (block(b"n", size=3) + padded(b"abc"), [b"n"]),
    "global comment": (pax((b"comment", b"hello"), kind=b"g") + block(b"n"), [b"n"]),
    "spaces in numbers": (block(b"n", size=b"         3 \0") + padded(b"abc") + block(b"m"), [b"n", b"m"]),
}


@pytest.mark.parametrize("case", AGREED)
def test_same_names_as_gnu_tar(case: str, tmp_path: Path) -> None:
    data, expected = AGREED[case]
    end = b"" if case == "no end marker" else END
    (tmp_path / "a.tar").write_bytes(data + end)
    printed = subprocess.run(
        ["tar", "--quoting-style=literal", "-tf", str(tmp_path / "a.tar")], capture_output=True, check=False
    ).stdout.splitlines()
    ours = names(data + end)
    assert ours == expected
    assert [name.rstrip(b"/") for name in printed if name != b"label"] == [name.rstrip(b"/") for name in expected]


REFUSED: dict[str, bytes] = {
    "negative size": block(size=b"\xff" * 12),
    "size beyond any file": block(size=b"\x80" + b"\xff" * 11),
    "negative size in octal": block(size=b"-0000000001\0"),
    "size with an underscore": block(size=b"0000000_001\0"),
    "size in a pax record that is negative": pax((b"size", b"-1")) + block(),
    "size in a pax record of 10^5 digits": pax((b"size", b"9" * 100_000)) + block(),
    "owner beyond 32 bits": block(uid=b"\x80" + b"\xff" * 7),
    "negative owner": block(uid=b"\xff" * 8),
    "digits 8 and 9": block(size=b"00000000089\0"),
    "two numbers in a field": block(size=b"1\x0022\x00".ljust(12, b"\0")),
    "checksum": block(checksum=1234),
    "unknown type": block(kind=b"Q"),
    "multi-volume": block(kind=b"M"),
    "directory with data": block(b"d", b"5", 512) + bytes(512),
    "symlink with data": block(b"l", b"2", 3, link=b"x") + padded(b"abc"),
    "file with a trailing slash": block(b"f/", b"0"),
    "two pax headers": pax((b"path", b"a")) + pax((b"path", b"b")) + block(),
    "two long names": gnu_long(b"a") + gnu_long(b"b") + block(),
    "pax and GNU long name": pax((b"path", b"a")) + gnu_long(b"b") + block(),
    "pax and GNU long link": gnu_long(b"b", b"K") + pax((b"linkpath", b"a")) + block(kind=b"2"),
    "nothing behind a pax header": pax((b"path", b"a")),
    "nothing behind a long name": gnu_long(b"a"),
    "a zero block in the middle": block() + bytes(BLOCK) + block(),
    "global path": pax((b"path", b"/etc/passwd"), kind=b"g") + block(),
    "global size": pax((b"size", b"0"), kind=b"g") + block(size=512) + bytes(512),
    "global xattr": pax((b"SCHILY.xattr.user.x", b"v"), kind=b"g") + block(),
    "NUL in a pax path": pax((b"path", b"a\0b")) + block(),
    "pax record without length": block(b"x", b"x", 5) + padded(b"path="),
    "pax record too long": block(b"x", b"x", 9) + padded(b"99 path=a"),
    "pax record of no length": block(b"x", b"x", 9) + padded(b"0 path=a\n"),
    "pax record without equals": block(b"x", b"x", 9) + padded(b"9 patha_\n"),
    "pax record without newline": block(b"x", b"x", 9) + padded(b"9 path=ab"),
    "pax time": pax((b"mtime", b"1e400")) + block(),
    "cut header": block()[:300],
    "cut data": block(size=5000) + bytes(512),
    "cut pax header": block(b"x", b"x", 5000) + bytes(512),
    "ustar prefix in an unknown version": block(b"n", magic=b"ustar\x0099", prefix=b"p"),
    "huge pax header": block(b"x", b"x", 1 << 40),
    "huge long name": block(b"x", b"L", 1 << 40),
    "base64 of libarchive": pax((b"LIBARCHIVE.xattr.user.x", b"*")) + block(),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    started = time.monotonic()
    with pytest.raises(StorageError, match="^cannot"):
        read(REFUSED[case] + END if "nothing" not in case and "cut" not in case else REFUSED[case])
    assert time.monotonic() - started < 1


SPARSE_REFUSED: dict[str, bytes] = {
    "0.1 with half a pair": pax(blocks(1), (b"GNU.sparse.map", b"0,1,2"), (b"GNU.sparse.size", b"9")) + block(),
    "0.1 out of order": pax(
        blocks(2), (b"GNU.sparse.map", b"5,1,0,1"), (b"GNU.sparse.size", b"9"),
    ) + block(size=2) + bytes(512),
    "0.1 beyond the end": pax(
        blocks(1), (b"GNU.sparse.map", b"8,2"), (b"GNU.sparse.size", b"9"),
    ) + block(size=2) + bytes(512),
    "0.1 more than stored": pax(
        blocks(1), (b"GNU.sparse.map", b"0,5"), (b"GNU.sparse.size", b"9"),
    ) + block(size=2) + bytes(512),
    "0.1 less than stored": pax(
        blocks(1), (b"GNU.sparse.map", b"0,1"), (b"GNU.sparse.size", b"9"),
    ) + block(size=2) + bytes(512),
    "0.1 without size": pax(blocks(1), (b"GNU.sparse.map", b"0,2")) + block(size=2) + bytes(512),
    "0.0 with a wrong count": pax(
        (b"GNU.sparse.numblocks", b"2"), (b"GNU.sparse.size", b"9"), (b"GNU.sparse.offset", b"0"),
        (b"GNU.sparse.numbytes", b"2"),
    ) + block(size=2) + bytes(512),
    "0.0 swapped": pax(
        (b"GNU.sparse.numblocks", b"1"), (b"GNU.sparse.size", b"9"), (b"GNU.sparse.numbytes", b"2"),
        (b"GNU.sparse.offset", b"0"),
    ) + block(size=2) + bytes(512),
    "1.0 with 10^9 entries": pax(
        (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9"),
    ) + block(size=1024) + padded(b"1000000000\n0\n1\n") + bytes(512),
    "1.0 with a map longer than the data": pax(
        (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9"),
    ) + block(size=512) + padded(b"3\n0\n1\n"),
    "1.0 without a newline": pax(
        (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9"),
    ) + block(size=1024) + b"1" * 1024,
    "version 2": pax((b"GNU.sparse.major", b"2"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9"))
    + block(size=512) + bytes(512),
    "old GNU beyond the end": block(
        kind=b"S", size=4, magic=b"ustar  \0",
        tail=bytes(41) + b"00000000144\x0000000000004\0" + bytes(72) + b"\0" + b"00000000005\0",
    ) + padded(b"data"),
    "old GNU without its extension": block(
        kind=b"S", size=4, magic=b"ustar  \0",
        tail=bytes(41) + b"00000000000\x0000000000004\0" + bytes(72) + b"\x01" + b"00000000005\0",
    ),
}


@pytest.mark.parametrize("case", SPARSE_REFUSED)
def test_sparse_refused(case: str) -> None:
    with pytest.raises(StorageError, match="^cannot"):
        read(SPARSE_REFUSED[case])


def test_sparse_map_is_bounded() -> None:
    """Row 10: a map that is really there, with more entries than allowed."""
    limits = Limits(sparse_segments=1000)
    pairs = b",".join(b"%d,0" % at for at in range(2000))
    with pytest.raises(StorageError, match="more than 1000 segments"):
        read(pax(blocks(2000), (b"GNU.sparse.map", pairs), (b"GNU.sparse.size", b"9999")) + block(), limits)
    extension = (b"00000000000\x0000000000000\0" * 21).ljust(504, b"\0") + b"\x01" + bytes(7)
    header = block(
        kind=b"S", magic=b"ustar  \0",
        tail=bytes(41) + b"00000000000\x0000000000000\0" * 4 + b"\x01" + b"00000000005\0",
    )
    with pytest.raises(StorageError, match="more than 1000 segments"):
        read(header + extension * 200, limits)


def test_trailing_zeros_are_streamed() -> None:
    """Row 10: much padding behind the end takes time, not memory."""
    chunk = bytes(1 << 20)
    tracemalloc.start()
    reader = TarReader((data for data in [block() + END, *([chunk] * 2000)]), Limits())
    assert len(list(reader)) == 1
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_endless_extended_headers() -> None:
    """Row 9: nothing loops, not even a million labels in front of one file."""
    with pytest.raises(StorageError, match="more than 100 entries"):
        read(block(kind=b"V") * 200 + block(), Limits(entries=100))


@pytest.mark.parametrize("step", [1, 7, 511, 512, 513, 4096])
def test_chunks_of_any_size(step: int) -> None:
    data = pax((b"path", b"a" * 300)) + block(size=1500) + padded(bytes(range(250)) * 6) + block(b"g", size=1)
    data += padded(b"z") + END
    assert [(entry.name, text) for entry, text in read(data, step=step)] == [
        (b"a" * 300, bytes(range(250)) * 6), (b"g", b"z"),
    ]


def test_unread_data_is_skipped() -> None:
    reader = TarReader([block(size=9000) + bytes(9216) + block(b"g") + END], Limits())
    assert [entry.name for entry in reader] == [b"f", b"g"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"0000644\0", 0o644), (b"   644 \0", 0o644), (b"\0" * 8, 0), (b"\x80" + b"\0" * 6 + b"\x07", 7),
        (b"\x80\0\0\0\x01\0\0\0", 1 << 24), (b"\xff" * 8, -1), (b"\xff" * 7 + b"\xfe", -2), (b"7777777\0", 0o7777777),
        (b"77777777", 0o77777777),
    ],
)
def test_numbers(field: bytes, value: int) -> None:
    assert number(field, "number") == value


def test_values_of_pax_records() -> None:
    entry, _ = read(
        pax(
            (b"uid", b"3000000"), (b"gid", b"4000000"), (b"mtime", b"-1.5"), (b"SCHILY.xattr.user.a", b"one\0two"),
            (b"LIBARCHIVE.xattr.user.b%20c", b"aGk"), (b"hdrcharset", b"BINARY"), (b"path", b"\xff\xfe"),
        ) + block() + END
    )[0]
    assert (entry.uid, entry.gid, entry.mtime_ns, entry.name) == (3_000_000, 4_000_000, -1_500_000_000, b"\xff\xfe")
    assert entry.xattrs == {b"user.a": b"one\0two", b"user.b c": b"hi"}


def test_global_header_counts_until_the_next() -> None:
    data = pax((b"uid", b"7"), kind=b"g") + block(b"a") + pax((b"uid", b"8")) + block(b"b") + block(b"c")
    data += pax((b"uid", b""), kind=b"g") + block(b"d", uid=b"0000005\0") + END
    assert [(entry.name, entry.uid) for entry, _ in read(data)] == [(b"a", 7), (b"b", 8), (b"c", 7), (b"d", 5)]


def test_signed_checksum_of_old_tars() -> None:
    header = bytearray(block(b"\xff\xfe"))
    signed = sum(byte - 256 if byte > 127 else byte for byte in header[:148] + header[156:]) + 256
    header[148:156] = b"%06o\0 " % signed
    assert names(bytes(header) + END) == [b"\xff\xfe"]


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_of_python(format_: int) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=format_) as writer:
        for name, kind in (("d", tarfile.DIRTYPE), ("d/" + "n" * 90, tarfile.REGTYPE), ("l", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.uid = kind, "target" if kind == tarfile.SYMTYPE else "", 1234
            writer.addfile(info)
    assert [entry.name.rstrip(b"/") for entry, _ in read(made.getvalue())] == [b"d", b"d/" + b"n" * 90, b"l"]


