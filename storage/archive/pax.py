"""PAX extended headers (POSIX.1-2017, pax, "pax Interchange Format"; vendor keys of GNU tar, star and libarchive)."""

from __future__ import annotations

import binascii

from storage.errors import StorageError, shown

_NUMBER_DIGITS = 20  # no field of 64 bits has more
_SCHILY_XATTR = b"SCHILY.xattr."
_LIBARCHIVE_XATTR = b"LIBARCHIVE.xattr."

Records = list[tuple[bytes, bytes]]


def parse(data: bytes) -> Records:
    """Split an extended header into its ``(keyword, value)`` records, in order. Raises StorageError if malformed."""
    records: Records = []
    position, end = 0, len(data)
    while position < end:
        space = data.find(b" ", position, position + _NUMBER_DIGITS)
        digits = data[position:space]
        if space < 0 or not digits.isdigit():
            if not data[position:].strip(b"\0"):
                break  # GNU tar accepts zeros after the last record
            raise StorageError("cannot read the archive: a PAX record has no length")
        record_end = position + int(digits)
        if record_end > end or record_end <= space + 1 or data[record_end - 1 : record_end] != b"\n":
            raise StorageError("cannot read the archive: a PAX record has a wrong length")
        keyword, equals, value = data[space + 1 : record_end - 1].partition(b"=")
        if not equals or not keyword:
            raise StorageError("cannot read the archive: a PAX record has no keyword")
        if b"\0" in value and keyword in (b"path", b"linkpath", b"GNU.sparse.name"):
            raise StorageError("cannot read the archive: a name with a NUL byte")
        records.append((keyword, value))
        position = record_end
    return records


def number(value: bytes, what: str) -> int:
    """Parse a decimal, not negative number of at most 20 digits."""
    if not value.isdigit() or len(value) > _NUMBER_DIGITS:
        raise StorageError(f"cannot read the archive: bad {what} {shown(value.decode('latin-1'))}")
    return int(value)


def time_ns(value: bytes) -> int:
    """Parse seconds with an optional sign and fraction to nanoseconds (digits beyond the ninth are cut)."""
    sign = -1 if value.startswith(b"-") else 1
    seconds, _, fraction = value.removeprefix(b"-").partition(b".")
    if len(value) > 64 or not seconds.isdigit() or (fraction and not fraction.isdigit()):
        raise StorageError(f"cannot read the archive: bad time {shown(value.decode('latin-1'))}")
    return sign * (int(seconds) * 1_000_000_000 + int((fraction + b"000000000")[:9]))


def _unquoted(text: bytes) -> bytes:
    """``%41`` as ``A``; a percent sign without two hexadecimal digits is one. (``urllib`` loads much for this.)"""
    first, *parts = text.split(b"%")
    decoded = [first]
    for part in parts:
        try:
            decoded.append(binascii.a2b_hex(part[:2]) + part[2:] if len(part) > 1 else b"%" + part)
        except binascii.Error:
            decoded.append(b"%" + part)
    return b"".join(decoded)


def xattrs(records: Records) -> dict[bytes, bytes]:
    """The extended attributes among ``records``; star's form wins over libarchive's."""
    found: dict[bytes, bytes] = {}
    for keyword, value in records:
        if keyword.startswith(_LIBARCHIVE_XATTR):
            name = _unquoted(keyword[len(_LIBARCHIVE_XATTR):])
            try:
                found[name] = binascii.a2b_base64(value + b"=" * (-len(value) % 4), strict_mode=True)
            except binascii.Error:
                raise StorageError("cannot read the archive: a LIBARCHIVE.xattr value is not base64") from None
    for keyword, value in records:
        if keyword.startswith(_SCHILY_XATTR):
            found[keyword[len(_SCHILY_XATTR):]] = value
    return found
