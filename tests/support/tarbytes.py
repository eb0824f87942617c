"""Archives put together field by field: what no well-behaved program would write."""

from __future__ import annotations

BLOCK = 512
END = bytes(2 * BLOCK)
GNU = b"ustar  \0"
V7 = bytes(8)


def block(
    name: bytes = b"f",
    kind: bytes = b"0",
    size: bytes | int = 0,
    mode: bytes | int = 0o644,
    uid: bytes | int = 0,
    mtime: bytes | int = 0,
    link: bytes = b"",
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
    tail: bytes = b"",
    checksum: int | None = None,
    gid: bytes | int = 0,
    device: tuple[int, int] = (0, 0),
) -> bytes:
    """One header, with every field as given; ``tail`` is what follows the device numbers, in place of the prefix."""
    head = name.ljust(100, b"\0") + _field(mode, 8) + _field(uid, 8) + _field(gid, 8) + _field(size, 12)
    rest = kind + link.ljust(100, b"\0") + magic + bytes(64) + _field(device[0], 8) + _field(device[1], 8)
    rest += tail or prefix.ljust(155, b"\0")
    return summed((head + _field(mtime, 12) + b" " * 8 + rest).ljust(BLOCK, b"\0"), checksum)


def _field(value: bytes | int, width: int) -> bytes:
    return value if isinstance(value, bytes) else b"%0*o\0" % (width - 1, value)


def summed(header: bytes, checksum: int | None = None) -> bytes:
    """The header with its checksum, or another one."""
    if checksum is None:
        checksum = sum(header[:148]) + 8 * 32 + sum(header[156:])
    return header[:148] + b"%06o\0 " % checksum + header[156:]


def padded(data: bytes) -> bytes:
    """Data, filled up to whole blocks."""
    return data + bytes(-len(data) % BLOCK)


def record(keyword: bytes, value: bytes) -> bytes:
    """One PAX record."""
    rest = len(keyword) + len(value) + 3
    length = rest + len(b"%d" % rest)
    length = rest + len(b"%d" % length)
    return b"%d %s=%s\n" % (length, keyword, value)


def pax(*pairs: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    """An extended header with these records; kind ``g``: a global one."""
    data = b"".join(record(keyword, value) for keyword, value in pairs)
    return block(b"pax", kind, len(data)) + padded(data)


def gnu_long(text: bytes, kind: bytes = b"L") -> bytes:
    """GNU's header for a long name; kind ``K``: for a long target of a link."""
    return block(b"././@LongLink", kind, len(text) + 1, magic=GNU) + padded(text + b"\0")
