"""zstd:chunked: a layer as a stream of zstd frames, one for each file, with a table of contents behind them.

The form is that of containers/storage. Every reader of zstd takes the blob for the compressed archive: what is between
two files (padding and headers) is a frame, a file's content is one frame or several (*chunks*), and the table lies in
skippable frames (RFC 8878, 3.1.2), which hold

* the table itself, JSON compressed with zstd: for each member what its header says, and of a file the digest of its
  content and where its frames are;
* the *tar-split*: all that the archive has besides the contents of files, as JSON lines of the program of that name;
* 64 bytes that say where both of them are.

The position and the digest of the table stand in annotations of the layer's descriptor: so who trusts the manifest can
read the table, and single files, without the rest of the blob.
"""

from __future__ import annotations

import struct

from storage.errors import StorageError

CHECKSUM = "io.github.containers.zstd-chunked.manifest-checksum"
"""Annotation: the digest of the table, as it is compressed."""
POSITION = "io.github.containers.zstd-chunked.manifest-position"
"""Annotation: ``offset:length:uncompressed length:1`` of the table."""
TAR_SPLIT_POSITION = "io.github.containers.zstd-chunked.tarsplit-position"
"""Annotation: ``offset:length:uncompressed length`` of the tar-split."""

_PREFIX = "io.github.containers."
_OLD_PREFIX = "io.containers."  # of podman before 4.4

TABLE_TYPE = 1
FRAME_HEADER = 8
"""Bytes in front of the data of a skippable frame."""

_SKIPPABLE = b"\x50\x2a\x4d\x18"
_FOOTER = struct.Struct("<7Q8s")
_MAGIC = b"GNUlInUx"


def annotation(annotations: dict[str, str], key: str) -> str:
    """One of those annotations, or what older programs called it; '' where there is none."""
    return annotations.get(key) or annotations.get(key.replace(_PREFIX, _OLD_PREFIX), "")


def skippable(data: bytes) -> bytes:
    """A frame that decoders of zstd pass over. Raises StorageError if ``data`` has 4 GiB or more."""
    if len(data) >= 1 << 32:
        raise StorageError("cannot write the table of contents of a layer: it is too large")
    return _SKIPPABLE + len(data).to_bytes(4, "little") + data


def footer(table: tuple[int, int, int], tar_split: tuple[int, int, int]) -> bytes:
    """The last frame's data; the arguments are (offset, length, uncompressed length)."""
    return _FOOTER.pack(*table, TABLE_TYPE, *tar_split, _MAGIC)
