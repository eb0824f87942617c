"""Fetching an image from a registry: the part of a pull that runs in the downloader's process."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from rootless.engine.images import source as image_source
from rootless.engine.images.platform import Wanted, choose
from rootless.engine.images.trust import check as trust
from rootless.engine.images.worker import Send
from rootless.errors import RootlessError
from rootless.registry import memory, registries_conf
from rootless.registry.client import Document, Registry
from rootless.registry.download import Downloader, Transfer
from rootless.registry.errors import NotFoundAtRegistry, RegistryError, UnauthorizedError
from rootless.registry.options import ConnectionOptions
from rootless.registry.registries_conf import RegistriesConf
from rootless.security.confine import downloader
from storage import jsonfast, oci, reference
from storage.archive import chunked
from storage.errors import StorageError
from storage.reference import Reference
from storage.store import Store

if TYPE_CHECKING:
    from rootless.engine.images.trust.policy import Requirement
    from storage.oci import Descriptor

MAX_NESTING = 3


def confine(store: Store, options: ConnectionOptions) -> None:
    """Close this process's memory; let it write blobs alone, unless it may have to run a credential helper."""
    from rootless.registry.authfile import names_helper

    memory.close()
    if not names_helper(options.authfile, registries_conf.load().credential_helpers):
        downloader([store.layout.blobs, store.layout.tmp])


def fetch(store: Store, name: str, platform: Wanted, options: ConnectionOptions, send: Send) -> None:
    """Find ``name`` (short or full) at a registry and put its blobs into ``store``.

    Of several places that a short name may stand for, the first that has it is taken. Raises RootlessError.
    """
    options = replace(options, say=lambda text: send({"kind": "note", "text": text}))
    conf = registries_conf.load()
    candidates = conf.candidates(name) if reference.is_short(name) else [name]
    failures: list[RegistryError] = []
    for candidate in candidates:
        full = reference.parse(candidate)
        send({"kind": "trying", "name": str(full)})
        try:
            required = trust.wanted_of_registry(full)
            fetcher = _Fetcher(store, full, platform, options, conf, required)
            found = fetcher.find()
        except RegistryError as error:
            failures.append(error)
            continue
        fetcher.take(found, send)
        return
    if len(failures) == 1:
        raise failures[0]
    places = ", ".join(candidates)
    reasons = "; ".join(dict.fromkeys(failure.message for failure in failures))
    raise RegistryError(f"cannot find {name} in any of {places}: {reasons}"[:1500], failures[-1].hint)


def fetch_blob(store: Store, name: str, descriptor: Descriptor, options: ConnectionOptions) -> None:
    """Put one blob of the image ``name`` (a full reference) into ``store``, by its digest. Raises RegistryError."""
    full = reference.parse(name)
    sources = sources_of(full, options, registries_conf.load(), by_digest=True)
    digest = descriptor["digest"]
    if descriptor["mediaType"] not in oci.MANIFEST_TYPES:
        Downloader(sources, lambda *_: None).fetch(store.blobs, digest, descriptor["size"])
        return
    while True:
        try:
            store.blobs.put(sources[0].manifest(digest).data)
            return
        except RegistryError:
            if len(sources) == 1:
                raise
            del sources[0]


def sources_of(full: Reference, options: ConnectionOptions, conf: RegistriesConf, *, by_digest: bool) -> list[Registry]:
    """The registry of an image and its mirrors, in the order in which they are to be asked."""
    return [
        Registry(
            endpoint,
            # What is given for a registry on the command line is not for its mirrors.
            replace(options, credentials=None) if endpoint.is_mirror else options,
            credential_helpers=tuple(conf.credential_helpers),
        )
        for endpoint in conf.endpoints(full.name(), by_digest=by_digest)
    ]


class _Fetcher:
    """One image on its way from its registry or a mirror."""

    def __init__(
        self, store: Store, full: Reference, platform: Wanted, options: ConnectionOptions, conf: RegistriesConf,
        required: list[Requirement],
    ) -> None:  # fmt: skip
        self._store = store
        self._required = required
        self._full = full
        self._platform = platform
        self._say = options.say
        self._index_digest = ""
        self._sources = sources_of(full, options, conf, by_digest=full.digest is not None)

    def find(self) -> Document:
        """The image's manifest, out of an index if need be. The source that has it is the first to be asked later."""
        document = self._first(self._full.digest or self._full.tag or "latest")
        for _ in range(MAX_NESTING):
            if document.media_type in oci.MANIFEST_TYPES:
                return document
            try:
                index = oci.check_index(jsonfast.loads_strict(document.data), document.media_type)
            except StorageError as error:
                raise RegistryError(f"cannot use the index of {self._full}: {error.message}", error.hint) from None
            entry = choose(index, self._platform, str(self._full))
            self._index_digest = self._index_digest or document.digest
            try:
                document = self._first(entry["digest"])
            except NotFoundAtRegistry:
                raise RegistryError(
                    f"cannot use {self._full}: the manifest for platform {self._platform} is missing at the registry"
                ) from None
        raise RegistryError(f"cannot use {self._full}: its indexes are nested too deeply")

    def _first(self, tag_or_digest: str) -> Document:
        """Ask mirrors and origin in order; the origin's error is the one that counts."""
        while True:
            source = self._sources[0]
            try:
                return source.manifest(tag_or_digest)
            except RegistryError as error:
                if len(self._sources) == 1:
                    raise _about(error, self._full) from None
                self._say(f"mirror {source.endpoint.host}: {error.message}")
                del self._sources[0]

    def take(self, document: Document, send: Send) -> None:
        """Fetch what is missing of the image, all layers at once, and announce each as it comes."""
        blobs = self._store.blobs
        name = str(self._full)
        if self._required:
            trust.check(self._store, self._full, document.digest, self._required, self._sources)
        manifest = image_source.read_manifest(document.data, document.media_type, name)
        downloader = Downloader(self._sources, lambda *counts: send(image_source.blob_message(*counts)))
        config_blob = manifest["config"]
        if not blobs.has(config_blob["digest"], config_blob["size"]):
            Downloader(self._sources, lambda *_: None).fetch(blobs, config_blob["digest"], config_blob["size"])
        config = image_source.read_config(blobs.read(config_blob["digest"], verify=True), manifest, name)
        image_source.check_platform(config, self._platform, name, send)
        missing = image_source.missing_blobs(self._store, manifest)
        image_source.check_space(self._store, missing)
        message = image_source.image_message(document.data, document.media_type, manifest, config, self._names())
        send({**message, "index": self._index_digest})
        with contextlib.ExitStack() as stack:
            transfers: dict[str, Transfer] = {}
            if any(chunked.annotation(layer.get("annotations", {}), chunked.CHECKSUM) for layer in missing):
                from rootless.engine.images.partial import Partial

                diff_ids = {str(layer["digest"]): layer["diff_id"] for layer in message["layers"]}
                partial = stack.enter_context(Partial(self._store, self._sources[0], missing, diff_ids))
                transfers = partial.transfers(downloader, lambda text: send({"kind": "note", "text": text}))
            downloader.run(
                [
                    lambda layer=layer: downloader.fetch(  # type: ignore[misc]
                        blobs, layer["digest"], layer["size"], transfers.get(layer["digest"])
                    )
                    for layer in missing
                ]
            )
        blobs.put(document.data)

    def _names(self) -> list[str]:
        """The names to record: the tag, or the digest for a pinned reference without one."""
        return [self._full.tagged()] if self._full.tag else [f"{self._full.name()}@{self._full.digest}"]


def _about(error: RegistryError, full: Reference) -> RootlessError:
    """The same error with the name that the user knows in front, where the message lacks it."""
    if isinstance(error, UnauthorizedError) and full.name() not in error.message:
        return type(error)(f"cannot pull {full}: {error.message}", error.hint)
    return error
