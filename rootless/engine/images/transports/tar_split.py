"""A layer's archive, byte for byte, out of its unpacked files and the notes that podman keeps of the rest (tar-split).

The notes are lines of JSON: of type 2 bytes of the archive (``payload``, base64), of type 1 a file whose ``size`` bytes
follow. Files are found below one directory, through no link; whether all is as it was the caller's digest tells.
"""

from __future__ import annotations

import binascii
import os
import stat
from collections.abc import Iterator

from rootless.linux.path import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2
from storage import jsonfast
from storage.archive.stream import Source, decoded
from storage.errors import StorageError, shown

_BESIDE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
_LINE = 16 << 20  # bytes: a header with long extended records
_CHUNK = 1 << 20


def archive(notes: Source, directory: int) -> Iterator[bytes]:
    """The archive that ``notes``, compressed or not, and the files below ``directory`` make. Raises StorageError."""
    pending = bytearray()
    for line in _lines(notes):
        entry = jsonfast.loads(line)
        if not isinstance(entry, dict):
            raise _broken("a line is no object")
        if entry.get("type") == 2:
            pending += _payload(entry.get("payload"))
        elif entry.get("type") == 1:
            size = entry.get("size", 0)
            if not isinstance(size, int) or size < 0:
                raise _broken("a file has no size")
            if size:
                if pending:
                    yield bytes(pending)
                    pending.clear()
                yield from _content(directory, _name(entry), size)
        else:
            raise _broken("a line is of an unknown type")
        if len(pending) >= _CHUNK:
            yield bytes(pending)
            pending.clear()
    yield bytes(pending)


def _broken(why: str) -> StorageError:
    return StorageError(f"cannot read the notes of a layer's archive: {why}")


def _lines(notes: Source) -> Iterator[bytes]:
    rest = b""
    for chunk in decoded(notes):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > _LINE:
            raise _broken("a line is too long")
        yield from (line for line in lines if line)
    if rest:
        yield rest


def _payload(text: object) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True) if isinstance(text, str) else b""
    except ValueError:
        raise _broken("bytes are not in base64") from None


def _name(entry: dict[str, object]) -> bytes:
    raw, name = entry.get("name_raw"), entry.get("name")
    try:
        found = _payload(raw) if isinstance(raw, str) and raw else os.fsencode(name) if isinstance(name, str) else b""
    except UnicodeEncodeError:
        raise _broken("a name holds half of a surrogate pair") from None
    parts = [part for part in found.split(b"/") if part not in (b"", b".")]
    if not parts or b".." in parts or b"\0" in found:
        raise _broken(f"a file is called {shown(os.fsdecode(found))}")
    return b"/".join(parts)


def _content(directory: int, name: bytes, size: int) -> Iterator[bytes]:
    try:
        fd = openat2(directory, name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY, resolve=_BESIDE)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise _broken(f"{shown(os.fsdecode(name))} is no file any more")
            while size:
                chunk = os.read(fd, min(size, _CHUNK))
                if not chunk:
                    raise _broken(f"{shown(os.fsdecode(name))} has become shorter")
                size -= len(chunk)
                yield chunk
        finally:
            os.close(fd)
    except OSError as error:
        raise StorageError(f"cannot read {shown(os.fsdecode(name))} of a layer: {error.strerror}") from None
