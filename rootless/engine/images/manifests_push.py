"""``manifest push``: an image list with its images, those that are at other registries too."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from rootless.engine.images import manifests
from rootless.engine.images.artifacts_move import publish
from rootless.engine.images.fetch import confine
from rootless.engine.images.push import push
from rootless.engine.images.remote import ask
from rootless.engine.images.source import blob_message, check_space, missing_blobs, read_manifest
from rootless.engine.images.trust import check as trust
from rootless.engine.images.worker import Message, Send, follow
from rootless.errors import UsageError
from rootless.registry import registries_conf
from rootless.registry.download import Downloader
from rootless.registry.options import ConnectionOptions
from storage import gc, oci, reference
from storage.errors import StorageError

if TYPE_CHECKING:
    from rootless.engine.context import Engine
    from rootless.engine.progress import Progress
    from storage.image_lists import ImageList
    from storage.oci import Descriptor
    from storage.store import Store

    Values = Mapping[str, Any]


def push_list(engine: Engine, name: str, destination: str, values: Values, progress: Progress) -> str:
    """Push the list ``name``; the digest of what is at the destination now. With ``rm`` the list is removed then.

    Its images go with it unless ``all`` is false: then they must be at the registry. What of them is not in the store
    is fetched first. Raises NotFoundError, RootlessError, StorageError.
    """
    found = manifests.find(engine, name)
    with gc.adding(engine.store.layout):
        if values.get("all") is not False:
            _fetch_missing(engine, found, destination, values, progress)
            _send_artifacts(engine, found, destination, values)
        digest = push(engine, name, destination, values, progress)
    if values.get("rm"):
        manifests.delete(engine, found)
    return digest


def _fetch_missing(engine: Engine, found: ImageList, destination: str, values: Values, progress: Progress) -> None:
    """Bring the images of a list that are known to be at a registry, unless that is where they go."""
    wanted: list[tuple[str, Descriptor]] = []
    for entry in found.entries:
        source = found.source(entry["digest"])
        anew = values.get("format") or values.get("compression_format")
        if source and (anew or source != _repository(destination)) and not _is_here(engine.store, found, entry):
            wanted.append((f"{source}@{entry['digest']}", entry))
    if not wanted:
        return
    options = ConnectionOptions.from_values(values)

    def work(send: Send) -> None:
        confine(engine.store, options)
        for name, entry in wanted:
            _fetch(engine.store, name, entry, options, send)

    def show(message: Message) -> None:
        if message["done"] < message["size"]:
            progress.waiting(message["digest"], message["size"])
        progress.downloaded(message["digest"], message["done"], message["size"])

    follow(work, show)


def _send_artifacts(engine: Engine, found: ImageList, destination: str, values: Values) -> None:
    """Send what is in the list, and in the store, and no image. Raises UsageError where it is no registry."""
    wanted = [(entry, manifest) for entry in found.entries if (manifest := engine.store.lists.artifact(entry))]
    if not wanted:
        return
    if not _repository(destination or found.names[0]):
        raise UsageError("cannot write a list with artifacts to a file", "push it to a registry")
    full = reference.parse((destination or found.names[0]).removeprefix("docker://"))
    options = ConnectionOptions.from_values(values)

    def work(send: Send) -> None:
        from rootless.engine.images.push_registry import saying, target_for

        confine(engine.store, options)
        target = target_for(full, saying(options, send))
        for entry, manifest in wanted:
            publish(engine.store, target, entry, manifest, entry["digest"], send)

    follow(work)


def _repository(destination: str) -> str:
    """The repository that is pushed to; empty for what is no registry."""
    try:
        return reference.parse(destination.removeprefix("docker://")).name()
    except StorageError:
        return ""


def _is_here(store: Store, found: ImageList, entry: Descriptor) -> bool:
    """Whether an entry's manifest, and for an image all that it names, is in the store."""
    manifest = store.lists.manifest(entry)
    if manifest is None:
        return entry["mediaType"] not in oci.MANIFEST_TYPES and store.blobs.has(entry["digest"], entry["size"])
    return all(store.blobs.has(part["digest"], part["size"]) for part in (manifest["config"], *manifest["layers"]))


def _fetch(store: Store, name: str, entry: Descriptor, options: ConnectionOptions, send: Send) -> None:
    """One image, without unpacking it, if the policy lets it in."""
    full = reference.parse(name)
    required = trust.wanted_of_registry(full)
    document, sources = ask(full, options, registries_conf.load())
    if required:
        trust.check(store, full, document.digest, required, sources)
    manifest = read_manifest(document.data, document.media_type, name)
    missing = missing_blobs(store, manifest)
    config = manifest["config"]
    if not store.blobs.has(config["digest"], config["size"]):
        missing.append(config)
    check_space(store, missing)
    downloader = Downloader(sources, lambda *counts: send(blob_message(*counts)))
    downloader.run([partial(downloader.fetch, store.blobs, part["digest"], part["size"]) for part in missing])
    store.blobs.put(document.data)
