"""An image on its way out: its documents, and how each of its blobs is opened.

The writers of this package (:mod:`.destinations` names them all) take it as a value and know no store, so that what is
written may come from the store or from a directory in which somebody has packed the layers anew.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from rootless.engine.images.kinds import as_kind
from rootless.errors import RootlessError
from storage import jsonfast, oci
from storage.errors import DamagedError, StorageError, os_error

if TYPE_CHECKING:
    from storage.images import Image
    from storage.oci import Descriptor, Manifest
    from storage.store import Store

_CHUNK = 1 << 20

class Stream(Protocol):
    """Bytes in order, as an open binary file gives them."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end."""

    def close(self) -> None:
        """Let go of what it reads from."""


Report = Callable[[str, int, int], None]
"""Told of a blob's digest, how many of its bytes are written, and its size."""


def no_report(digest: str, done: int, size: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Outgoing:
    """One image: the bytes of its manifest and configuration, what it is to be called, and its blobs.

    ``names`` are full references, or empty. ``open_blob`` gives a stream of the blob of that digest, which the writer
    closes. What comes out of it is compared with size and digest while it is written. ``plain_size`` gives the bytes
    of a layer's uncompressed archive by its DiffID where somebody has noted them.
    """

    manifest: bytes
    media_type: str
    config: bytes
    names: tuple[str, ...]
    open_blob: Callable[[str], Stream]
    plain_size: Callable[[str], int | None] = lambda diff_id: None

    @property
    def digest(self) -> str:
        """Digest of the manifest."""
        return oci.Digest.of(self.manifest)

    @property
    def document(self) -> Manifest:
        """The manifest as a value. Raises StorageError."""
        return oci.check_manifest(jsonfast.loads_strict(self.manifest), self.media_type)

    @property
    def descriptor(self) -> Descriptor:
        """What an index says of the image."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.manifest)}

    @property
    def diff_ids(self) -> list[str]:
        """DiffIDs of the layers. Raises RootlessError if there are not as many as layers."""
        found: list[str] = oci.check_config(jsonfast.loads_strict(self.config))["rootfs"]["diff_ids"]
        if len(found) != len(self.document["layers"]):
            raise RootlessError("cannot write the image: its configuration and its manifest list different layers")
        return found


@dataclass(frozen=True)
class OutgoingIndex:
    """Several images, one for each platform, under the bytes of an index that lists them by digest."""

    data: bytes
    media_type: str
    images: tuple[Outgoing, ...]
    names: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Digest of the index."""
        return oci.Digest.of(self.data)


def verified(image: Outgoing, blob: Descriptor, report: Report = no_report) -> Iterator[bytes]:
    """The bytes of a blob of ``image``, in pieces. Raises StorageError behind the last one if they are others."""
    digest = oci.Digest(blob["digest"])
    found, done = hashlib.new(digest.algorithm), 0
    stream = image.open_blob(digest)
    try:
        while chunk := stream.read(_CHUNK):
            found.update(chunk)
            done += len(chunk)
            if done > blob["size"]:
                break
            yield chunk
            report(digest, done, blob["size"])
    except OSError as error:
        raise os_error(f"cannot read blob {digest}", error) from error
    finally:
        stream.close()
    if done != blob["size"] or found.hexdigest() != digest.encoded:
        raise DamagedError(f"cannot use blob {digest}: its bytes are not those of its digest")


def of_store(store: Store, image: Image, names: tuple[str, ...] = ()) -> Outgoing:
    """The stored ``image``, to be called ``names``. Raises StorageError if a document of it is damaged."""
    config = store.blobs.read(image.manifest["config"]["digest"], verify=True)
    manifest = store.blobs.read(image.digest, verify=True)

    def open_blob(digest: str) -> Stream:
        try:
            fd = os.open(store.blobs.path(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise os_error(f"cannot read blob {digest}", error) from error
        return os.fdopen(fd, "rb", buffering=0)

    return Outgoing(manifest, image.media_type, config, names, open_blob, store.layers.archive_size)


def converted(image: Outgoing, docker: bool) -> Outgoing:
    """The image with a manifest of Docker's or of OCI's format: itself if it has one. Its blobs stay the same.

    Annotations have no place in Docker's. Raises StorageError.
    """
    wanted = oci.DOCKER_MANIFEST if docker else oci.MANIFEST
    if image.media_type == wanted:
        return image
    document = image.document
    config: Descriptor = {**document["config"], "mediaType": oci.DOCKER_CONFIG if docker else oci.CONFIG}
    layers = [as_kind(layer, docker) for layer in document["layers"]]
    made: dict[str, Any] = {"schemaVersion": 2, "mediaType": wanted, "config": config, "layers": layers}
    if not docker and document.get("annotations"):
        made["annotations"] = document["annotations"]
    data = jsonfast.dumps(made).encode()
    try:
        oci.check_manifest(jsonfast.loads_strict(data), wanted)
    except StorageError as error:
        raise RootlessError(f"cannot convert the manifest {image.digest}: {error.message}", error.hint) from None
    return replace(image, manifest=data, media_type=wanted)
