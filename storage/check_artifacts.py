"""The checks of ``storage.check`` that concern artifacts and image lists: their index, their documents and blobs."""

from __future__ import annotations

import os
from functools import partial

from storage import atomic, check_index, private
from storage import index as index_file
from storage.errors import StorageError
from storage.locks import Lock
from storage.problem import Means, Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from storage.artifacts import Artifact
    from storage.oci import Descriptor
    from storage.store import Store


def artifacts(store: Store, means: Means) -> Iterator[Problem]:
    """The index of artifacts is as it was written, and each artifact has its manifest and its files."""
    if not store.artifacts.is_there():
        return
    means.progress("artifacts")
    layout = store.layout
    why = private.wrong(layout.artifacts, 0o600)
    if why.startswith("its mode"):
        yield Problem("index", "artifacts.json", why, partial(os.chmod, layout.artifacts, 0o600))
    elif why or not check_index.is_intact(layout.artifacts):
        yield Problem("index", "artifacts.json", why or "its bytes are not those that were written",
                      partial(_rebuild, store))
    try:
        found = store.artifacts.list()
    except StorageError:
        return
    for name, what in list(store.artifacts.index.damaged):
        yield Problem("artifact", name, what, partial(_rebuild, store))
    for artifact in found:
        name = artifact.names[0] if artifact.names else artifact.digest
        means.progress(f"artifact {name}")
        forget = partial(store.artifacts.remove, artifact)
        try:
            manifest = artifact.manifest
        except StorageError as error:
            yield Problem("artifact", name, f"{error.message}; pull it again", forget, True)
            continue
        for part in (manifest["config"], *manifest["layers"]):
            if not store.blobs.has(part["digest"], part["size"]):
                yield Problem("artifact", name, f"its blob {part['digest']} is missing; pull it again",
                              partial(_fetch, artifact, part, means) if means.fetch is not None else forget,
                              means.fetch is None)


def _fetch(artifact: Artifact, part: Descriptor, means: Means) -> None:
    """Bring a blob of an artifact again. Raises ``StorageError``."""
    if means.fetch is None or not means.fetch(artifact, part["digest"], part["size"]):
        raise StorageError("it is not known where the artifact came from: add it again")


def _rebuild(store: Store) -> None:
    """Keep the good entries of the index, or of its copy where that is as it was written."""
    layout = store.layout
    with Lock(layout.images_lock):
        path = layout.artifacts_copy if check_index.is_copy(layout.artifacts_copy) else layout.artifacts
        try:
            entries, _ = index_file.parse(atomic.read(path, 64 << 20), path)
        except (OSError, StorageError):
            entries = []
        store.artifacts.index.replace(entries)


def lists(store: Store, means: Means) -> Iterator[Problem]:
    """Every image list has its document, and the images that are nowhere else."""
    try:
        found = store.lists.list()
    except StorageError:
        return  # reported by the check of the index
    for each in found:
        name = each.names[0] if each.names else each.id
        means.progress(f"image list {name}")
        try:
            entries = each.entries
        except StorageError as error:
            yield Problem("image list", name, error.message, partial(store.lists.remove, each), True)
            continue
        for entry in entries:
            if not each.source(entry["digest"]) and not store.blobs.has(entry["digest"], entry["size"]):
                yield Problem("image list", name, f"its image {entry['digest']} is missing; take it out with"
                              f" 'rootless manifest remove {name} {entry['digest']}'")
