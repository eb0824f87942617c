"""``rmi`` and ``image prune``."""

from __future__ import annotations

from rootless.engine.events import note
from rootless.engine.filters import has_label, until
from rootless.engine.images import names
from rootless.engine.images.listing import created_ns, labels
from rootless.errors import NotFoundError, RootlessError
from storage import gc
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rootless.engine.context import Engine
    from storage.image_lists import ImageList
    from storage.images import Image


def remove(engine: Engine, wanted: list[str], values: Mapping[str, Any]) -> list[str]:
    """Take names away; an image that has none left is deleted. The lines ``Untagged: NAME`` and ``Deleted: ID``.

    ``force`` takes an image with all its names and removes its containers. Raises NotFoundError with exit code 1 for an
    unknown image (not with ``ignore`` or ``force``), InUseError.
    """
    force, lines = bool(values.get("force")), []
    for name in wanted:
        image = engine.store.images.find(name)
        if image is None:
            found = engine.store.lists.find(name)
            if found is not None:
                lines += _remove_list(engine, found, name)
                continue
            if force or values.get("ignore"):
                continue
            raise NotFoundError(f"{name}: image not known", exit_code=1)
        lines += _remove_one(engine, image, name, force)
    return lines


def _remove_one(engine: Engine, image: Image, name: str, force: bool) -> list[str]:
    every = _every_name(engine, image)
    if not _is_id(image, name) and len(every) > 1:
        full = names.name_of(image, name)
        engine.store.images.untag(full)
        note(engine, "image", "untag", image.id, {"name": full})
        return [f"Untagged: {full}"]
    if len(every) > 1 and not force:
        raise RootlessError(
            f'unable to delete image "{image.id}" by ID with more than one tag ({", ".join(every)})',
            "remove the names, or use --force",
        )
    users = names.users_of(engine, image.id)
    if users and not force:
        container_id, record = users[0]
        raise names.in_use(image.id, container_id, str(record.get("name", "")))
    if users:
        from rootless.engine.containers.removal import remove as remove_containers

        remove_containers(engine, [container_id for container_id, _ in users], {"force": True})
    removed = gc.remove_image(engine.store, image, engine.delete_tree)
    _tell(engine, image.id, removed)
    return [*(f"Untagged: {old}" for old in removed), f"Deleted: {image.id}"]


def _every_name(engine: Engine, image: Image) -> list[str]:
    """The names of an image, those of its other manifests too (with layers that are compressed differently)."""
    found = list(image.names)
    for other in engine.store.images.list():
        try:
            if other.digest != image.digest and other.id == image.id:
                found += other.names
        except StorageError:
            continue  # damaged: for `system check`
    return found


def _remove_list(engine: Engine, found: ImageList, name: str) -> list[str]:
    """An image list: of several names the one that was given goes, and else the list."""
    if len(found.names) > 1 and not found.id.startswith(name.removeprefix("sha256:")):
        full = names.name_of(found, name)
        engine.store.images.untag(full)
        note(engine, "image", "untag", found.id, {"name": full})
        return [f"Untagged: {full}"]
    from rootless.engine.images.manifests import delete

    return delete(engine, found)


def _is_id(image: Image, name: str) -> bool:
    """Whether the user named the image by (the beginning of) its id rather than by one of its names."""
    bare = name.removeprefix("sha256:")
    return image.id.startswith(bare) and not any(bare in (each, each.rpartition("/")[2]) for each in image.names)


def prune(engine: Engine, values: Mapping[str, Any]) -> list[str]:
    """Remove the images without a name; with ``all`` those that no container uses. Their ids.

    ``filter``: until, label, label!.
    """
    moment, wanted, unwanted = until(values.get("filter") or [], ("until", "label", "label!"))
    keep = {str(record.get("image", "")) for _, record in engine.store.containers.list()}
    for image in engine.store.images.list():
        has = labels(image)
        fits = all(has_label(has, label) for label in wanted) and not any(has_label(has, label) for label in unwanted)
        if not fits or (moment and created_ns(image) >= moment):
            keep.add(image.id)
    removed = gc.prune_images(
        engine.store, keep, named=bool(values.get("all")), steps=not values.get("filter"),
        delete_tree=engine.delete_tree,
    )  # fmt: skip
    for found in engine.store.lists.list():
        young = moment and created_ns(found) >= moment
        if not (wanted or young) and (values.get("all") or not found.names):
            removed.append((found.id, engine.store.lists.remove(found)))
            gc.collect(engine.store, engine.delete_tree)
    for image_id, old in removed:
        _tell(engine, image_id, old)
    return list(dict.fromkeys(image_id for image_id, _ in removed))


def _tell(engine: Engine, image_id: str, old: list[str]) -> None:
    for name in old:
        note(engine, "image", "untag", image_id, {"name": name})
    note(engine, "image", "remove", image_id, {"name": old[0] if old else image_id})
