"""The checks of ``storage.check`` that concern images: blobs, manifests and configurations, and what no image needs."""

from __future__ import annotations

import hashlib
import os
import time
from functools import partial

from storage import atomic, gc, oci, private
from storage.errors import StorageError
from storage.images import IMAGE_ID, Image
from storage.layout import names_in
from storage.locks import Lock
from storage.oci import Digest
from storage.problem import Means, Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from storage.oci import Descriptor
    from storage.store import Store

_CHUNK = 1 << 20


def blobs(store: Store, means: Means) -> Iterator[Problem]:
    """Every blob has the bytes that its name says; what has not goes, for ``images`` to fetch it again."""
    for algorithm in sorted(names_in(store.layout.blobs)):
        directory = f"{store.layout.blobs}/{algorithm}"
        for name in sorted(names_in(directory)) if os.path.isdir(directory) else ():
            digest, path = f"{algorithm}:{name}", f"{directory}/{name}"
            if name.startswith(atomic.TEMP_PREFIX):
                continue
            if not oci.is_digest(digest):
                yield Problem("blob", digest, "its name is not a digest", partial(os.unlink, path))
                continue
            means.progress(f"blob {digest}")
            why = private.wrong(path, 0o600)
            if why.startswith("its mode"):
                yield Problem("blob", digest, why, partial(os.chmod, path, 0o600))
            elif why:
                yield Problem("blob", digest, why, partial(os.unlink, path))
                continue
            if means.quick:
                continue
            try:
                good = _digest_of_file(path, algorithm) == name
            except OSError as error:
                if not why:
                    yield Problem("blob", digest, f"it cannot be read: {error.strerror}", partial(os.unlink, path))
                continue
            if not good:
                yield Problem("blob", digest, "its bytes are not those of its digest; pull the image again",
                              partial(os.unlink, path))


def _digest_of_file(path: str, algorithm: str) -> str:
    found = hashlib.new(algorithm)
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while chunk := os.read(fd, _CHUNK):
            found.update(chunk)
    finally:
        os.close(fd)
    return found.hexdigest()


def images(store: Store, means: Means) -> Iterator[Problem]:
    """Every image has a manifest, a configuration, its blobs, and its layers unpacked."""
    try:
        found = store.images.list()
    except StorageError:
        return  # reported by the check of the index
    for image in found:
        name = image.names[0] if image.names else image.digest
        means.progress(f"image {name}")
        try:
            config, layers = image.config, image.layers
        except StorageError as error:
            yield Problem("image", name, f"{error.message}; pull the image again",
                          partial(_fetch_documents, store, image, means))
            try:
                config, layers = image.config, image.layers
            except StorageError:
                continue
        identifier = Digest(image.manifest["config"]["digest"]).encoded
        if image.annotations.get(IMAGE_ID, identifier) != identifier:
            yield Problem("image", name, "its entry in the index has the id of another",
                          partial(_write_id, store, image, identifier))
        for descriptor in layers:
            if not store.blobs.has(descriptor["digest"], descriptor["size"]):
                yield Problem("image", name, f"its blob {descriptor['digest']} is missing; pull the image again",
                              partial(_fetch, image, descriptor, means) if means.fetch is not None else None)
        for diff_id, descriptor in zip(config["rootfs"]["diff_ids"], layers, strict=True):
            if not store.layers.has(diff_id):
                yield Problem(
                    "image", name, f"its layer {diff_id} is not unpacked; pull the image again",
                    partial(_unpack, store, image, diff_id, descriptor, means) if means.in_userns is not None else None)


def _fetch(image: Image, descriptor: Descriptor, means: Means) -> None:
    """Bring a blob of the image again. Raises ``StorageError``."""
    if means.fetch is None or not means.fetch(image, descriptor["digest"], descriptor["size"]):
        raise StorageError("it is not known where the image came from: load, import or build it again")


def _fetch_documents(store: Store, image: Image, means: Means) -> None:
    """Bring the manifest and the configuration again; an image that came from nowhere known is forgotten."""
    try:
        document: Descriptor = image.descriptor
        for _ in range(2):
            there = store.blobs.has(document["digest"], document["size"])
            if not there and not (means.fetch and means.fetch(image, document["digest"], document["size"])):
                store.images.remove(image)
                return
            document = image.manifest["config"]
    except oci.InvalidDocumentError:
        store.images.remove(image)


def _unpack(store: Store, image: Image, diff_id: str, descriptor: Descriptor, means: Means) -> None:
    """Unpack a layer of the image once more. Raises ``StorageError``."""
    from storage.layers_unpack import LayerSource, unpack

    assert means.in_userns is not None and means.confine is not None
    if not store.blobs.has(descriptor["digest"], descriptor["size"]):
        raise StorageError("its blob is missing")
    with gc.adding(store.layout):
        source = LayerSource(diff_id, store.blobs.path(descriptor["digest"]))
        unpack(store.layout, [source], image.diff_ids, in_userns=means.in_userns, confine=means.confine)


def _write_id(store: Store, image: Image, identifier: str) -> None:
    """Write an image's true id into its entries."""
    with Lock(store.layout.images_lock):
        entries = store.images.index.entries()
        for entry in entries:
            if entry["digest"] == image.digest:
                entry["annotations"] = {**entry.get("annotations", {}), IMAGE_ID: identifier}
        store.images.index.replace(entries)


def unused(store: Store, means: Means) -> Iterator[Problem]:
    """No layer is older than ``means.max_age`` that neither an image nor a container needs."""
    try:
        needed = gc.needed_layers(store)
    except StorageError:
        return  # what a damaged image or container needs is not known
    for key in sorted(names_in(store.layout.layers)):
        digest = key.partition(".")[0]
        if f"sha256:{digest}" in needed or f"sha512:{digest}" in needed:
            continue
        try:
            age = time.time() - os.lstat(store.layout.layer(key)).st_ctime
        except OSError:
            continue
        if age > means.max_age:
            yield Problem("leftover", store.layout.layer(key), "no image and no container needs this layer",
                          partial(gc.collect, store, means.delete_tree))
