"""Bringing back a blob that the store has lost, by its digest, from the registry that the image came from."""

from __future__ import annotations

from rootless.engine.context import Engine
from rootless.engine.images.fetch import confine, fetch_blob
from rootless.engine.images.worker import Send, follow
from rootless.errors import RootlessError
from rootless.registry.options import ConnectionOptions
from storage import gc, reference
from storage.errors import StorageError
from storage.images import Image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storage.artifacts import Artifact
    from storage.oci import Descriptor

LOCAL = "localhost"


def regain(
    engine: Engine, options: ConnectionOptions, image: Image | Artifact, digest: str, size: int
) -> bool:
    """Fetch the blob ``digest`` of ``image`` in a process of its own; False if no name says where it came from.

    Raises ``StorageError`` if none of the places has it.
    """
    names = {reference.parse(name).name(): name for name in image.names if reference.parse(name).registry != LOCAL}
    media_type = image.media_type if digest == image.digest else "application/octet-stream"
    failure: RootlessError | None = None
    for name in names.values():
        try:
            with gc.adding(engine.store.layout):
                _fetch(engine, name, {"mediaType": media_type, "digest": digest, "size": size}, options)
            return True
        except RootlessError as error:
            failure = error
    if failure is not None:
        raise StorageError(failure.message, failure.hint)
    return False


def _fetch(engine: Engine, name: str, descriptor: Descriptor, options: ConnectionOptions) -> None:
    def work(send: Send) -> None:
        confine(engine.store, options)
        fetch_blob(engine.store, name, descriptor, options)

    follow(work)
