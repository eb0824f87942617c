"""A push in the test's own process: what the worker of a real one does, with limits of the test's choice."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Sequence
from typing import Any

from rootless.engine.images.push_registry import publish, saying, target_for
from rootless.engine.images.transports.outgoing import Outgoing
from rootless.errors import RootlessError
from rootless.registry.options import ConnectionOptions
from storage import oci, reference
from storage.errors import StorageError
from storage.store import Store
from tests.support.pulling import Pulled as Pushed


def described(data: bytes, media_type: str) -> dict[str, Any]:
    """The descriptor of some bytes."""
    return {"mediaType": media_type, "digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}


def image_of(layers: Sequence[bytes]) -> tuple[Outgoing, dict[str, bytes]]:
    """An image of uncompressed layer archives, and all its blobs."""
    document = {
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in layers]},
    }  # fmt: skip
    config = json.dumps(document).encode()
    packed = [gzip.compress(tar, 1, mtime=0) for tar in layers]
    manifest = {
        "schemaVersion": 2, "mediaType": oci.MANIFEST, "config": described(config, oci.CONFIG),
        "layers": [described(data, oci.LAYER_GZIP) for data in packed],
    }  # fmt: skip
    blobs = {described(data, "")["digest"]: data for data in (config, *packed)}
    return of_bytes(json.dumps(manifest).encode(), config, blobs), blobs


def of_bytes(manifest: bytes, config: bytes, blobs: dict[str, bytes]) -> Outgoing:
    """An image whose blobs are in memory."""
    return Outgoing(manifest, oci.MANIFEST, config, (), lambda digest: io.BytesIO(blobs[digest]))


def store_image(store: Store, image: Outgoing, blobs: dict[str, bytes], name: str) -> None:
    """Put an image into ``store``, under ``name``."""
    for data in blobs.values():
        store.blobs.put(data)
    store.blobs.put(image.manifest)
    store.images.add(image.digest, len(image.manifest), image.media_type, [name])


def push(store: Store, image: Outgoing, name: str, options: ConnectionOptions) -> Pushed:
    """Push ``image`` as ``name``. Any exception but the two kinds that a user may meet goes through."""
    messages: list[dict[str, Any]] = []
    full = reference.parse(name)
    try:
        target = target_for(full, saying(options, messages.append))
        publish(store, image, full, target, messages.append)
    except (RootlessError, StorageError) as error:
        assert "\n" not in error.message + error.hint, error
        return Pushed(error.message, error.hint, messages)
    return Pushed("", "", messages)
