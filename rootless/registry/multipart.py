"""``multipart/byteranges``: several parts of one blob in one answer (RFC 9110 §14.6, RFC 2046 §5.1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rootless.registry.errors import TransientError
from rootless.registry.headers import parse_content_range

_MOST_HEADERS = 8192  # bytes in front of one part, the delimiter included
_MOST_BOUNDARY = 70


def boundary(content_type: str) -> str | None:
    """The boundary that ``Content-Type`` names; None if this is no such answer, or not well-formed."""
    kind, *parameters = content_type.split(";")
    if kind.strip().lower() != "multipart/byteranges":
        return None
    for parameter in parameters:
        name, _, value = parameter.strip().partition("=")
        if name.lower() == "boundary":
            value = value.removeprefix('"').removesuffix('"')
            return value if 0 < len(value) <= _MOST_BOUNDARY and value.isascii() and value.isprintable() else None
    return None


class MultipartError(TransientError):
    """The answer is not of the form that its header says."""


class _Window:
    """The bytes of an answer that came and were not taken yet."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._data = b""

    def more(self) -> bool:
        """Wait for more bytes; False at the end."""
        chunk = next(self._chunks, b"")
        self._data += chunk
        return bool(chunk)

    def until(self, mark: bytes) -> bytes:
        """What is before ``mark``, and that is passed over. Raises MultipartError if it is not to be found soon."""
        start = 0
        while (at := self._data.find(mark, start)) < 0:
            start = max(0, len(self._data) - len(mark) + 1)
            if len(self._data) > _MOST_HEADERS or not self.more():
                raise MultipartError("cannot read parts of a blob: the server's answer is malformed")
        if at > _MOST_HEADERS:
            raise MultipartError("cannot read parts of a blob: the server's answer is malformed")
        found, self._data = self._data[:at], self._data[at + len(mark) :]
        return found

    def take(self, most: int) -> bytes:
        """Up to ``most`` bytes; b'' at the end."""
        if not self._data and not self.more():
            return b""
        found, self._data = self._data[:most], self._data[most:]
        return found


def parts(chunks: Iterable[bytes], mark: str, size: int) -> Iterator[tuple[int, bytes]]:
    """The parts of a blob of ``size`` bytes, in the order of the answer, as (offset, bytes) piece by piece.

    Raises MultipartError, and TransientError where the answer is cut in the middle of a part.
    """
    window = _Window(chunks)
    delimiter = b"--" + mark.encode("ascii")
    if window.until(delimiter).strip(b"\r\n"):
        raise MultipartError("cannot read parts of a blob: the server's answer is malformed")
    while True:
        end = window.until(b"\r\n")
        if end.startswith(b"--"):
            return
        offset, left = _range(end, window, size)
        while left:
            data = window.take(left)
            if not data:
                raise TransientError("connection was cut in the middle of a part of a blob")
            yield offset, data
            offset += len(data)
            left -= len(data)
        if window.until(delimiter) != b"\r\n":
            raise MultipartError("cannot read parts of a blob: a part is longer than it says")


def _range(rest: bytes, window: _Window, size: int) -> tuple[int, int]:
    """Offset and length of the part whose headers come next; ``rest`` is what stood behind the delimiter."""
    seen = len(rest)
    found = None
    while line := window.until(b"\r\n"):
        seen += len(line)
        name, _, value = line.decode("latin-1").partition(":")
        if name.strip().lower() == "content-range":
            found = parse_content_range(value.strip())
        if seen > _MOST_HEADERS:
            break
    if rest.strip(b" \t") or found is None or found.total not in (None, size) or found.last >= size or line:
        raise MultipartError("cannot read parts of a blob: the server's answer is malformed")
    return found.first, found.last + 1 - found.first
