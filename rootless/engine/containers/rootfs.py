"""The root file system of a container: layers found in (or made for) its id map, handed to the storage driver."""

from __future__ import annotations

from rootless.errors import RootlessError
from storage import drivers as storage_drivers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.engine.context import Engine
    from rootless.userns import IdMap
    from storage.drivers.base import Driver, RootfsMount
    from storage.images import Image

_NO_POWER = "the process of fuse-overlayfs has no power over layers whose owner the container does not have"


def choose(engine: Engine) -> Driver:
    """The storage driver that was asked for, else the best one that works; found once for each boot."""
    asked = engine.globals.get("storage_driver") or ""
    if not asked:
        from os import environ

        asked = environ.get("STORAGE_DRIVER", "") or engine.config.storage_driver
    wanted = "copy" if asked == "vfs" else asked  # podman's name for it
    return storage_drivers.choose(engine.store.layout, lambda mount: _probe(engine, mount), _in_userns(engine), wanted)


def _in_userns(engine: Engine) -> Callable[[Callable[[], bytes]], bytes]:
    def run(function: Callable[[], bytes]) -> bytes:
        from rootless.userns import run_in_userns

        return run_in_userns(function, engine.idmap)

    return run


def _probe(engine: Engine, mount: RootfsMount) -> str:
    """Whether the mount works here: empty, or why not."""
    from rootless.engine.containers.probe import attempt
    from rootless.userns import run_in_userns

    try:
        return run_in_userns(lambda: attempt(mount).encode(), engine.idmap, mount_ns=True).decode()
    except RootlessError as error:
        return error.message
    except OSError as error:
        return error.strerror or str(error)


def for_map(engine: Engine, idmap: IdMap) -> Driver:
    """The storage driver for a container with this id map: the engine's, where that can serve it."""
    if engine.driver.name == "fuse-overlayfs" and not idmap.maps_caller():
        return storage_drivers.copying(engine.store.layout, _NO_POWER, _in_userns(engine))
    return engine.driver


def image_root(engine: Engine, image: Image, directory: str, idmap: IdMap, *, ephemeral: bool) -> RootfsMount:
    """The layers of an image under a layer of the container's own in ``directory``."""
    driver = for_map(engine, idmap)
    if idmap is engine.idmap:
        return driver.prepare(directory, engine.layers.paths(image.diff_ids), ephemeral=ephemeral)
    if driver.maps_ids:
        layers = engine.layers.paths(image.diff_ids)
        return driver.prepare(directory, layers, ephemeral=ephemeral, stored=engine.idmap, wanted=idmap)
    if engine.layers.missing(image.diff_ids, idmap.key()):
        from storage.layers_remap import remap

        remap(
            engine.store.layout, image.diff_ids, stored=engine.idmap, wanted=idmap, in_userns=_in_userns(engine),
            announce=lambda size: _announce(engine, size),
        )  # fmt: skip
    return driver.prepare(directory, engine.layers.paths(image.diff_ids, idmap.key()), ephemeral=ephemeral)


def _announce(engine: Engine, size: int) -> None:
    engine.tell(f"Copying {size / 1e6:.1f} MB of layers for another id map (once for this image)")


def directory_root(engine: Engine, path: str, directory: str, idmap: IdMap, overlay: bool) -> RootfsMount:
    """A directory of the host as root file system; with ``overlay`` its changes are thrown away."""
    from storage.drivers import host

    return host.throw_away(directory, path, for_map(engine, idmap), idmap) if overlay else host.directory(path)
