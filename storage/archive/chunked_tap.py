"""Reading an archive for its own bytes: headers and padding as they are, beside what they mean."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from storage.archive import pax
from storage.archive import tar_reader as tar
from storage.archive.limits import Limits
from storage.errors import StorageError

_MOST_BETWEEN = 32 << 20  # bytes between the contents of two files, which are held in memory


class Tap:
    """The chunks of an archive, kept until ``until`` has given them out."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self._kept: deque[bytes] = deque()
        self._from = 0  # where the first of them begins
        self._mark = 0
        self.end = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.end += len(chunk)
            self._kept.append(chunk)
            if self.end - self._mark > _MOST_BETWEEN + len(chunk):
                raise StorageError(f"cannot convert the layer: it has more than {_MOST_BETWEEN} bytes between files")
            yield chunk

    def until(self, position: int) -> bytes:
        """The bytes from where the last call ended to ``position``."""
        parts = []
        while self._mark < position:
            first = self._kept[0]
            part = first[self._mark - self._from : position - self._from]
            parts.append(part)
            self._mark += len(part)
            if self._mark - self._from == len(first):
                self._from += len(first)
                self._kept.popleft()
        return parts[0] if len(parts) == 1 else b"".join(parts)


class Reader(tar.TarReader):
    """Tells where it is, and what the headers said that an ``Entry`` does not tell."""

    def __init__(self, tap: Tap, limits: Limits) -> None:
        super().__init__(tap, limits)
        self._tap = tap
        self.header = b""
        self.records: pax.Records = []
        self.odd = False  # there is a header that the table has no word for

    @property
    def position(self) -> int:
        """Bytes of the archive that were read."""
        return self._tap.end - len(self._chunk) + self._position

    def _check_sum(self, header: bytes, field: bytes) -> None:
        super()._check_sum(header, field)
        self.header = header
        self.odd = self.odd or header[156:157] in b"gV"

    def _entry(
        self, header: bytes, fields: tuple[bytes, ...], records: pax.Records | None, long_name: bytes | None,
        long_link: bytes | None,
    ) -> tar.Entry:  # fmt: skip
        self.records = records or []
        return super()._entry(header, fields, records, long_name, long_link)
