"""A copy of the image's files for each container: works wherever files can be made, shares blocks where possible."""

from __future__ import annotations

import os

from storage.drivers import directories
from storage.errors import os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage.drivers.base import IdMap, InUserns, RootfsMount
    from storage.layout import Layout


class CopyDriver:
    """Flattens the layers into ``rootfs`` once, in the user namespace that the layers were unpacked in."""

    name = "copy"
    maps_ids = True

    __slots__ = ("_in_userns", "_layout", "why")

    def __init__(self, layout: Layout, why: str, in_userns: InUserns) -> None:
        self._layout = layout
        self._in_userns = in_userns
        self.why = why

    def prepare(
        self,
        container_dir: str,
        layer_dirs: Sequence[str],
        *,
        readonly: bool = False,
        ephemeral: bool = False,
        stored: IdMap | None = None,
        wanted: IdMap | None = None,
    ) -> RootfsMount:
        """See ``Driver.prepare``. The copy appears by one rename; an interrupted one is begun again."""
        rootfs = f"{container_dir}/rootfs"
        if not os.path.lexists(rootfs):
            layers = list(layer_dirs)

            def run() -> bytes:
                _flatten(layers, rootfs, stored, wanted, durable=not ephemeral)
                return b""

            self._in_userns(run)
        return directories.plain(rootfs, readonly)


def _flatten(
    layers: list[str], rootfs: str, stored: IdMap | None, wanted: IdMap | None, *, durable: bool
) -> None:
    from storage import sys as calls
    from storage import trees
    from storage.layers_remap import shift_of
    from storage.treecopy import TreeCopy

    os.umask(0)
    half = f"{rootfs}.new"
    try:
        trees.delete(half)
        os.mkdir(half, 0o755)
        if stored is not None and wanted is not None:
            shift, root = shift_of(stored, wanted)
            copy = TreeCopy(flatten=True, shift=shift, capability_root=root)
        else:
            copy = TreeCopy(flatten=True)
        for layer in layers:
            if _hides_all(layer):
                trees.delete(half)
                os.mkdir(half, 0o755)
            copy.copy(layer, half)
        if durable:
            fd = os.open(half, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                calls.syncfs(fd)
            finally:
                os.close(fd)
        os.rename(half, rootfs)
    except OSError as error:
        trees.delete(half)
        raise os_error("cannot copy the image's files", error) from error


def _hides_all(layer: str) -> bool:
    from storage.drivers.directories import OPAQUE

    try:
        return os.getxattr(layer, OPAQUE) == b"y"
    except OSError:
        return False
