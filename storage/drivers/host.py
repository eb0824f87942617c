"""Root file systems from the host's own directories: ``--rootfs DIR``, ``DIR:O`` and ``/:O``."""

from __future__ import annotations

import os
import stat

from storage.drivers import directories
from storage.errors import StorageError, os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.drivers.base import Driver, IdMap, RootfsMount, ToplevelEntry

# The Spec mounts these itself: kernel file systems, and places for passing files.
_MOUNTED_BY_SPEC = frozenset(("proc", "sys", "dev", "run", "tmp"))


def directory(path: str, readonly: bool = False) -> RootfsMount:
    """The host's directory ``path`` as it is: the container's changes are changes of it."""
    real = os.path.realpath(path)
    if not os.path.isdir(real):
        raise StorageError(f"cannot use {path} as a root file system: no such directory")
    return directories.plain(real, readonly)


def throw_away(container_dir: str, path: str, driver: Driver, idmap: IdMap) -> RootfsMount:
    """The host's directory ``path`` below an overlay that takes the changes; ``/`` is put together by name.

    ``idmap`` is the container's. Raises StorageError: the driver has no overlays.
    """
    from storage.drivers.fuse_overlayfs import FuseOverlayfsDriver
    from storage.drivers.overlay import OverlayDriver

    real = directory(path)["merged"]
    if isinstance(driver, FuseOverlayfsDriver):
        return driver.overlay_directory(container_dir, real, idmap)
    if isinstance(driver, OverlayDriver):
        return toplevel_overlay(container_dir) if real == "/" else driver.overlay_directory(container_dir, real)
    raise StorageError(
        f"cannot put an overlay over {path}: the storage driver is {driver.name}",
        hint="use --storage-driver overlay or fuse-overlayfs, or --rootfs without :O",
    )


def toplevel_overlay(container_dir: str, root: str = "/") -> RootfsMount:
    """One overlay for each directory of ``root``: the kernel refuses an unprivileged overlay over ``/`` itself.

    Symlinks are made again, what the Spec mounts is left out, as is what cannot be entered (another's home, mode 0700).
    """
    base = f"{container_dir}/toplevel"
    merged = f"{container_dir}/merged"
    entries: list[ToplevelEntry] = []
    try:
        for path in (merged, base):
            os.makedirs(path, 0o700, exist_ok=True)
        for name in sorted(os.listdir(root)):
            entries.append(_entry(os.path.join(root, name), name, base))
    except OSError as error:
        raise os_error(f"cannot use {root} as a root file system", error) from error
    return {
        "kind": "toplevel-overlay",
        "lower": [],
        "lower_links": [],
        "links": "",
        "upper": "",
        "work": "",
        "merged": merged,
        "options": ["userxattr", "volatile"],
        "readonly": False,
        "entries": entries,
    }


def _entry(path: str, name: str, base: str) -> ToplevelEntry:
    entry: ToplevelEntry = {"name": name, "kind": "skip", "target": "", "lower": "", "upper": "", "work": ""}
    mode = os.lstat(path).st_mode
    if name in _MOUNTED_BY_SPEC:
        return entry
    if stat.S_ISLNK(mode):
        entry["kind"] = "symlink"
        entry["target"] = os.readlink(path)
    elif stat.S_ISDIR(mode) and os.access(path, os.R_OK | os.X_OK):
        own = f"{base}/{name}"
        os.makedirs(own, 0o700, exist_ok=True)
        entry["kind"] = "dir"
        entry["lower"] = path
        entry["upper"], entry["work"], _ = directories.make(own, path, False)
    return entry
