"""``image tree``: the layers of an image, and which images end with each of them."""

from __future__ import annotations

from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.engine.context import Engine
    from storage.images import Image

    Names = list[str]


class Layer:
    """One layer in its place: ``id`` is the digest of the chain of layers up to it (the specification's ChainID).

    ``size`` is in bytes, unpacked; ``names`` are those of the images whose last layer it is; ``above`` are the layers
    that images have on it.
    """

    __slots__ = ("above", "id", "names", "size")

    def __init__(self, chain_id: str, size: int) -> None:
        self.id = chain_id
        self.size = size
        self.names: Names = []
        self.above: list[Layer] = []


def chain_ids(diff_ids: list[str]) -> list[str]:
    """The ChainID of each layer in hex: what the layers below it and it are together (config.md, "Layer ChainID")."""
    from hashlib import sha256

    found: list[str] = []
    for diff_id in diff_ids:
        below = f"sha256:{found[-1]} {diff_id}" if found else ""
        found.append(sha256(below.encode()).hexdigest() if below else diff_id.partition(":")[2])
    return found


def tree(engine: Engine) -> dict[str, Layer]:
    """Every layer of every image by its id, each with those above it. Images that are damaged are left out."""
    known: dict[str, Layer] = {}
    for image in engine.store.images.list():
        try:
            layers = list(zip(chain_ids(image.diff_ids), image.diff_ids, image.layers, strict=True))
            names = [name for name in image.names if "@" not in name]
        except StorageError:
            continue  # `system check` tells what is wrong with it
        below: Layer | None = None
        for chain_id, diff_id, blob in layers:
            layer = known.get(chain_id)
            if layer is None:
                layer = known[chain_id] = Layer(chain_id, engine.store.images.layer_size(diff_id, blob["size"]))
                if below is not None:
                    below.above.append(layer)
            below = layer
        if below is not None:
            below.names += names
    return known


def layers_of(engine: Engine, image: Image) -> list[Layer]:
    """The layers of an image, the topmost first."""
    known = tree(engine)
    return [known[chain_id] for chain_id in reversed(chain_ids(image.diff_ids))]
