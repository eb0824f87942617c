"""What a registry has under a name, without fetching the image: its manifest with the configuration, or its index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from rootless.engine.images.fetch import confine, sources_of
from rootless.engine.images.worker import Message, Send, follow
from rootless.errors import RootlessError
from rootless.registry import registries_conf
from rootless.registry.download import Downloader
from rootless.registry.errors import RegistryError
from rootless.registry.options import ConnectionOptions
from storage import gc, jsonfast, oci, reference
from storage.errors import StorageError

if TYPE_CHECKING:
    from rootless.engine.context import Engine
    from rootless.registry.client import Document, Registry
    from rootless.registry.registries_conf import RegistriesConf
    from storage.reference import Reference
    from storage.store import Store


class Found(NamedTuple):
    """A manifest or index at a registry; ``name`` is the whole reference, ``config`` None but for an image's manifest.

    ``data`` are the bytes of the document, of which ``digest`` and ``size`` are.
    """

    name: str
    media_type: str
    digest: str
    size: int
    data: bytes
    document: Any
    config: dict[str, Any] | None


def look(engine: Engine, name: str, values: Mapping[str, Any]) -> Found:
    """Ask the registries that ``name`` (short or full) may mean. Raises RootlessError, StorageError."""
    reference.parse(name)  # an invalid name is refused before a process is made
    options = ConnectionOptions.from_values(values)
    messages: list[Message] = []
    with gc.adding(engine.store.layout):

        def work(send: Send) -> None:
            confine(engine.store, options)
            send({"kind": "found", **_look(engine.store, name, options)})

        follow(work, messages.append)
        answer = messages[-1]
        blobs = engine.store.blobs
        data = blobs.read(answer["digest"], verify=True)
        document = jsonfast.loads_strict(data)
        config = None
        if answer["config"]:
            try:
                config = oci.check_config(jsonfast.loads_strict(blobs.read(answer["config"], verify=True)))
            except StorageError as error:
                raise RootlessError(f"cannot use the configuration of {name}: {error.message}", error.hint) from None
    return Found(answer["name"], answer["mediaType"], answer["digest"], len(data), data, document, config)


def _look(store: Store, name: str, options: ConnectionOptions) -> Message:
    """The part of the child process: the documents are stored, and told by their digests."""
    conf = registries_conf.load()
    candidates = conf.candidates(name) if reference.is_short(name) else [name]
    failure = RegistryError(f"cannot find {name} at a registry: none is searched for short names")
    for candidate in candidates:
        full = reference.parse(candidate)
        try:
            document, sources = ask(full, options, conf)
        except RegistryError as error:
            failure = error
            continue
        store.blobs.put(document.data)
        config = ""
        if document.media_type in oci.MANIFEST_TYPES:
            described = _config_of(document.data)
            if described is not None:
                config = described["digest"]
                Downloader(sources, lambda *_: None).fetch(store.blobs, config, described["size"])
        return {"name": str(full), "mediaType": document.media_type, "digest": document.digest, "config": config}
    raise failure


def ask(full: Reference, options: ConnectionOptions, conf: RegistriesConf) -> tuple[Document, list[Registry]]:
    """The manifest or index that a whole reference names, and the registry with those mirrors that may have the rest.

    Raises RegistryError: the origin's, where no mirror has it.
    """
    sources = sources_of(full, options, conf, by_digest=full.digest is not None)
    while True:
        try:
            return sources[0].manifest(full.digest or full.tag or reference.DEFAULT_TAG), sources
        except RegistryError:
            if len(sources) == 1:
                raise
            del sources[0]


def _config_of(data: bytes) -> oci.Descriptor | None:
    """The descriptor of an image's configuration; None for a manifest of something else."""
    try:
        return oci.check_manifest(jsonfast.loads_strict(data))["config"]
    except StorageError:
        return None
