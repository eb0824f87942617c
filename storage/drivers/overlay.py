"""The kernel's overlay file system, mounted in the container's user namespace (Linux 5.11)."""

from __future__ import annotations

import os

from storage.drivers import directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage.drivers.base import IdMap, RootfsMount
    from storage.layout import Layout


class OverlayDriver:
    """Layers are mounted as they are; changes go to ``upper``. The kernel shows stored owners only, so that another
    id map needs layers made for it.
    """

    name = "overlay"
    maps_ids = False

    __slots__ = ("_layout", "why")

    def __init__(self, layout: Layout, why: str) -> None:
        self._layout = layout
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
        """See ``Driver.prepare``."""
        lower = directories.visible(layer_dirs, container_dir)
        upper, work, merged = directories.make(container_dir, lower[0], readonly)
        # userxattr: the attributes that an unprivileged overlay may read (Documentation/filesystems/overlayfs.rst).
        options = ["userxattr"]
        if ephemeral and upper:
            options.append("volatile")  # else the end of every container waits for the whole disk
        return {
            "kind": "overlay",
            "lower": lower,
            "lower_links": directories.links(self._layout, lower),
            "links": self._layout.links,
            "upper": upper,
            "work": work,
            "merged": merged,
            "options": options,
            "readonly": readonly,
        }

    def overlay_directory(self, container_dir: str, directory: str) -> RootfsMount:
        """A throw-away overlay over a host's directory that is not ``/`` (``--rootfs DIR:O``)."""
        upper, work, merged = directories.make(container_dir, directory, False)
        return {
            "kind": "overlay",
            "lower": [os.path.realpath(directory)],
            "lower_links": [],
            "links": "",
            "upper": upper,
            "work": work,
            "merged": merged,
            "options": ["userxattr", "volatile"],
            "readonly": False,
        }
