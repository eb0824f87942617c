"""A layer with the owners of another id map: made once for each (layer, map), then used like any other layer."""

from __future__ import annotations

import os
from collections.abc import Callable

from storage import idmaps, jsonfast, ownership, trees
from storage.archive.xattrs import Shift
from storage.errors import StorageError, os_error
from storage.layers import Layers, layer_key
from storage.layers_publish import publish
from storage.layout import Layout
from storage.ownership import OVERFLOW, OwnersWriter
from storage.treecopy import TreeCopy
from storage.work import WorkDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.drivers.base import IdMap, InUserns


def remap(
    layout: Layout,
    diff_ids: list[str],
    *,
    stored: IdMap,
    wanted: IdMap,
    in_userns: InUserns,
    announce: Callable[[int], None] | None = None,
) -> None:
    """Make those layers of ``diff_ids`` for ``wanted`` that are missing, out of those of ``stored``.

    ``in_userns`` runs a function in a namespace with the map ``stored``. ``announce`` is told the bytes to copy, before
    the copy, if there is one (on a file system with reflinks they take no space). Raises StorageError: a source layer
    is missing, the disk is full.
    """
    layers = Layers(layout)
    missing = layers.missing(diff_ids, wanted.key())
    for diff_id in missing:
        layers.path(diff_id, stored.key())
    if not missing:
        return
    if announce is not None:
        announce(sum(_size(layout, layer_key(diff_id, stored.key())) for diff_id in missing))
    shift, root = shift_of(stored, wanted)
    with WorkDirectory(layout) as work:
        build = work.path

        def run() -> bytes:
            os.umask(0)
            try:
                for diff_id in missing:
                    _remap(layout, build, diff_id, stored.key(), wanted.key(), shift, root)
                publish(layout, build, [layer_key(diff_id, wanted.key()) for diff_id in missing])
            except OSError as error:
                raise os_error("cannot copy a layer for another id map", error) from error
            finally:
                for name in os.listdir(build):
                    trees.delete(f"{build}/{name}")
            return b""

        in_userns(run)


def shift_of(stored: IdMap, wanted: IdMap) -> tuple[Shift, int]:
    """How owners move, as seen in a namespace with the map ``stored``, and which id there is ``wanted``'s root.

    An id of the image keeps its number in the container, so that its owner on the disk changes from ``stored``'s host
    id to ``wanted``'s. Ids that the container does not have become its nobody (or root).
    """
    uids = idmaps.between(wanted.uids, stored.uids)
    gids = idmaps.between(wanted.gids, stored.gids)

    def fallback(rows: list[tuple[int, int, int]]) -> int:
        for number in (OVERFLOW, 0, *(row[0] for row in rows)):
            place = idmaps.shifted(rows, number)
            if place is not None:
                return place
        raise StorageError("cannot use an id map that has no id in common with the stored layers")

    nobody, nogroup = fallback(uids), fallback(gids)
    cache: dict[tuple[int, int], tuple[int, int, bool]] = {}

    def shift(uid: int, gid: int) -> tuple[int, int, bool]:
        found = cache.get((uid, gid))
        if found is None:
            new_uid, new_gid = idmaps.shifted(uids, uid), idmaps.shifted(gids, gid)
            found = cache[(uid, gid)] = (
                nobody if new_uid is None else new_uid,
                nogroup if new_gid is None else new_gid,
                new_uid is not None and new_gid is not None,
            )
        return found

    root = idmaps.shifted(uids, 0)
    return shift, 0 if root is None else root


def _size(layout: Layout, key: str) -> int:
    with open(layout.layer_record(key), "rb") as file:
        size = jsonfast.loads(file.read()).get("size", 0)
    return size if isinstance(size, int) else 0


def _remap(layout: Layout, build: str, diff_id: str, old: str, new: str, shift: Shift, root: int) -> None:
    source = layout.layer(layer_key(diff_id, old))
    target = f"{build}/{layer_key(diff_id, new)}"
    os.mkdir(target, 0o700)
    os.mkdir(f"{target}/diff", 0o755)
    try:
        with open(f"{source}/owners", "rb") as known_owners, open(f"{target}/owners", "wb") as copied:
            while part := known_owners.read(1 << 20):
                copied.write(part)
    except FileNotFoundError:
        pass
    fd = os.open(f"{target}/owners", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        owners = OwnersWriter(fd)
        known = ownership.load(f"{source}/owners")
        copy = TreeCopy(flatten=False, shift=shift, owners=owners, known=known, capability_root=root)
        copy.copy(f"{source}/diff", f"{target}/diff")
        owners.flush()
        if not os.fstat(fd).st_size:
            os.unlink(f"{target}/owners")
    finally:
        os.close(fd)
    with open(f"{source}/layer.json", "rb") as file:
        record = jsonfast.loads(file.read())
    record["map"] = new
    with open(f"{target}/layer.json", "xb") as file:
        file.write(jsonfast.dump_bytes(record))

