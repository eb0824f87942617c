"""The checks of ``storage.check`` that concern unpacked layers: what they consist of, their content, their links."""

from __future__ import annotations

import os
from functools import partial

from storage import atomic, gc, jsonfast, oci, trees
from storage.errors import StorageError
from storage.layers import layer_key
from storage.layers import link as make_link
from storage.layout import names_in
from storage.problem import Means, Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from storage.images import Image
    from storage.store import Store
    from storage.trees import DeleteTree


def layers(store: Store, means: Means) -> Iterator[Problem]:
    """Every unpacked layer has a tree and a record that belongs to it."""
    layout = store.layout
    for key in sorted(names_in(layout.layers)):
        means.progress(f"layer {key[:12]}")
        digest, _, map_key = key.partition(".")
        if not oci.is_digest(f"sha256:{digest}") and not oci.is_digest(f"sha512:{digest}"):
            yield Problem("layer", key, "its name is not that of a layer",
                          partial(_remove_layer, store, key, means.delete_tree))
        elif not os.path.isdir(layout.layer_diff(key)):
            yield Problem("layer", key, "its tree is missing; pull the image again",
                          partial(_remove_layer, store, key, means.delete_tree))
        elif not _is_layer_record(_read_record(layout.layer_record(key)), digest, map_key):
            yield Problem("layer", key, "its record is missing or damaged",
                          partial(_rebuild_layer_record, store, key))


def _read_record(path: str) -> Any:
    try:
        return jsonfast.loads(atomic.read(path, oci.MAX_DOCUMENT))
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
    trash = trees.to_trash(store.layout, store.layout.layer(key))
    atomic.sync_directory(store.layout.trash)
    trees.empty(trash, delete_tree)


def _rebuild_layer_record(store: Store, key: str) -> None:
    """A layer appeared by one rename with its data on disk: its name says what it is, its tree how large.

    What only another id may look at is not counted; ``contents``, which knows better, sets it right.
    """
    digest, _, map_key = key.partition(".")
    size = entries = 0
    for directory, _, files in os.walk(store.layout.layer_diff(key)):
        entries += 1 + len(files)
        size += sum(os.lstat(os.path.join(directory, name)).st_size for name in files)
    algorithm = "sha256" if len(digest) == 64 else "sha512"
    record = {"diff_id": f"{algorithm}:{digest}", "map": map_key, "size": size, "entries": entries}
    atomic.write(store.layout.layer_record(key), jsonfast.dump_bytes(record))


def contents(store: Store, means: Means) -> Iterator[Problem]:
    """Every file of a layer is as the layer's blob has it."""
    if means.quick or means.in_userns is None:
        return
    try:
        found = store.images.list()
    except StorageError:
        return  # reported by the check of the index
    checked: set[str] = set()
    with gc.adding(store.layout):
        for image in found:
            try:
                pairs = list(zip(image.diff_ids, image.layers, strict=True))
            except StorageError:
                continue  # reported by the check of images
            for diff_id, descriptor in pairs:
                blob = descriptor["digest"]
                whole = store.layers.has(diff_id) and store.blobs.has(blob, descriptor["size"])
                if whole and diff_id not in checked:
                    checked.add(diff_id)
                    yield from _content(store, image, diff_id, blob, means)


def _content(store: Store, image: Image, diff_id: str, blob: str, means: Means) -> Iterator[Problem]:
    """What differs in one layer. All of it is mended at once, when the first difference is to be."""
    from storage.layers_unpack import LayerSource
    from storage.layers_verify import verify

    assert means.in_userns is not None and means.confine is not None
    key = layer_key(diff_id, store.layout.map_key)
    means.progress(f"files of layer {key[:12]}")
    source = LayerSource(diff_id, store.blobs.path(blob))
    run = partial(
        verify, store.layout, source, image.diff_ids, in_userns=means.in_userns, confine=means.confine)
    mended = False

    def mend() -> None:
        nonlocal mended
        if not mended:
            run(mend=True)
            mended = True

    try:
        found = run()
    except StorageError as error:
        yield Problem("layer", key, f"it cannot be compared with its blob: {error.message}")
        return
    for path, what in found:
        yield Problem("layer", key, f"{path}: {what}", mend)


def links(store: Store, means: Means) -> Iterator[Problem]:
    """Every layer has its short link, and every link leads to a layer."""
    means.progress("short links")
    layout = store.layout
    linked = set()
    for name in sorted(names_in(layout.links)):
        path = layout.link(name)
        target = os.readlink(path) if os.path.islink(path) else ""
        key = target.removeprefix("../layers/").removesuffix("/diff")
        if target != f"../layers/{key}/diff" or not os.path.isdir(layout.layer_diff(key)):
            yield Problem("leftover", path, "a link that leads to no layer", partial(os.unlink, path))
        else:
            linked.add(key)
    for key in sorted(set(names_in(layout.layers)) - linked):
        if os.path.isdir(layout.layer_diff(key)):
            yield Problem("link", key, "the layer has no short link", partial(make_link, layout, key))
