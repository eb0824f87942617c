"""New layers: from a file in the stage's directory to a blob and a tree in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless.build.state import BuiltLayer
from rootless.engine.images.limits import limits_of
from rootless.security.confine import prepare_unpacker, unpacker
from storage import layers_unpack, oci
from storage.layers_unpack import LayerSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless.engine.context import Engine
    from rootless.engine.images.layerfile import LayerFile


def keep(engine: Engine, layer: LayerFile, below: Sequence[str]) -> BuiltLayer:
    """Put a layer into the store, over the layers ``below`` (DiffIDs, base first). Raises StorageError, RootlessError.

    The file becomes the blob. Whoever calls this holds ``gc.adding``: nothing refers to the layer yet.
    """
    blobs = engine.store.blobs
    blobs.adopt(layer.path, layer.digest, layer.size)
    if engine.layers.missing([layer.diff_id]):
        prepare_unpacker()
        layers_unpack.unpack(
            engine.store.layout,
            [LayerSource(layer.diff_id, blobs.path(layer.digest))],
            [*below, layer.diff_id],
            in_userns=engine.in_userns,
            confine=unpacker,
            limits=limits_of(engine),
        )
    return BuiltLayer({"mediaType": oci.LAYER_GZIP, "digest": layer.digest, "size": layer.size}, layer.diff_id)


def is_there(engine: Engine, layer: BuiltLayer) -> bool:
    """Whether a layer's blob and its tree are in the store."""
    found = layer.descriptor
    return engine.store.blobs.has(found["digest"], found["size"]) and not engine.layers.missing([layer.diff_id])
