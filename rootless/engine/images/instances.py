"""The image of a list for one platform: what a name that means a list stands for, wherever an image is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rootless.engine.images.platform import choose, wanted
from rootless.errors import RootlessError
from storage.images import Image

if TYPE_CHECKING:
    from rootless.engine.context import Engine
    from storage.image_lists import ImageList
    from storage.oci import Descriptor

    Values = Mapping[str, Any]


def instance(engine: Engine, name: str, values: Values) -> Image | None:
    """The image in the list ``name`` for the platform of ``values`` (this machine's, unless the user names one).

    None: there is no such list, or the image is not in the store. An image that nothing but the list keeps has no entry
    among the images. Raises RootlessError if the list has none for the platform.
    """
    found = engine.store.lists.find(name)
    if found is None:
        return None
    return image_of(engine, choose(found.document, wanted(values), shown(found)))


def resolve(engine: Engine, name: str, values: Values) -> tuple[Image | None, str]:
    """The image in the list ``name`` to make a container of (see ``instance``), and what to pull if it does not do.

    One that has all its layers becomes an image of the store, without a name. Raises RootlessError.
    """
    found = engine.store.lists.find(name)
    if found is None:
        return None, name
    entry = choose(found.document, wanted(values), shown(found))
    image = image_of(engine, entry)
    if image is not None:
        recorded = engine.store.images.index.with_digest(image.digest)
        if not recorded and not engine.layers.missing(image.diff_ids):
            image = engine.store.images.add(image.digest, entry["size"], image.media_type, [])
        return image, name
    source = found.source(entry["digest"])
    if not source:
        raise RootlessError(f"cannot use {shown(found)}: its image {entry['digest']} is not in the store any more")
    return None, f"{source}@{entry['digest']}"


def image_of(engine: Engine, entry: Descriptor) -> Image | None:
    """The image that an entry of a list means, if all of it is in the store."""
    manifest = engine.store.lists.manifest(entry)
    blobs = engine.store.blobs
    if manifest is None:
        return None
    if not all(blobs.has(part["digest"], part["size"]) for part in (manifest["config"], *manifest["layers"])):
        return None
    known = next((each for each in engine.store.images.list() if each.digest == entry["digest"]), None)
    descriptor: Descriptor = {"mediaType": entry["mediaType"], "digest": entry["digest"], "size": entry["size"]}
    return known or Image(engine.store.images, descriptor, [])


def shown(found: ImageList) -> str:
    """What the user calls a list: a name of it, else the beginning of its id."""
    return found.names[0] if found.names else found.id[:12]
