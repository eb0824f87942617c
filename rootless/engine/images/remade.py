"""A zstd:chunked layer whose archive the store has in another compression: it is compressed again, and not fetched.

The same archive gives the same bytes when the same program wrote them (``storage.archive.chunked_write``), which is
tried: at the first MiB that comes out otherwise than the registry's table says it is given up.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from rootless.registry.client import Registry, WrongRangeError
from storage.archive import chunked_write
from storage.errors import StorageError
from storage.store import Store

if TYPE_CHECKING:
    from rootless.registry.download import Transfer
    from storage.archive.chunked_table import Piece
    from storage.blobs import BlobWriter

_FLAGS = 4  # where in a frame its descriptor is (RFC 8878, 3.1.1.1.1)
_CHECKSUM = 0x04
_CHUNK = 1 << 20


def may_be_ours(table: bytes) -> bool:
    """Whether this program may have written the frame ``table``: others end theirs with a checksum."""
    return len(table) > _FLAGS and not table[_FLAGS] & _CHECKSUM


def archives(store: Store, diff_ids: Iterable[str]) -> dict[str, str]:
    """The paths of those of the store's blobs that hold the archives ``diff_ids``, by these."""
    wanted = set(diff_ids)
    return {
        diff_id: store.blobs.path(digest)
        for diff_id, digest, size in _layers(store) if diff_id in wanted and store.blobs.has(digest, size)
    }


def _layers(store: Store) -> Iterator[tuple[str, str, int]]:
    for image in store.images.list():
        try:
            found = list(zip(image.diff_ids, image.layers, strict=True))
        except StorageError:
            continue  # a damaged image has nothing to offer
        for diff_id, layer in found:
            yield str(diff_id), layer["digest"], layer["size"]


class RemadeTransfer:
    """A ``Transfer`` that makes the blob from the blob at ``path``; ``otherwise`` is what is done where that fails.

    ``pieces`` are those of the registry's table, ``step`` is ``Downloader.step``. ``directory`` is for a file without
    name.
    """

    def __init__(
        self, path: str, pieces: Iterable[Piece], directory: str, step: Callable[[str, int, int], None],
        otherwise: Transfer | None,
    ) -> None:  # fmt: skip
        self._path = path
        self._ends = frozenset(piece.end for piece in pieces)
        self._directory = directory
        self._step = step
        self._otherwise = otherwise
        self._tried = False

    def __call__(self, source: Registry, sink: BlobWriter, resume: bool) -> None:
        """Write the blob. Raises what ``otherwise`` raises; WrongRangeError if there is none."""
        if not self._tried and not sink.offset:
            self._tried = True
            if self._make(sink):
                return
        if self._otherwise is None:
            raise WrongRangeError(f"cannot make {sink.digest} of another blob")
        self._otherwise(source, sink, resume)

    def _make(self, sink: BlobWriter) -> bool:
        with tempfile.TemporaryFile(dir=self._directory) as made:
            try:
                with open(self._path, "rb", buffering=0) as archive:
                    layer = chunked_write.convert(archive, made.fileno(), ends=self._ends)
            except (StorageError, OSError):
                return False
            if layer.digest != sink.digest:
                return False
            os.lseek(made.fileno(), 0, os.SEEK_SET)
            while data := os.read(made.fileno(), _CHUNK):
                sink.write(data)
                self._step(sink.digest, sink.offset, sink.size)
        return True
