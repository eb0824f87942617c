"""Pushing to a registry: the part that runs in a process of its own, with threads and the HTTP library.

It sends ``note`` for what the user should see; for each layer ``waiting``, then ``found``, or ``blob`` while it goes
out; ``config`` and ``recording``; at the end ``pushed`` with the digest of what has the name now.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from rootless.engine.images import source as image_source
from rootless.engine.images.transports.outgoing import Outgoing, OutgoingIndex
from rootless.engine.images.worker import Send
from rootless.errors import RootlessError
from rootless.registry import registries_conf
from rootless.registry.options import ConnectionOptions
from rootless.registry.upload import EXISTS, MOUNTED, Origin, Uploader
from rootless.registry.upload_requests import Blob, Target, UnknownBlobError
from storage import jsonfast, oci, reference

if TYPE_CHECKING:
    from storage.oci import Descriptor
    from storage.reference import Reference
    from storage.store import Store


class Published(NamedTuple):
    """What a registry has now: under which name, by which descriptor, and the conversation that put it there."""

    target: Target
    reference: Reference
    descriptor: Descriptor


Then = Callable[[Published, Send], None]
"""What is done after an image, or an index, was published: in the same process, with the same credentials."""


def target_for(full: Reference, options: ConnectionOptions) -> Target:
    """The conversation with the registry of ``full``. Raises RegistryError if registries.conf forbids it."""
    conf = registries_conf.load()
    return Target(conf.destination(full.name()), options, credential_helpers=tuple(conf.credential_helpers))


def publish(
    store: Store,
    image: Outgoing | OutgoingIndex,
    full: Reference,
    target: Target,
    send: Send,
    then: Sequence[Then] = (),
) -> Descriptor:
    """Send an image, or an index with its images, and have it called ``full``; the descriptor of what is there then.

    The name comes last, when the registry has all that it stands for. Raises RegistryError, StorageError.
    """
    if full.digest is not None and full.digest != image.digest:
        raise RootlessError(
            f"cannot push to {full}: the image's digest is {image.digest}", "leave the digest out of the destination"
        )
    target.connect()  # once: each blob would try as often
    name = full.tag or image.digest
    publisher = _Publisher(target, _origins(store, full), send)
    descriptor = publisher.index(image, name) if isinstance(image, OutgoingIndex) else publisher.image(image, name)
    for action in then:
        action(Published(target, full, descriptor), send)
    return descriptor


def _origins(store: Store, full: Reference) -> Origin:
    """Where else at the registry of ``full`` a blob may be: the store's images with names there tell, when asked."""
    found: dict[str, str] | None = None

    def origin(digest: str) -> str:
        nonlocal found
        if found is None:
            found = _repositories(store, full)
        return found.get(digest, "")

    return origin


def _repositories(store: Store, full: Reference) -> dict[str, str]:
    """Repositories at the registry of ``full``, but its own, by the digest of a layer; that of the smallest image."""
    images: list[tuple[str, list[Descriptor]]] = []
    for image in store.images.list():
        for name in image.names:
            other = reference.parse(name)
            if other.registry == full.registry and other.repository != full.repository:
                images.append((other.repository, image.layers))
                break
    images.sort(key=lambda each: -len(each[1]))
    return {layer["digest"]: repository for repository, layers in images for layer in layers}


class _Publisher:
    """The way of one image, or of all of an index, to a registry."""

    def __init__(self, target: Target, origin: Origin, send: Send) -> None:
        self._target = target
        self._origin = origin
        self._send = send

    def index(self, index: OutgoingIndex, name: str) -> Descriptor:
        """All images of an index that are here, each by its digest, then the index."""
        here = {image.digest for image in index.images}
        for image in index.images:
            self.image(image, image.digest)
        for entry in oci.check_index(jsonfast.loads_strict(index.data), index.media_type)["manifests"]:
            if entry["digest"] not in here and not self._target.has_manifest(entry["digest"]):
                platform = entry.get("platform")
                words = [platform["os"], platform["architecture"], platform.get("variant")] if platform else []
                shown = "/".join(word for word in words if word) or entry["digest"]
                raise RootlessError(
                    f"cannot push the image list: its image for {shown} is neither in the store nor at the registry",
                    f"fetch it with 'rootless pull --platform {shown}'" if words else "",
                )
        self._send({"kind": "recording"})
        self._target.put_manifest(index.data, index.media_type, name)
        return {"mediaType": index.media_type, "digest": index.digest, "size": len(index.data)}

    def image(self, image: Outgoing, name: str) -> Descriptor:
        """The blobs of an image side by side, then its manifest."""
        document = image.document
        layers: dict[str, Descriptor] = {
            layer["digest"]: layer for layer in document["layers"] if not layer.get("urls")
        }
        for layer in layers.values():
            self._send({"kind": "waiting", "digest": layer["digest"], "size": layer["size"]})
        config = document["config"]
        parts = [*sorted(layers.values(), key=lambda layer: -layer["size"]), config]
        answers = self._push(image, parts)
        self._send({"kind": "config", "digest": config["digest"]})
        self._send({"kind": "recording"})
        try:
            self._target.put_manifest(image.manifest, image.media_type, name)
        except UnknownBlobError as error:
            doubtful = [part for part in parts if answers[part["digest"]] in (EXISTS, MOUNTED)]
            if not doubtful:
                raise
            self._send({"kind": "note", "text": f"{error.message}; sending what it said it had"})
            self._push(image, doubtful, anew=True)
            self._target.put_manifest(image.manifest, image.media_type, name)
        return image.descriptor

    def _push(self, image: Outgoing, parts: Sequence[Descriptor], *, anew: bool = False) -> dict[str, str]:
        """See to it that the registry has all ``parts``; how it came to each."""
        quiet = {image.document["config"]["digest"]}

        def tell(digest: str, done: int, size: int) -> None:
            if digest not in quiet:
                self._send(image_source.blob_message(digest, done, size))

        uploader = Uploader(self._target, tell)
        answers: dict[str, str] = {}

        def push(part: Descriptor) -> None:
            digest, size = part["digest"], part["size"]
            blob = Blob(digest, size, partial(image.open_blob, digest))
            answer = answers[digest] = uploader.push(blob, self._origin, anew=anew)
            if answer in (EXISTS, MOUNTED) and digest not in quiet:
                self._send({"kind": "found", "digest": digest, "size": size})

        uploader.run([partial(push, part) for part in parts])
        return answers


def saying(options: ConnectionOptions, send: Send) -> ConnectionOptions:
    """The same options, whose waits and retries are told to who pushes."""
    return replace(options, say=lambda text: send({"kind": "note", "text": text}))
