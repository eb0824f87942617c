"""The checks of ``storage.check`` that concern images: index, blobs, manifests, unpacked layers."""

from __future__ import annotations

import hashlib
import os
from functools import partial

from storage import atomic, jsonfast, oci, trees
from storage import index as index_file
from storage.errors import DamagedError, StorageError
from storage.images import IMAGE_ID, Image
from storage.index import name_of
from storage.layers import link as make_link
from storage.layout import names_in
from storage.locks import Lock
from storage.oci import Digest
from storage.problem import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from storage.oci import Descriptor
    from storage.store import Store
    from storage.trees import DeleteTree

_CHUNK = 1 << 20


def index(store: Store, progress: Callable[[str], None], _: DeleteTree | None) -> Iterator[Problem]:
    """``index.json`` is an index, and each of its entries a descriptor with a name of its own."""
    progress("image index")
    try:
        entries = store.images.index.entries()
    except DamagedError as error:
        yield Problem("index", "index.json", error.message, lambda: _rebuild_index(store))
        try:
            entries = store.images.index.entries()
        except DamagedError:
            return
    for name, why in list(store.images.damaged):
        yield Problem("image", name, why, lambda: _rewrite_index(store))
    seen: dict[str, str] = {}
    for entry in entries:
        name = name_of(entry)
        if name and seen.setdefault(name, entry["digest"]) != entry["digest"]:
            yield Problem("image", name, "two images have this name", lambda: _rewrite_index(store))


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
    with Lock(store.layout.images_lock):
        try:
            with open(store.layout.index_copy, "rb") as file:
                entries, _ = index_file.parse(file.read(), store.layout.index_copy)
        except (OSError, StorageError):
            entries = []
        known = {entry["digest"] for entry in entries}
        entries += [entry for entry in _manifests(store) if entry["digest"] not in known]
        atomic.write(store.layout.index, index_file.encode(entries))


def _manifests(store: Store) -> Iterator[Descriptor]:
    """Descriptors of all blobs that are the manifest of an image whose configuration is there."""
    for digest in store.blobs.list():
        size = os.lstat(store.blobs.path(digest)).st_size
        if size > oci.MAX_DOCUMENT:
            continue
        try:
            document = store.blobs.read_document(digest)
            manifest = oci.check_manifest(document)
        except StorageError:
            continue
        if store.blobs.has(manifest["config"]["digest"], manifest["config"]["size"]):
            yield {
                "mediaType": oci.check_media_type(document), "digest": digest, "size": size,
                "annotations": {IMAGE_ID: Digest(manifest["config"]["digest"]).encoded}}


def blobs(store: Store, progress: Callable[[str], None], _: DeleteTree | None) -> Iterator[Problem]:
    """Every blob has the bytes that its name says."""
    for algorithm in sorted(names_in(store.layout.blobs)):
        directory = f"{store.layout.blobs}/{algorithm}"
        for name in sorted(names_in(directory)) if os.path.isdir(directory) else ():
            digest, path = f"{algorithm}:{name}", f"{directory}/{name}"
            if name.startswith(atomic.TEMP_PREFIX):
                continue
            if not oci.is_digest(digest):
                yield Problem("blob", digest, "its name is not a digest", partial(os.unlink, path))
                continue
            progress(f"blob {digest}")
            try:
                good = _digest_of_file(path, algorithm) == name
            except OSError as error:
                yield Problem("blob", digest, f"it cannot be read: {error.strerror}")
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


def images(store: Store, progress: Callable[[str], None], _: DeleteTree | None) -> Iterator[Problem]:
    """Every image has a manifest, a configuration, its blobs, and its layers unpacked."""
    try:
        found = store.images.list()
    except StorageError:
        return  # reported by the check of the index
    for image in found:
        name = image.names[0] if image.names else image.digest
        progress(f"image {name}")
        try:
            config, layers = image.config, image.layers
        except StorageError as error:
            yield Problem("image", name, f"{error.message}; pull the image again", partial(store.images.remove, image))
            continue
        identifier = Digest(image.manifest["config"]["digest"]).encoded
        if image.annotations.get(IMAGE_ID, identifier) != identifier:
            yield Problem("image", name, "its entry in the index has the id of another",
                          partial(_write_id, store, image, identifier))
        for descriptor in layers:
            if not store.blobs.has(descriptor["digest"], descriptor["size"]):
                yield Problem("image", name, f"its blob {descriptor['digest']} is missing; pull the image again")
        for diff_id in config["rootfs"]["diff_ids"]:
            if not store.layers.has(diff_id):
                yield Problem("image", name, f"its layer {diff_id} is not unpacked; pull the image again")


def _write_id(store: Store, image: Image, identifier: str) -> None:
    """Write an image's true id into its entries."""
    with Lock(store.layout.images_lock):
        entries = store.images.index.entries()
        for entry in entries:
            if entry["digest"] == image.digest:
                entry["annotations"] = {**entry.get("annotations", {}), IMAGE_ID: identifier}
        store.images.index.replace(entries)


def layers(store: Store, progress: Callable[[str], None], delete_tree: DeleteTree | None) -> Iterator[Problem]:
    """Every unpacked layer has a tree and a record that belongs to it."""
    layout = store.layout
    for key in sorted(names_in(layout.layers)):
        progress(f"layer {key[:12]}")
        digest, _, map_key = key.partition(".")
        if not oci.is_digest(f"sha256:{digest}") and not oci.is_digest(f"sha512:{digest}"):
            yield Problem("layer", key, "its name is not that of a layer",
                          partial(_remove_layer, store, key, delete_tree))
        elif not os.path.isdir(layout.layer_diff(key)):
            yield Problem("layer", key, "its tree is missing; pull the image again",
                          partial(_remove_layer, store, key, delete_tree))
        elif not _is_layer_record(_read_record(layout.layer_record(key)), digest, map_key):
            yield Problem("layer", key, "its record is missing or damaged",
                          partial(_rebuild_layer_record, store, key))


def _read_record(path: str) -> Any:
    try:
        with open(path, "rb") as file:
            return jsonfast.loads(file.read(oci.MAX_DOCUMENT))
    except (OSError, StorageError):
        return None


def _is_layer_record(record: Any, digest: str, map_key: str) -> bool:
    return (
        isinstance(record, dict)
        and record.get("diff_id") in (f"sha256:{digest}", f"sha512:{digest}")
        and record.get("map", "") == map_key
        and isinstance(record.get("size"), int)
    )


def _remove_layer(store: Store, key: str, delete_tree: DeleteTree | None) -> None:
    trees.empty(trees.to_trash(store.layout, store.layout.layer(key)), delete_tree)


def _rebuild_layer_record(store: Store, key: str) -> None:
    """A layer appeared by one rename with its data on disk: its name says what it is, its tree how large."""
    digest, _, map_key = key.partition(".")
    size = entries = 0
    for directory, _, files in os.walk(store.layout.layer_diff(key)):
        entries += 1 + len(files)
        size += sum(os.lstat(os.path.join(directory, name)).st_size for name in files)
    algorithm = "sha256" if len(digest) == 64 else "sha512"
    record = {"diff_id": f"{algorithm}:{digest}", "map": map_key, "size": size, "entries": entries}
    atomic.write(store.layout.layer_record(key), jsonfast.dump_bytes(record))


def links(store: Store, progress: Callable[[str], None], _: DeleteTree | None) -> Iterator[Problem]:
    """Every layer has its short link, and every link leads to a layer."""
    progress("short links")
    layout = store.layout
    linked = set()
    for name in sorted(names_in(layout.links)):
        path = layout.link(name)
        target = os.readlink(path) if os.path.islink(path) else ""
        key = target.removeprefix("../layers/").removesuffix("/diff")
        if target != f"../layers/{key}/diff" or not os.path.isdir(layout.layer_diff(key)):
            yield Problem("link", name, "it does not lead to a layer", partial(os.unlink, path))
        else:
            linked.add(key)
    for key in sorted(set(names_in(layout.layers)) - linked):
        if os.path.isdir(layout.layer_diff(key)):
            yield Problem("link", key, "the layer has no short link", partial(make_link, layout, key))
