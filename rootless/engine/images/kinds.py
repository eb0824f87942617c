"""The media types of layers in the two formats of manifests, which mean the same bytes."""

from __future__ import annotations

from storage import oci

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.oci import Descriptor

_SAME_LAYER = (
    (oci.LAYER, oci.DOCKER_LAYER), (oci.LAYER_GZIP, oci.DOCKER_LAYER_GZIP),
    (oci.LAYER_ZSTD, "application/vnd.docker.image.rootfs.diff.tar.zstd"),
)  # fmt: skip


def as_kind(layer: Descriptor, docker: bool) -> Descriptor:
    """The layer under the media type that manifests of the format use."""
    known_types = dict(_SAME_LAYER) if docker else {other: own for own, other in _SAME_LAYER}
    return {**layer, "mediaType": known_types.get(layer["mediaType"], layer["mediaType"])}
