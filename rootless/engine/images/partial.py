"""Pulling a zstd:chunked layer in parts: what another layer of the store has already is not fetched again.

The blob that the registry has is put together byte for byte. Its table of contents (``storage.archive.chunked_table``)
is fetched first, and verified against the manifest; each piece of the blob that one of the store's own zstd:chunked
blobs holds too is copied from there, since one program gives equal frames for equal contents, and the rest is asked for
by range. In the end the blob's digest is verified like any other's: a guess that was wrong costs the whole download.
So nothing that comes after a download knows of this.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from rootless.engine.images import remade
from rootless.engine.images.remade import RemadeTransfer
from rootless.registry.client import Registry
from rootless.registry.download import Transfer
from rootless.registry.errors import RegistryError
from rootless.registry.partial import PartialTransfer, Segment, coalesced
from storage.archive import chunked, chunked_table
from storage.archive.chunked_table import Piece, Positions, TableError
from storage.errors import StorageError
from storage.store import Store

if TYPE_CHECKING:
    from rootless.registry.download import Downloader
    from storage.oci import Descriptor

SMALLEST = 128 * 1024
"""Bytes of a layer below which its table is not worth a request."""

_MOST_BLOBS = 64  # of the store's own that are looked into
_MOST_MEMORY = 64 << 20  # bytes of the tables of one image
_SHARE = 16  # a layer is fetched in parts if that spares at least one of so many bytes
_WRONG = 16  # blobs are of different programs if so many of their common pieces differ in length: one in 16


class Partial:
    """The layers of one image that are better fetched in parts. A context manager, to be left when they are there."""

    def __init__(
        self, store: Store, source: Registry, layers: Iterable[Descriptor], diff_ids: Mapping[str, str]
    ) -> None:
        """Ask ``source`` for the tables of those of ``layers`` that have one, if the store has something to offer.

        ``diff_ids``: of the layers, by their digests.
        """
        self._segments: dict[str, list[Segment]] = {}
        self._remade: dict[str, tuple[str, list[Piece]]] = {}
        self._tmp = store.layout.tmp
        self._open: list[int] = []
        wanted = {layer["digest"]: layer for layer in layers if _is_chunked(layer) and layer["size"] >= SMALLEST}
        if not wanted:
            return
        mine = list(_own_blobs(store, wanted))
        same = remade.archives(store, (diff_ids[digest] for digest in wanted))
        if not mine and not same:
            return
        found: dict[str, _Remote] = {}
        budget = _MOST_MEMORY
        for digest, layer in wanted.items():
            if not mine and diff_ids[digest] not in same:
                continue
            where = chunked_table.positions(layer.get("annotations", {}), layer["size"])
            if where is not None and where.tail * 2 >= layer["size"] and where.memory <= budget:
                budget -= where.memory
                remote = _table(source, layer, where)
                if remote is not None:
                    found[digest] = remote
                    path = same.get(diff_ids[digest])
                    if path and remade.may_be_ours(remote.tail[chunked.FRAME_HEADER :]):
                        self._remade[digest] = path, remote.pieces
        if found and mine:
            self._compare(mine, found)

    def transfers(self, downloader: Downloader, tell: Callable[[str], None]) -> dict[str, Transfer]:
        """How to fetch those layers, by their digests. ``tell`` gets a line for the user about each."""
        for digest, segments in self._segments.items():
            here = sum(part.end - part.start for part in segments if part.fd >= 0)
            if digest not in self._remade:
                tell(f"layer {digest[7:19]}: {here / 1e6:.1f} of {segments[-1].end / 1e6:.1f} MB are in other layers")
        found: dict[str, Transfer] = {
            digest: PartialTransfer(segments, downloader.step) for digest, segments in self._segments.items()
        }
        for digest, (path, pieces) in self._remade.items():
            found[digest] = RemadeTransfer(path, pieces, self._tmp, downloader.step, found.get(digest))
        return found

    def __enter__(self) -> Partial:
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the store's blobs."""
        for fd in self._open:
            os.close(fd)
        self._open.clear()

    def _compare(self, mine: list[tuple[str, Descriptor]], found: dict[str, _Remote]) -> None:
        """Find the pieces of ``found`` in the store's blobs ``mine`` (path, descriptor)."""
        lengths: dict[bytes, set[int]] = {}
        for remote in found.values():
            for piece in remote.pieces:
                if piece.key:
                    lengths.setdefault(piece.key, set()).add(piece.end - piece.start)
        here: dict[tuple[bytes, int], tuple[int, int]] = {}
        for path, layer in mine:
            try:
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError:
                continue
            self._open.append(fd)
            here.update(_common(fd, _pieces_of(fd, layer), lengths))
        for digest, remote in found.items():
            segments = list(remote.segments(here))
            spared = sum(part.end - part.start for part in coalesced(segments, SMALLEST // 2) if part.fd >= 0)
            if spared * _SHARE >= segments[-1].end:
                self._segments[digest] = segments


def _is_chunked(layer: Descriptor) -> bool:
    return bool(chunked.annotation(layer.get("annotations", {}), chunked.CHECKSUM))


def _own_blobs(store: Store, without: Iterable[str]) -> Iterator[tuple[str, Descriptor]]:
    """The store's zstd:chunked blobs, the newest images first."""
    seen = set(without)
    for image in reversed(store.images.list()):
        try:
            layers = image.layers
        except StorageError:
            continue  # a damaged image has no layers to offer
        for layer in layers:
            if layer["digest"] not in seen and _is_chunked(layer) and store.blobs.has(layer["digest"], layer["size"]):
                seen.add(layer["digest"])
                yield store.blobs.path(layer["digest"]), layer
                if len(seen) >= _MOST_BLOBS:
                    return


class _Remote:
    """A layer at the registry: its pieces, and its end, which is here."""

    __slots__ = ("pieces", "tail")

    def __init__(self, pieces: list[Piece], tail: bytes) -> None:
        self.pieces = pieces
        self.tail = tail

    def segments(self, here: dict[tuple[bytes, int], tuple[int, int]]) -> Iterator[Segment]:
        """The whole blob, with the pieces that are ``here``: key and length → (descriptor, offset)."""
        for piece in self.pieces:
            fd, at = here.get((piece.key, piece.end - piece.start), (-1, 0))
            yield Segment(piece.start, piece.end, fd, at)
        at = self.pieces[-1].end if self.pieces else 0
        yield Segment(at, at + len(self.tail), data=self.tail)


def _table(source: Registry, layer: Descriptor, where: Positions) -> _Remote | None:
    """The pieces of a layer at the registry; None where there is no table that can be used or had."""
    try:
        tail = source.end_of(layer["digest"], layer["size"], where.tail)
        return _Remote(chunked_table.pieces(where, tail), tail) if tail is not None else None
    except TableError as error:
        source.options.say(f"{error.message}; fetching all of {layer['digest'][:19]}")
    except RegistryError:
        pass  # the download will meet it again, and tell
    return None


def _pieces_of(fd: int, layer: Descriptor) -> list[Piece]:
    """The pieces of one of the store's blobs; none if it has no good table."""
    where = chunked_table.positions(layer.get("annotations", {}), layer["size"])
    if where is None:
        return []
    try:
        return chunked_table.pieces(where, _read(fd, where, layer["size"]))
    except (TableError, OSError):
        return []


def _read(fd: int, where: Positions, size: int) -> bytes:
    parts = []
    at = where.tail
    while at < size and (data := os.pread(fd, size - at, at)):
        parts.append(data)
        at += len(data)
    return b"".join(parts)


def _common(
    fd: int, pieces: list[Piece], lengths: dict[bytes, set[int]]
) -> dict[tuple[bytes, int], tuple[int, int]]:
    """What of ``lengths`` (key → lengths) is among ``pieces``; nothing if another program compressed them."""
    found: dict[tuple[bytes, int], tuple[int, int]] = {}
    others = 0
    for piece in pieces:
        wanted = lengths.get(piece.key)
        if wanted is not None:
            length = piece.end - piece.start
            if length in wanted:
                found[piece.key, length] = (fd, piece.start)
            else:
                others += 1
    return found if others * _WRONG <= len(found) else {}
