"""``image mount`` and ``image unmount``: the files of an image for programs of the host, inside ``rootless unshare``.

A mount cannot be written to; it belongs to the mount namespace of whoever makes it, and ends with that; what is
mounted is read from the kernel. Where nothing can be mounted the files are copied, and the copy stays until it is
unmounted: the image is never changed.
"""

from __future__ import annotations

import os

from rootless import idmaps
from rootless.engine.containers.mount import mount_here, mount_points, unmount_here
from rootless.engine.events import note
from rootless.engine.images import names
from rootless.errors import RootlessError
from storage.store import private_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.engine.context import Engine
    from storage.images import Image

    Mounted = list[tuple[Image, str]]


def _places(engine: Engine) -> str:
    """The directory of the mounts; a copy takes space, and is on the disk of the store."""
    layout = engine.store.layout
    return layout.image_copies if engine.driver.name == "copy" else layout.image_mounts


def mount(engine: Engine, name: str) -> tuple[Image, str]:
    """Mount an image; it and the path of its root. One that is mounted already stays so. Raises NotFoundError."""
    image = names.find(engine, name)
    layers = _layers(engine, image)
    if not layers:
        raise RootlessError(f"cannot mount {name}: its layers are not unpacked", f"rootless pull {name}")
    places = _places(engine)
    private_directory(places)
    directory = f"{places}/{image.id}"
    os.makedirs(directory, 0o700, exist_ok=True)
    rootfs = engine.driver.prepare(directory, layers, readonly=True)
    merged = rootfs["merged"]
    if rootfs["kind"] == "directory" or merged in mount_points():
        return image, merged
    mount_here(rootfs)
    note(engine, "image", "mount", image.id, {"name": name})
    return image, merged


def _layers(engine: Engine, image: Image) -> list[str]:
    """The trees of an image's layers, as they were unpacked for this namespace, or outside of it for the same ids."""
    for key in (engine.idmap.key(), "", idmaps.single_map().key()):
        if not engine.layers.missing(image.diff_ids, key):
            return engine.layers.paths(image.diff_ids, key)
    return []


def unmount(engine: Engine, name: str, *, force: bool) -> Image:
    """Take the mount away. ``force``: also while it is in use. Raises RootlessError if there is none."""
    image = names.find(engine, name)
    found = [path for each, path in mounted(engine) if each.id == image.id]
    if not found:
        raise RootlessError(f"cannot unmount image {name}: it is not mounted here")
    (path,) = found
    directory = f"{_places(engine)}/{image.id}"
    if engine.driver.name != "copy":
        unmount_here(path, f"image {name}", force=force)
    engine.delete_tree(directory)
    note(engine, "image", "unmount", image.id, {"name": name})
    return image


def mounted(engine: Engine) -> Mounted:
    """The images that are mounted in this mount namespace, and where."""
    from storage.layout import names_in

    points = mount_points()
    found = []
    for image_id in names_in(_places(engine)):
        image = engine.store.images.find(image_id)
        directory = f"{_places(engine)}/{image_id}"
        path = f"{directory}/rootfs" if engine.driver.name == "copy" else f"{directory}/merged"
        if image is not None and (path in points or (engine.driver.name == "copy" and os.path.isdir(path))):
            found.append((image, path))
    return found
