"""The fuse-overlayfs helper: for kernels that do not mount overlays in a user namespace, and for other id maps."""

from __future__ import annotations

import os

from storage.drivers import directories
from storage.idmaps import between, shifted
from storage.ownership import OVERFLOW

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage.drivers.base import IdMap, RootfsMount
    from storage.idmaps import Rows
    from storage.layout import Layout

_PLACES = ("/usr/bin", "/usr/local/bin", "/bin", "/run/current-system/sw/bin")


def find_helper() -> str:
    """Absolute path of fuse-overlayfs in the system's directories (never by $PATH); empty if it is not installed."""
    for place in _PLACES:
        path = f"{place}/fuse-overlayfs"
        if os.access(path, os.X_OK):
            return path
    return ""


class FuseOverlayfsDriver:
    """Layers are merged by a helper process, which can also show the stored owners under another id map."""

    name = "fuse-overlayfs"
    maps_ids = True

    __slots__ = ("_helper", "_layout", "why")

    def __init__(self, layout: Layout, why: str, helper: str) -> None:
        self._layout = layout
        self._helper = helper
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
        options = []
        if stored is not None and wanted is not None:
            options = _mapping("uid", stored.uids, wanted.uids) + _mapping("gid", stored.gids, wanted.gids)
        if ephemeral:
            options.append("volatile")
        return self._mount(container_dir, lower, readonly, options)

    def overlay_directory(self, container_dir: str, directory: str, idmap: IdMap) -> RootfsMount:
        """A throw-away overlay over a host's directory (``--rootfs DIR:O``).

        Files of owners that the container does not have are nobody's; where it has no nobody either, they are shown as
        those of its first id, or nothing could be made in their directories.
        """
        options = ["volatile"]
        for kind, rows in (("uid", idmap.uids), ("gid", idmap.gids)):
            if shifted(rows, OVERFLOW) is None:
                options.append(f"squash_to_{kind}={rows[0][0]}")
        return self._mount(container_dir, [os.path.realpath(directory)], False, options)

    def _mount(self, container_dir: str, lower: list[str], readonly: bool, options: list[str]) -> RootfsMount:
        upper, work, merged = directories.make(container_dir, lower[0], readonly)
        return {
            "kind": "fuse-overlayfs",
            "lower": lower,
            "lower_links": directories.links(self._layout, lower),
            "links": self._layout.links,
            "upper": upper,
            "work": work,
            "merged": merged,
            "options": options,
            "readonly": readonly,
            "helper": self._helper,
        }


def _mapping(kind: str, stored: Rows, wanted: Rows) -> list[str]:
    """The helper's option: id on the disk as the container's namespace sees it, id to show, length.

    An id is shown only if the container has it: in a map of the caller alone under its own id, nothing is root's.
    """
    words = []
    for shown, seen, length in between(stored, wanted):
        for inside, _, count in wanted:
            start, end = max(shown, inside), min(shown + length, inside + count)
            if start < end:
                words.append(f"{seen + start - shown}:{start}:{end - start}")
    return [f"{kind}mapping=" + ":".join(words)] if words else []
