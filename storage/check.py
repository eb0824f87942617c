"""Looking at everything in the store: is it what it should be, and can it be mended?

A check yields a ``Problem`` for each thing that is wrong. Its ``mend``, if there is one, runs before the check goes on,
so that later checks see the store as it is then. Mending loses nothing that is whole; what would lose a container's or
a volume's data is done by force only.
"""

from __future__ import annotations

import os
import stat
from functools import partial

from storage import (
    atomic,
    check_artifacts,
    check_images,
    check_index,
    check_layers,
    gc,
    jsonfast,
    locks,
    private,
    trees,
)
from storage.errors import StorageError, shown
from storage.layout import names_in
from storage.names import is_name
from storage.problem import Means, Problem
from storage.store import OCI_LAYOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypedDict

    from storage.store import Store
    from storage.trees import DeleteTree

    class Finding(TypedDict):
        """One thing that is wrong: what kind of thing it is, which one, and what is wrong with it."""

        kind: str
        object: str
        problem: str
        repairable: bool
        repaired: bool


def run(
    store: Store, *, repair: bool = False, force: bool = False, means: Means | None = None
) -> list[Finding]:
    """Check the whole store, every blob by its digest, every layer by its blob; return what was found.

    ``repair`` mends what can be mended without loss of data, ``force`` also removes what cannot be read.
    Raises ``StorageError`` only where a directory cannot be read at all.
    """
    findings: list[Finding] = []
    for check in (
        _directories, check_index.index, check_images.blobs, check_layers.layers, check_images.images,
        check_artifacts.lists, check_artifacts.artifacts,
        check_layers.contents, check_layers.links, check_images.unused, _containers, _names, _volumes, _leftovers,
    ):
        for problem in check(store, means or Means()):
            repaired = False
            if problem.mend is not None and repair and (force or not problem.loses_data):
                try:
                    problem.mend()
                    repaired = True
                except (StorageError, OSError) as error:
                    problem.text += f" (cannot repair it: {error})"
            findings.append({
                "kind": problem.kind, "object": problem.object, "problem": problem.text,
                "repairable": problem.mend is not None, "repaired": repaired})
    return findings


def _directories(store: Store, means: Means) -> Iterator[Problem]:
    """The directories of the layout exist, are ours and private."""
    layout = store.layout
    means.progress("directories")
    for path in [layout.data, *layout.directories(), layout.run, *layout.run_directories()]:
        try:
            status = os.lstat(path) if path != layout.data else os.stat(path)
        except FileNotFoundError:
            yield Problem("directory", path, "it is missing", partial(os.makedirs, path, 0o700))
            continue
        if not stat.S_ISDIR(status.st_mode):
            yield Problem("directory", path, "it is not a directory")
        elif status.st_uid != os.geteuid():
            yield Problem("directory", path, f"it belongs to uid {status.st_uid}")
        elif status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            yield Problem("directory", path, f"others may enter it (mode {mode:04o})",
                          partial(os.chmod, path, 0o700))
    for path in (layout.format_version, layout.oci_layout):
        why = private.wrong(path, 0o600)
        if why.startswith("its mode"):
            yield Problem("file", path, why, partial(os.chmod, path, 0o600))
    document = _json(layout.oci_layout)
    if not isinstance(document, dict) or document.get("imageLayoutVersion") != "1.0.0":
        yield Problem("file", layout.oci_layout, "it does not say version 1.0.0 of the OCI image layout",
                      lambda: atomic.write(layout.oci_layout, OCI_LAYOUT))


def _json(path: str) -> Any:
    """The value of a JSON file; None if it is missing, is none, or not as it was sealed."""
    try:
        with open(path, "rb") as file:
            data = file.read()
        return jsonfast.loads(data) if jsonfast.is_intact(data) else None
    except (OSError, StorageError):
        return None


def _containers(store: Store, means: Means) -> Iterator[Problem]:
    """Every container's record can be read and its name leads to it."""
    layout = store.layout
    ids = set(store.containers.ids())
    for stranger in sorted(set(names_in(layout.containers)) - ids):
        yield Problem("container", stranger, "its name is not a container's id")
    for container_id in sorted(ids):
        means.progress(f"container {container_id[:12]}")
        try:
            record = store.containers.load(container_id)
        except StorageError as error:
            remove = _removal(store, container_id, means)
            if store.containers.is_unwritten(container_id):
                yield Problem("leftover", container_id, "a container that was not to outlive a power cut", remove)
            else:
                yield Problem("container", container_id, error.message, remove, True)
            continue
        yield from _as_written(
            "container", container_id, layout.container_record(container_id),
            partial(store.containers.save, container_id, record))
        name = record["name"]
        if not is_name(name):
            yield Problem("container", container_id, f"its record has the name {shown(name)}")
        elif store.containers.names().get(name) != container_id:
            yield Problem("container", container_id, f"its name {name} does not lead to it",
                          partial(store.containers.claim_name, container_id))
        unusable = _unusable(store, container_id, record)
        if unusable:
            text = f"its {os.path.basename(unusable)} is missing or damaged: it cannot be started"
            yield Problem("container", container_id, text, _removal(store, container_id, means), True)
        for path in (layout.container_spec(container_id), layout.container_exit(container_id)):
            if path != unusable and os.path.lexists(path) and _json(path) is None:
                kind, text = "container", f"{os.path.basename(path)} is damaged"
                if path == layout.container_exit(container_id) and not os.lstat(path).st_size:
                    kind, text = "leftover", "the power was cut before it was on disk how it ended"
                yield Problem(kind, container_id, text, partial(os.unlink, path))


def _unusable(store: Store, container_id: str, record: dict[str, Any]) -> str:
    """The path of what a container lacks that is to be started again; empty for one that has all, or needs nothing."""
    layout = store.layout
    files = [layout.container_spec(container_id), layout.container_launch(container_id)]
    # One that goes when it ends has no more than its specification, and what the storage library makes not even that.
    ran = not record.get("rm") and os.path.lexists(layout.container_exit(container_id)) and os.path.lexists(files[0])
    wanted = files if ran or os.path.lexists(files[1]) else []
    return next((path for path in wanted if _json(path) is None), "")


def _removal(store: Store, container_id: str, means: Means) -> Callable[[], object] | None:
    """What removes a container that cannot be mended; None for one that runs: its user can end it."""
    if locks.is_held(store.layout.container(container_id)):
        return None
    return partial(store.containers.remove, container_id, means.delete_tree)


def _names(store: Store, means: Means) -> Iterator[Problem]:
    """Every name leads to a container that has it; one that does not is free, and in nobody's way."""
    means.progress("names")
    layout = store.layout
    for name, holder in sorted(store.containers.names().items()):
        if not holder or not os.path.lexists(layout.container(holder)):
            yield Problem("leftover", layout.name(name), "the name of a container that is gone",
                          partial(store.containers.free_if_stale, name))
            continue
        try:
            other = store.containers.load(holder)["name"]
        except StorageError:
            continue  # reported as a container
        if other != name:
            yield Problem("leftover", layout.name(name), f"a second name of a container that is called {shown(other)}",
                          partial(os.unlink, layout.name(name)))


def _volumes(store: Store, means: Means) -> Iterator[Problem]:
    """Every volume has its data and a record that can be read."""
    layout = store.layout
    for name in sorted(names_in(layout.volumes)):
        means.progress(f"volume {name}")
        if not is_name(name):
            yield Problem("volume", name, "its name is not that of a volume")
            continue
        data = layout.volume_data(name)
        if not os.path.isdir(data):
            yield Problem("volume", name, "its data is missing", partial(os.mkdir, data, 0o755))
        try:
            record = store.volumes.load(name)
        except StorageError as error:
            yield Problem("volume", name, error.message, partial(store.volumes.rebuild_record, name))
            continue
        yield from _as_written(
            "volume", name, layout.volume_record(name), partial(store.volumes.save, name, record))


def _as_written(kind: str, name: str, path: str, save: Callable[[], object]) -> Iterator[Problem]:
    """A record that can be read is private, and as it was written; ``save`` makes do with what it says."""
    file = os.path.basename(path)
    why = private.wrong(path, 0o600)
    if why:
        yield Problem(kind, name, f"{file}: {why}", partial(os.chmod, path, 0o600))
    try:
        if not jsonfast.is_intact(atomic.read(path, 16 << 20)):
            yield Problem(kind, name, f"{file} was damaged, or changed by hand: see whether it is right", save, True)
    except OSError:
        return  # removed meanwhile


def _leftovers(store: Store, means: Means) -> Iterator[Problem]:
    """Nothing half-done is in tmp/ without a process that works on it, and the trash is empty."""
    means.progress("leftovers")
    layout = store.layout
    for directory, problem in ((layout.tmp, "the work of a killed process"), (layout.trash, "not yet deleted")):
        for name in sorted(names_in(directory)):
            path = f"{directory}/{name}"
            if name.endswith(".part") or (directory == layout.tmp and locks.is_held(path)):
                continue
            yield Problem("leftover", path, problem, partial(_clear, store, path, means.delete_tree))


def _clear(store: Store, path: str, delete_tree: DeleteTree | None) -> None:
    gc.sweep(store, delete_tree)
    if os.path.lexists(path) and not trees.empty(path, delete_tree):
        raise StorageError("a part of it cannot be deleted")
