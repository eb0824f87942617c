"""The names of images: which image a name means, further names for it, and who needs it."""

from __future__ import annotations

from rootless.engine.events import note
from rootless.errors import InUseError, NotFoundError, UsageError
from storage.oci import INDEX_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rootless.engine.context import Engine
    from storage.image_lists import ImageList
    from storage.images import Image


def find(engine: Engine, name: str) -> Image:
    """The image that ``name`` (a reference, a short name or an id) means; of an image list the one for this machine.

    Raises NotFoundError.
    """
    image = engine.store.images.find(name)
    if image is None and engine.store.lists.find(name) is not None:
        from rootless.engine.images.instances import instance

        image = instance(engine, name, {})
    if image is None:
        raise NotFoundError(f"{name}: image not known")
    return image


def find_named(engine: Engine, name: str) -> Image | ImageList:
    """The image or the image list that ``name`` means. Raises NotFoundError."""
    found = engine.store.images.find(name) or engine.store.lists.find(name)
    if found is None:
        raise NotFoundError(f"{name}: image not known")
    return found


def exists(engine: Engine, name: str) -> bool:
    """Whether there is such an image, or image list."""
    return (engine.store.images.find(name) or engine.store.lists.find(name)) is not None


def tag(engine: Engine, name: str, new_names: list[str]) -> None:
    """Give an image further names; short ones go below ``localhost/``. Raises NotFoundError, StorageError."""
    image = find_named(engine, name)
    store = engine.store
    for new_name in [local_name(new_name) for new_name in new_names]:
        if image.media_type in INDEX_TYPES:
            store.lists.tag(image, new_name)  # type: ignore[arg-type]
        else:
            store.images.tag(image, new_name)  # type: ignore[arg-type]
        note(engine, "image", "tag", image.id, {"name": new_name})


def untag(engine: Engine, name: str, old_names: list[str]) -> None:
    """Take names away from an image: those given, else all. Raises NotFoundError."""
    image = find_named(engine, name)
    for old_name in [name_of(image, old_name) for old_name in old_names] or list(image.names):
        engine.store.images.untag(old_name)
        note(engine, "image", "untag", image.id, {"name": old_name})


def name_of(image: Image | ImageList, text: str) -> str:
    """The one of the image's names that ``text`` means. Raises NotFoundError."""
    from storage import reference

    for candidate in (str(reference.parse(text)), local_name(text)):
        if candidate in image.names:
            return candidate
    name, tag, _ = reference.split(text)
    ending = [each for each in image.names if each.endswith(f"/{name}:{tag or reference.DEFAULT_TAG}")]
    if len(ending) == 1:
        return ending[0]
    raise NotFoundError(f"{text}: tag not known")


def local_name(text: str) -> str:
    """A full name for what the user calls an image here: a short name belongs to ``localhost/``."""
    from storage import reference

    full = reference.parse(f"localhost/{text}" if reference.is_short(text) else text)
    if full.digest is not None:
        raise UsageError(f"cannot name an image {text}: a digest is not a name")
    return str(full)


def users_of(engine: Engine, image_id: str) -> list[tuple[str, dict[str, Any]]]:
    """The containers made of an image, as (id, record)."""
    return [(cid, record) for cid, record in engine.store.containers.list() if record.get("image") == image_id]


def in_use(image_id: str, container_id: str, name: str) -> InUseError:
    """The error for an image that a container needs."""
    return InUseError(
        f"cannot remove image {image_id[:12]}: image is in use by container {container_id[:12]} ({name})",
        "remove the container first, or use --force",
    )
