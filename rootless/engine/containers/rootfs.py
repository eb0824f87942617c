"""The root file system of a container: layers of an image, found in (or made for) the container's id map and handed to
the storage driver, or a directory of the host.
"""

from __future__ import annotations

import os

from rootless.errors import RootlessError
from storage import drivers
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rootless.engine.context import Engine
    from rootless.engine.options.run import RunOptions
    from rootless.idmaps import IdMap
    from storage.drivers.base import Driver, RootfsMount
    from storage.images import Image

_NO_POWER = "the process of fuse-overlayfs has no power over layers whose owner the container does not have"


class Source:
    """Where the root file system comes from: an image, or a directory of the host (``--rootfs``).

    ``overlay``: changes to the directory are thrown away with the container.
    """

    __slots__ = ("config", "directory", "image", "name", "overlay")

    def __init__(self, name: str, image: Image | None, directory: str = "", overlay: bool = False) -> None:
        self.name = name
        self.image = image
        self.directory = directory
        self.overlay = overlay
        self.config: dict[str, Any] = (image.config.get("config") or {}) if image is not None else {}


def find_source(engine: Engine, options: RunOptions, values: Mapping[str, Any], name: str) -> Source:
    """The image, pulled if need be, or the directory of ``--rootfs``."""
    if not options.rootfs:
        from rootless.engine.images.resolve import resolve

        image = resolve(engine, name, values.get("pull") or "missing", values)
        return Source(_display_name(image, name), image)
    path, *flags = name.split(":")
    if any(flag not in ("O", "") for flag in flags) or not path:
        raise RootlessError(f"cannot use --rootfs {name[:120]!r}", "write it as DIRECTORY or DIRECTORY:O")
    directory = os.path.abspath(path)
    if not os.path.isdir(directory):
        raise RootlessError(f"cannot use {directory} as a root file system: no such directory")
    if directory == "/" and "O" not in flags:
        hint = "put a throw-away layer over it: --rootfs /:O"
        raise RootlessError("cannot run on the machine's own root file system", hint)
    return Source(name, None, directory, "O" in flags)


def _display_name(image: Image, asked: str) -> str:
    """The name under which ps shows the image: one of its own, the one that was asked for if it is."""
    names = image.names
    for name in names:
        if name in (asked, f"{asked}:latest") or name.endswith((f"/{asked}", f"/{asked}:latest")):
            return name
    return names[0] if names else asked


def driver_for(engine: Engine, idmap: IdMap) -> Driver:
    """The storage driver for a container with this id map: the engine's, where that can serve it."""
    if engine.driver.name == "fuse-overlayfs" and not idmap.maps_caller():
        return drivers.copying(engine.store.layout, _NO_POWER, engine.in_userns)
    return engine.driver


def image_root(engine: Engine, image: Image, directory: str, idmap: IdMap, *, ephemeral: bool) -> RootfsMount:
    """The layers of an image under a layer of the container's own in ``directory``.

    Raises RootlessError for an image that was removed since it was found, StorageError for what else fails.
    """
    try:
        return _over_layers(engine, image, directory, idmap, ephemeral)
    except StorageError:
        if engine.store.images.find(image.id) is not None:
            raise
        raise RootlessError(f"cannot use image {image.id[:12]}: it was removed meanwhile") from None


def _over_layers(engine: Engine, image: Image, directory: str, idmap: IdMap, ephemeral: bool) -> RootfsMount:
    driver = driver_for(engine, idmap)
    if idmap is engine.idmap:
        return driver.prepare(directory, engine.layers.paths(image.diff_ids), ephemeral=ephemeral)
    if driver.maps_ids:
        layers = engine.layers.paths(image.diff_ids)
        return driver.prepare(directory, layers, ephemeral=ephemeral, stored=engine.idmap, wanted=idmap)
    if engine.layers.missing(image.diff_ids, idmap.key()):
        from storage.layers_remap import remap

        remap(
            engine.store.layout, image.diff_ids, stored=engine.idmap, wanted=idmap, in_userns=engine.in_userns,
            announce=lambda size: _announce(engine, size),
        )  # fmt: skip
    return driver.prepare(directory, engine.layers.paths(image.diff_ids, idmap.key()), ephemeral=ephemeral)


def _announce(engine: Engine, size: int) -> None:
    engine.tell(f"Copying {size / 1e6:.1f} MB of layers for another id map (once for this image)")


def directory_root(engine: Engine, path: str, directory: str, idmap: IdMap, overlay: bool) -> RootfsMount:
    """A directory of the host as root file system; with ``overlay`` its changes are thrown away."""
    from storage.drivers import host

    return host.throw_away(directory, path, driver_for(engine, idmap), idmap) if overlay else host.directory(path)
