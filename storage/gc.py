"""Removing what nothing needs any longer: content without an image, half-done work, the trash.

Nothing is counted. What is in use is found anew each time from the index and the records, so what a killed process
left behind is found too. Who adds content (a pull, a load, an import) holds ``adding(layout)`` until the image is in
the index; collecting waits for nobody and then leaves everything for the next time.
"""

from __future__ import annotations

import os
import time

from storage import atomic, locks, reserve, trees
from storage.errors import StorageError
from storage.layout import names_in
from storage.locks import Lock
from storage.oci import is_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from typing import TypedDict

    from storage.build_cache import Record
    from storage.images import Image
    from storage.layout import Layout
    from storage.store import Store
    from storage.trees import DeleteTree

    Chain = tuple[str, ...]
    """DiffIDs of layers, base first."""

    class Collected(TypedDict):
        """What was removed: numbers of blobs and layers, and the bytes of the blobs."""

        blobs: int
        layers: int
        bytes: int


PART_LIFETIME = 24 * 3600
"""Seconds for which a part of a blob is kept for the next pull."""

WRITE_LIFETIME = 3600
"""Seconds after which a half-written document has no writer any more."""

STEP_LIFETIME = 30 * 24 * 3600
"""Seconds for which a step of a build is remembered that makes no layer."""


def adding(layout: Layout) -> Lock:
    """Return the lock, held, of one who adds content: until it is released nothing is collected."""
    return locks.shared(layout.content_lock)


def collect(store: Store, delete_tree: DeleteTree | None = None) -> Collected:
    """Delete blobs and layers that belong to no image, no container and no step of a build.

    Deletes nothing while content is being added, nor while an image is damaged (what it needs is not known then).
    """
    result: Collected = {"blobs": 0, "layers": 0, "bytes": 0}
    trash: list[str] = []
    lock = Lock(store.layout.content_lock)
    with Lock(f"{store.layout.run_locks}/collect"):  # collectors wait for one another, not for those who add
        if not lock.acquire(wait=False):
            return result
    try:
        with lock:
            try:
                digests, diff_ids = _in_use(store)
            except StorageError:
                return result
            for digest in store.blobs.list():
                if digest not in digests:
                    result["bytes"] += store.blobs.remove(digest)
                    result["blobs"] += 1
            _discard_layers(store, diff_ids, trash)
    finally:
        if trash:
            trees.settle(store.layout, store.layout.layers)
        for path in trash:
            trees.empty(path, delete_tree)
    reserve.fill(store.layout)
    result["layers"] = len(trash)
    return result


def _in_use(store: Store) -> tuple[set[str], set[str]]:
    """Digests of the blobs that images, and what is kept of builds, need, and DiffIDs of their layers.

    Raises ``StorageError`` for a damaged image.
    """
    digests: set[str] = set()
    diff_ids: set[str] = set()
    for image in store.images.list():
        digests.add(image.digest)
        digests.add(image.manifest["config"]["digest"])
        digests.update(layer["digest"] for layer in image.layers)
        diff_ids.update(image.diff_ids)
    digests.update(store.lists.needed())
    digests.update(store.artifacts.needed())
    of_builds = store.build_cache.needed()
    digests.update(of_builds[0])
    diff_ids.update(of_builds[1])
    if store.images.damaged:
        raise StorageError("the image index is damaged")
    return digests, diff_ids


def _of_containers(store: Store) -> set[str]:
    """DiffIDs that the records of containers name under ``layers``. Raises ``StorageError`` if one cannot be read."""
    found: set[str] = set()
    for _, record in store.containers.list():
        layers = record.get("layers")
        if isinstance(layers, list):
            found.update(layer for layer in layers if is_digest(layer))
    if store.containers.damaged:
        raise StorageError("the record of a container is damaged")
    return found


def _discard_layers(store: Store, diff_ids: set[str], trash: list[str]) -> None:
    """Move the layers that are not among ``diff_ids`` to the trash; where they are there is added to ``trash``.

    A container may be created meanwhile, without any lock. It writes its record before it mounts its layers, and here
    they are moved away before the records are read: so either its mount finds no layer, or it is seen here and its
    layers are put back.
    """
    layout = store.layout
    moved: dict[str, str] = {}
    try:
        for key in names_in(layout.layers):
            if f"sha256:{key.partition('.')[0]}" not in diff_ids and f"sha512:{key.partition('.')[0]}" not in diff_ids:
                moved[key] = trees.to_trash(layout, layout.layer(key))
    finally:
        if moved:
            _put_back(store, moved)
            trash += moved.values()
        for link in names_in(layout.links):
            path = layout.link(link)
            if not os.path.exists(path):
                _unlink(path)


def _put_back(store: Store, moved: dict[str, str]) -> None:
    """Put the layers that containers need back where they were, and take them out of ``moved``."""
    try:
        wanted = _of_containers(store)
    except StorageError:
        wanted = {f"sha256:{key.partition('.')[0]}" for key in moved}
    for key in list(moved):
        if wanted & {f"sha256:{key.partition('.')[0]}", f"sha512:{key.partition('.')[0]}"}:
            os.rename(moved.pop(key), store.layout.layer(key))


def needed_layers(store: Store) -> set[str]:
    """DiffIDs of the layers that an image or a container needs. Raises ``StorageError`` if one is damaged."""
    return _in_use(store)[1] | _of_containers(store)


def remove_image(store: Store, image: Image, delete_tree: DeleteTree | None = None) -> list[str]:
    """Remove an image with its names and all content that was only its own; return the names."""
    try:
        steps = _steps_of(image)
    except StorageError:
        steps = set()  # damaged: what it was made of is not known
    names = store.images.remove(image)
    if steps:
        _forget(store, lambda chain: chain not in steps)
    collect(store, delete_tree)
    return names


def prune_images(
    store: Store, in_use: Container[str], *, named: bool = False, steps: bool = True,
    delete_tree: DeleteTree | None = None,
) -> list[tuple[str, list[str]]]:  # fmt: skip
    """Remove the images without a name (``named``: all) whose id is not ``in_use``; return their ids and names.

    ``steps``: forget the steps of builds of which no image is made, too.
    """
    removed = []
    for image in store.images.list():
        try:
            if image.id in in_use or (image.names and not named):
                continue
            identifier = image.id
        except StorageError:
            continue  # damaged: for `system check`
        removed.append((identifier, store.images.remove(image)))
    if steps:
        _forget(store, lambda chain: False)
    collect(store, delete_tree)
    return removed


def forget_steps(store: Store, *, everything: bool = False, delete_tree: DeleteTree | None = None) -> int:
    """Forget the steps of builds of which no image is made (``everything``: all); how many they were."""
    number = _forget(store, lambda chain: False, everything=everything)
    collect(store, delete_tree)
    return number


def _forget(store: Store, keep: Callable[[Chain], bool], *, everything: bool = False) -> int:
    """Forget the steps that ``keep``, given the layers after the step, does not ask for and no image is made of."""
    if everything:
        needed: set[Chain] = set()
    else:
        try:
            needed = {step for image in store.images.list() for step in _steps_of(image)}
        except StorageError:
            return 0  # an image is damaged: what it is made of is not known
    number = 0
    for key, record in store.build_cache.records():
        if record is None or _is_old(record) or (
            tuple(record.chain()) not in needed and not keep(tuple(record.chain()))
        ):
            store.build_cache.remove(key)
            number += 1
    return number


def _is_old(record: Record) -> bool:
    """Whether a step has made no layer, by which an image could need it, for so long that nobody does it any more."""
    return record.layer is None and abs(time.time() - record.made) > STEP_LIFETIME


def _steps_of(image: Image) -> set[Chain]:
    """The layers after each step of which the image may be made."""
    diff_ids = image.diff_ids
    return {tuple(diff_ids[:number]) for number in range(len(diff_ids) + 1)}


def sweep(store: Store, delete_tree: DeleteTree | None = None, *, parts: bool = False) -> int:
    """Remove what killed processes left: unlocked work in tmp/, the trash, names and states without a container.

    Parts of blobs are kept for a day so that a pull can continue; ``parts`` removes them as well, and names that a
    killed ``rename`` left, for which every record is read. Returns how many things were removed. Safe beside every
    other command.
    """
    layout = store.layout
    removed = _sweep_work(layout, PART_LIFETIME if not parts else 0)
    for name in names_in(layout.trash):
        removed += trees.empty(f"{layout.trash}/{name}", delete_tree)
    removed += sum(store.containers.free_if_stale(name) for name in names_in(layout.names))
    if parts:
        removed += sum(store.containers.free_if_second(name) for name in names_in(layout.names))
    for container_id in names_in(layout.engine_run):
        if not os.path.lexists(layout.container(container_id)):
            removed += trees.delete(layout.container_run(container_id))
    removed += _sweep_temporary(layout.images) + _sweep_temporary(f"{layout.blobs}/sha256")
    reserve.fill(layout)
    return removed


def _sweep_work(layout: Layout, part_lifetime: int) -> int:
    """Move every unlocked directory of tmp/ to the trash, and unlink parts older than ``part_lifetime`` seconds."""
    removed = 0
    for name in names_in(layout.tmp):
        path = f"{layout.tmp}/{name}"
        lock = Lock(path, create=False)
        try:
            if not lock.acquire(wait=False):
                continue
            with lock:
                if not name.endswith(".part"):
                    trees.to_trash(layout, path)
                elif _age(path) < part_lifetime:
                    continue
                else:
                    os.unlink(path)
                removed += 1
        except (StorageError, OSError):
            continue  # gone, or not ours to open: `system check` names it
    return removed


def _sweep_temporary(directory: str) -> int:
    """Remove half-written files that are so old that nobody can still be writing them."""
    removed = 0
    for name in names_in(directory):
        path = f"{directory}/{name}"
        try:
            if name.startswith(atomic.TEMP_PREFIX) and _age(path) > WRITE_LIFETIME:
                os.unlink(path)
                removed += 1
        except FileNotFoundError:
            continue
    return removed


def _age(path: str) -> float:
    """Seconds since the file was written, or until then, where the clock was put back: it is as little of now."""
    return abs(time.time() - os.lstat(path).st_mtime)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
