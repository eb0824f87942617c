"""The layers of an image in another compression: uncompressed on the fly, or compressed into files beforehand."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rootless.engine.images.kinds import as_kind
from rootless.engine.images.transports.outgoing import Outgoing, Stream
from storage import jsonfast, oci
from storage.archive.limits import Limits
from storage.archive.stream import Ahead, compression, decoded
from storage.errors import StorageError

if TYPE_CHECKING:
    from storage.oci import Descriptor


class _Plain:
    """A blob's uncompressed bytes as a stream: whole chunks of the decoder, however many were asked for."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._ahead = Ahead(decoded(stream))
        self._chunks = iter(self._ahead)

    def read(self, size: int, /) -> bytes:
        """The next piece, which may be larger than ``size``."""
        return next(self._chunks, b"")

    def close(self) -> None:
        self._ahead.close()
        self._stream.close()


def uncompressed(image: Outgoing) -> Outgoing:
    """The image with a manifest of its layers as plain archives, whose digests are the DiffIDs of its configuration.

    They are decompressed while they are written, and before that if nobody has noted their sizes. Raises
    RootlessError, StorageError.
    """
    document = image.document
    blobs = dict(zip(image.diff_ids, document["layers"], strict=True))
    docker = image.media_type == oci.DOCKER_MANIFEST
    layers: list[Descriptor] = []
    for diff_id, blob in blobs.items():
        layers.append({
            "mediaType": oci.DOCKER_LAYER if docker else oci.LAYER, "digest": diff_id,
            "size": blob["size"] if blob["digest"] == diff_id else _size(image, diff_id, blob),
        })  # fmt: skip

    def open_blob(digest: str) -> Stream:
        stream = image.open_blob(blobs[digest]["digest"]) if digest in blobs else image.open_blob(digest)
        return _Plain(stream) if digest in blobs else stream

    sizes = {layer["digest"]: layer for layer in layers}
    made: dict[str, Any] = {**document, "mediaType": image.media_type}
    made["layers"] = [sizes[diff_id] for diff_id in image.diff_ids]
    return replace(image, manifest=jsonfast.dumps(made).encode(), open_blob=open_blob)


def compressed(image: Outgoing, directory: str, *, everything: bool) -> Outgoing:
    """The image without layers of zstd, which Docker's manifests do not know, and with ``everything`` without plain
    ones: those are compressed with gzip, into files in ``directory``.

    Raises RootlessError, StorageError.
    """
    from rootless.engine.images.layerfile import compress

    document = image.document
    files: dict[str, str] = {}
    layers: list[Descriptor] = []
    for blob in document["layers"]:
        kind = _kind(image, blob)
        if kind == "zstd" or (kind == "plain" and everything):
            stream = image.open_blob(blob["digest"])
            try:
                packed = compress(decoded(stream), f"{directory}/{len(files)}")
            finally:
                stream.close()
            files[packed.digest] = packed.path
            blob = {"mediaType": oci.LAYER_GZIP, "digest": packed.digest, "size": packed.size}
        layers.append(blob)
    if not files:
        return image

    def open_blob(digest: str) -> Stream:
        return open(files[digest], "rb", buffering=0) if digest in files else image.open_blob(digest)

    made: dict[str, Any] = {**document, "mediaType": image.media_type}
    made["layers"] = [as_kind(layer, image.media_type == oci.DOCKER_MANIFEST) for layer in layers]
    return replace(image, manifest=jsonfast.dumps(made).encode(), open_blob=open_blob)


def _kind(image: Outgoing, blob: Descriptor) -> str:
    """How a blob is compressed, by its first bytes."""
    stream = image.open_blob(blob["digest"])
    try:
        return compression(stream.read(6))
    finally:
        stream.close()


def _size(image: Outgoing, diff_id: str, blob: Descriptor) -> int:
    """Bytes of a blob that is decompressed. Raises StorageError for one beyond the limit of a layer."""
    noted = image.plain_size(diff_id)
    if noted is not None:
        return noted
    size, most = 0, Limits().bytes
    stream = image.open_blob(blob["digest"])
    try:
        for chunk in decoded(stream):
            size += len(chunk)
            if size > most:
                raise StorageError(f"cannot decompress {blob['digest']}: it has more than {most} bytes")
    finally:
        stream.close()
    return size
