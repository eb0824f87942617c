"""Use cases on images. A start needs only ``resolve``, which imports nothing more when the image is here."""

from __future__ import annotations

from rootless.errors import InUseError, NotFoundError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rootless.engine.context import Engine
    from rootless.engine.progress import Progress
    from storage.images import Image

    Values = Mapping[str, Any]

PULL_POLICIES = ("always", "missing", "never", "newer")
_TRANSPORTS = ("docker://", "oci:", "oci-archive:", "docker-archive:", "dir:")


def resolve(engine: Engine, name: str, pull_policy: str | None, values: Values) -> Image:
    """The image to make a container of: found in the store, or pulled, as ``--pull`` says (default: missing).

    A pull happens in a child process. Raises NotFoundError with policy ``never``, else what ``pull`` raises.
    """
    policy = pull_policy or "missing"
    if policy not in PULL_POLICIES:
        raise UsageError(f"cannot use --pull={policy}", "use one of " + ", ".join(PULL_POLICIES))
    if policy in ("missing", "never") and not name.startswith(_TRANSPORTS):
        image = engine.store.images.find(name)
        if image is not None and _fits(engine, image, values):
            return image
        if policy == "never" and image is None:
            raise NotFoundError(f"{name}: image not known", f"fetch it with 'rootless pull {name}'")
    from rootless.engine.image_pull import pull_for_run

    return pull_for_run(engine, name, policy, values)


def _fits(engine: Engine, image: Image, values: Values) -> bool:
    """Whether the image is of the platform that was asked for (if any), and all its layers are unpacked."""
    if engine.layers.missing(image.diff_ids):
        return False
    if not (values.get("platform") or values.get("os") or values.get("arch") or values.get("variant")):
        return True
    from rootless.engine.image_platform import wanted

    return wanted(values).matches(image.config)


def find(engine: Engine, name: str) -> Image:
    """The image that ``name`` (a reference, a short name or an id) means. Raises NotFoundError."""
    image = engine.store.images.find(name)
    if image is None:
        raise NotFoundError(f"{name}: image not known")
    return image


def exists(engine: Engine, name: str) -> bool:
    """Whether there is such an image."""
    return engine.store.images.find(name) is not None


def tag(engine: Engine, name: str, new_names: list[str]) -> None:
    """Give an image further names; short ones go below ``localhost/``. Raises NotFoundError, StorageError."""
    image = find(engine, name)
    for new_name in [local_name(new_name) for new_name in new_names]:
        engine.store.images.tag(image, new_name)


def untag(engine: Engine, name: str, old_names: list[str]) -> None:
    """Take names away from an image: those given, else all. Raises NotFoundError."""
    image = find(engine, name)
    for old_name in [name_of(image, old_name) for old_name in old_names] or list(image.names):
        engine.store.images.untag(old_name)


def name_of(image: Image, text: str) -> str:
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


def pull(engine: Engine, name: str, values: Values, progress: Progress | None = None) -> str:
    """Fetch an image from a registry, an archive or a directory; its id. ``values``: those of ``rootless pull``."""
    from rootless.engine.image_pull import pull as pull_image

    return pull_image(engine, name, values, progress)


def load(engine: Engine, source: str, values: Values, progress: Progress | None = None) -> list[str]:
    """Load the images of an archive or a layout (path, or ``-`` for standard input); their names or ids."""
    from rootless.engine.transports.local import load as load_images

    return load_images(engine, source, progress)


def import_image(engine: Engine, source: str, name: str, values: Values, progress: Progress | None = None) -> str:
    """Make an image of a tar archive of a root file system (path, or ``-``); its id."""
    from rootless.engine.transports.rootfs import import_image as import_rootfs

    return import_rootfs(engine, source, name, values, progress)


def list_images(engine: Engine, values: Values) -> list[dict[str, Any]]:
    """The images in the shape of ``podman images --format json``, newest first; ``values``: ``filter``, ``all``."""
    from rootless.engine.image_list import list_images as list_all

    return list_all(engine, values)


def inspect(engine: Engine, name: str) -> dict[str, Any]:
    """All that is known of an image, in the shape of ``podman image inspect``. Raises NotFoundError."""
    from rootless.engine.image_inspect import inspect as inspect_image

    return inspect_image(engine, find(engine, name))


def history(engine: Engine, name: str) -> list[dict[str, Any]]:
    """The steps that made an image, the last first: id, created (seconds), createdBy, size, comment, tags."""
    from rootless.engine.image_inspect import history as history_of

    return history_of(engine, find(engine, name))


def remove(engine: Engine, names: list[str], values: Values) -> list[str]:
    """Remove names, and the images that have none left; the lines to print. ``values``: ``force``, ``ignore``.

    Raises NotFoundError (exit code 1), InUseError (2).
    """
    from rootless.engine.image_remove import remove as remove_images

    return remove_images(engine, names, values)


def prune(engine: Engine, values: Values) -> list[str]:
    """Remove images without a name (``all``: without a container); their ids. ``values``: ``all``, ``filter``."""
    from rootless.engine.image_remove import prune as prune_images

    return prune_images(engine, values)


def users_of(engine: Engine, image_id: str) -> list[tuple[str, dict[str, Any]]]:
    """The containers made of an image, as (id, record)."""
    return [(cid, record) for cid, record in engine.store.containers.list() if record.get("image") == image_id]


def in_use(image_id: str, container_id: str, name: str) -> InUseError:
    """The error for an image that a container needs."""
    return InUseError(
        f"cannot remove image {image_id[:12]}: image is in use by container {container_id[:12]} ({name})",
        "remove the container first, or use --force",
    )
