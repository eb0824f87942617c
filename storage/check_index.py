"""The check of ``storage.check`` that concerns the index of images, and how the index is rebuilt."""

from __future__ import annotations

import os

from storage import atomic, jsonfast, oci, private
from storage import index as index_file
from storage.errors import StorageError
from storage.images import IMAGE_ID
from storage.index import name_of
from storage.locks import Lock
from storage.oci import Digest
from storage.problem import Means, Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from storage.oci import Descriptor
    from storage.store import Store


def index(store: Store, means: Means) -> Iterator[Problem]:
    """``index.json`` is an index, as it was written, and each of its entries a descriptor with a name of its own."""
    means.progress("image index")
    layout = store.layout
    why = private.wrong(layout.index, 0o600)
    if why.startswith("its mode"):
        yield Problem("index", "index.json", why, lambda: os.chmod(layout.index, 0o600))
    elif why or not is_intact(layout.index):
        yield Problem("index", "index.json", why or "its bytes are not those that were written",
                      lambda: _rebuild_index(store))
    try:
        entries = store.images.index.entries()
    except StorageError as error:
        if why != "it is missing" and is_intact(layout.index):  # else told already
            yield Problem("index", "index.json", error.message, lambda: _rebuild_index(store))
        try:
            entries = store.images.index.entries()
        except StorageError:
            return
    for name, what in list(store.images.damaged):
        yield Problem("image", name, what, lambda: _rewrite_index(store))
    seen: dict[str, str] = {}
    for entry in entries:
        name = name_of(entry)
        if name and seen.setdefault(name, entry["digest"]) != entry["digest"]:
            yield Problem("image", name, "two images have this name", lambda: _rewrite_index(store))
    if entries:
        why = private.wrong(layout.index_copy, 0o600)
        if not why and not is_copy(layout.index_copy):
            why = "it is no copy of the index"
        if why:
            yield Problem("index", "index.copy", why, lambda: _rewrite_index(store))


def is_intact(path: str) -> bool:
    """Whether the file is as it was written; one that cannot be read is told of in other words."""
    try:
        return jsonfast.is_intact(atomic.read(path, 64 << 20))
    except OSError:
        return True


def is_copy(path: str) -> bool:
    """Whether the file is an index, as it was written: that of now, or one of before if the writer was killed."""
    try:
        data = atomic.read(path, 64 << 20)
        index_file.parse(data, path)
    except (OSError, StorageError):
        return False
    return jsonfast.is_intact(data)


def _rewrite_index(store: Store) -> None:
    """Keep only good entries, and of two with one name the first."""
    with Lock(store.layout.images_lock):
        names: set[str] = set()
        kept = []
        for entry in store.images.index.entries():
            name = name_of(entry)
            if not name or name not in names:
                names.add(name)
                kept.append(entry)
        store.images.index.replace(kept)


def _rebuild_index(store: Store) -> None:
    """Take the entries of the copy; images that it does not know are found among the blobs, without names."""
    layout = store.layout
    with Lock(layout.images_lock):
        entries: list[Descriptor] = []
        try:
            path = layout.index_copy if is_copy(layout.index_copy) else layout.index
            entries, _ = index_file.parse(atomic.read(path, 64 << 20), path)
        except (OSError, StorageError):
            pass
        known = {entry["digest"] for entry in entries}
        entries += [entry for entry in _manifests(store) if entry["digest"] not in known]
        store.images.index.replace(entries)


def _manifests(store: Store) -> Iterator[Descriptor]:
    """Descriptors of all blobs that are the manifest of an image whose configuration is there."""
    for digest in store.blobs.list():
        try:
            size = os.lstat(store.blobs.path(digest)).st_size
            if size > oci.MAX_DOCUMENT:
                continue
            document = store.blobs.read_document(digest)
            manifest = oci.check_manifest(document)
        except (OSError, StorageError):
            continue
        if store.blobs.has(manifest["config"]["digest"], manifest["config"]["size"]):
            yield {
                "mediaType": oci.check_media_type(document), "digest": digest, "size": size,
                "annotations": {IMAGE_ID: Digest(manifest["config"]["digest"]).encoded}}
