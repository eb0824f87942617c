"""Where the unpacked layers are. The start of a container only looks them up; ``layers_unpack`` makes them."""

from __future__ import annotations

import os

from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.layout import Layout

_LARGEST_RECORD = 4 << 20  # bytes
_LINK_DIGITS = (12, 20, 64)  # a longer name only if another layer has the shorter one


def layer_key(diff_id: str, map_key: str = "") -> str:
    """Name of a layer's directory: the hex part of its DiffID, and the id map's key unless that is empty."""
    digest = diff_id.partition(":")[2]
    return f"{digest}.{map_key}" if map_key else digest


def link(layout: Layout, key: str) -> str:
    """Short name in the directory of links for a layer's tree: mount(2) takes one page of options for all layers.

    The link is made when it is missing.
    """
    target = f"../layers/{key}/diff"
    digest, dot, map_key = key.partition(".")
    for digits in _LINK_DIGITS:
        name = digest[:digits] + dot + map_key
        try:
            found = os.readlink(layout.link(name))
        except FileNotFoundError:
            try:
                os.symlink(target, layout.link(name))
                return name
            except FileExistsError:
                found = os.readlink(layout.link(name))
        if found == target:
            return name
    raise StorageError(f"cannot name the layer {key}: {layout.links} holds other files")


class Layers:
    """The layers of one store, each a directory ``layers/KEY`` with the tree in ``diff``.

    ``map_key`` says for which id map; None is the user's default map.
    """

    __slots__ = ("_layout",)

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def _key(self, diff_id: str, map_key: str | None) -> str:
        return layer_key(diff_id, self._layout.map_key if map_key is None else map_key)

    def has(self, diff_id: str, map_key: str | None = None) -> bool:
        """Whether the layer is unpacked. It appears by one rename, so that a directory is always whole."""
        return os.path.lexists(self._layout.layer(self._key(diff_id, map_key)))

    def path(self, diff_id: str, map_key: str | None = None) -> str:
        """Absolute path of the layer's tree. Raises StorageError if it is not unpacked."""
        path = self._layout.layer_diff(self._key(diff_id, map_key))
        try:
            os.stat(path)
        except OSError:
            raise StorageError(
                f"cannot find the unpacked layer {diff_id}", hint="pull the image again: rootless pull IMAGE"
            ) from None
        return path

    def paths(self, diff_ids: list[str], map_key: str | None = None) -> list[str]:
        """Paths of an image's layers in the same order (base first). Raises StorageError as ``path`` does."""
        return [self.path(diff_id, map_key) for diff_id in diff_ids]

    def missing(self, diff_ids: list[str], map_key: str | None = None) -> list[str]:
        """The DiffIDs that are not unpacked yet, each once, in order."""
        return [diff_id for diff_id in dict.fromkeys(diff_ids) if not self.has(diff_id, map_key)]

    def archive_size(self, diff_id: str) -> int | None:
        """Bytes of the layer's uncompressed archive, as was seen when it was unpacked; None if nobody noted them."""
        from storage import jsonfast

        try:
            with open(self._layout.layer_record(self._key(diff_id, None)), "rb") as file:
                size = jsonfast.loads(file.read(_LARGEST_RECORD)).get("archive")
        except (OSError, StorageError, AttributeError):
            return None
        return size if isinstance(size, int) and size >= 0 else None
