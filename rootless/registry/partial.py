"""Bringing a blob together out of parts: some are here already, the others are asked for by Range requests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from rootless.registry.client import PartStream, Registry, WrongRangeError
from rootless.registry.download import PROGRESS_STEP
from rootless.registry.errors import TransientError
from storage.blobs import BlobWriter

MOST_RANGES = 256
"""Ranges in one request: servers bound the length of a header, often to 8 KiB."""
LEAST_GAP = 256
"""Bytes between two ranges below which they are asked for as one: a part of an answer costs as much by itself."""
LEAST_GAP_ALONE = 128 * 1024
"""The same where each range costs a request."""

_CHUNK = 1 << 20


class Segment(NamedTuple):
    """Bytes ``start`` to ``end`` of a blob: ``data``, or at ``at`` of the open file ``fd``, or else to be fetched."""

    start: int
    end: int
    fd: int = -1
    at: int = 0
    data: bytes = b""

    @property
    def missing(self) -> bool:
        """Whether the bytes have to be fetched."""
        return self.fd < 0 and not self.data


def coalesced(segments: Sequence[Segment], least: int) -> list[Segment]:
    """The same bytes in fewer segments: what is here is fetched as well where it is shorter than ``least``."""
    found: list[Segment] = []
    for number, segment in enumerate(segments):
        between = 0 < number < len(segments) - 1 and segments[number + 1].missing and found[-1].missing
        if between and segment.end - segment.start < least:
            segment = Segment(segment.start, segment.end)
        last = found[-1] if found else None
        if last is not None and last.missing and segment.missing:
            found[-1] = Segment(last.start, segment.end)
        elif last is not None and last.fd >= 0 and last.fd == segment.fd and _follows(last, segment):
            found[-1] = last._replace(end=segment.end)
        else:
            found.append(segment)
    return found


def _follows(last: Segment, segment: Segment) -> bool:
    return last.at + last.end - last.start == segment.at


class PartialTransfer:
    """A ``Transfer`` by ``segments``, which make up the whole blob in order. ``step`` is ``Downloader.step``."""

    def __init__(self, segments: Sequence[Segment], step: Callable[[str, int, int], None]) -> None:
        self._segments = coalesced(segments, LEAST_GAP)
        self._most = MOST_RANGES
        self._step = step

    def __call__(self, source: Registry, sink: BlobWriter, resume: bool) -> None:
        """Write the rest of the blob. Raises TransientError when the transfer breaks (WrongRangeError: for good)."""
        while not self._pass(source, sink):
            self._most = 1
            self._segments = coalesced(self._segments, LEAST_GAP_ALONE)

    def _pass(self, source: Registry, sink: BlobWriter) -> bool:
        """Write the rest; False if the server does not send several parts at once."""
        parts: _Parts | None = None
        reported = sink.offset
        try:
            for number, segment in enumerate(self._segments):
                if segment.end <= sink.offset:
                    continue
                if not segment.missing:
                    self._copy(segment, sink)
                    continue
                if parts is None or not parts.may_have(sink.offset):
                    if parts is not None:
                        parts.close()
                    parts = self._ask(source, sink, number)
                    if parts is None:
                        return False
                for chunk in parts.read(sink.offset, segment.end):
                    sink.write(chunk)
                    if sink.offset - reported >= PROGRESS_STEP:
                        reported = sink.offset
                        self._step(sink.digest, reported, sink.size)
        finally:
            if parts is not None:
                parts.close()
        return True

    def _ask(self, source: Registry, sink: BlobWriter, number: int) -> _Parts | None:
        """Ask for what is missing from segment ``number`` on; None if the server does not send several parts."""
        missing = [
            (max(segment.start, sink.offset), segment.end) for segment in self._segments[number:] if segment.missing
        ][: self._most]
        try:
            stream = source.ranges(sink.digest, sink.size, missing)
        except WrongRangeError:
            if len(missing) == 1:
                raise
            return None
        if stream.alone and len(missing) > 1:
            stream.close()
            return None
        return _Parts(stream, source)

    def _copy(self, segment: Segment, sink: BlobWriter) -> None:
        skip = sink.offset - segment.start
        if segment.data:
            sink.write(segment.data[skip:])
            return
        while sink.offset < segment.end:
            at = segment.at + sink.offset - segment.start
            data = os.pread(segment.fd, min(_CHUNK, segment.end - sink.offset), at)
            if not data:
                raise WrongRangeError(f"cannot use a part of another blob for {sink.digest}: it was cut")
            sink.write(data)
            self._step(sink.digest, sink.offset, sink.size)


class _Parts:
    """What a server sends, read in the order of the blob."""

    def __init__(self, stream: PartStream, source: Registry) -> None:
        self._stream = stream
        self._parts = stream.parts()
        self._host = source.endpoint.host
        self._offset = 0
        self._data = b""
        self._ended = False

    def may_have(self, start: int) -> bool:
        """Whether the bytes from ``start`` on can still come. Waits for the next bytes, if there are none."""
        self._fill()
        return bool(self._data) and self._offset <= start

    def _fill(self) -> None:
        while not self._data and not self._ended:
            found = next(self._parts, None)
            if found is None:
                self._ended = True
            else:
                self._offset, self._data = found

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes from ``start`` to ``end``. What is before them is passed over."""
        while start < end:
            self._fill()
            if not self._data:
                raise TransientError(f"connection to {self._host} was cut at {start} of a blob")
            if self._offset > start:
                raise WrongRangeError(f"registry {self._host} sent another part of a blob than it was asked for")
            self._data, self._offset = self._data[start - self._offset :], start
            taken = self._data[: end - start]
            self._data = self._data[len(taken) :]
            start += len(taken)
            self._offset = start
            if taken:
                yield taken

    def close(self) -> None:
        """Give up the transfer."""
        self._stream.close()
