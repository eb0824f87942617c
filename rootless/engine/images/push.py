"""``push``: an image, or an image list, of the store to a registry, an archive or a directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rootless.engine.context import Engine
from rootless.engine.events import note
from rootless.engine.images import names as image_names
from rootless.engine.images.push_layers import Recipe, recipe, repacked
from rootless.engine.images.push_lists import rewritten
from rootless.engine.images.transports import TRANSPORTS, destinations
from rootless.engine.images.transports.outgoing import Outgoing, OutgoingIndex, converted, of_store
from rootless.engine.images.transports.relayered import compressed
from rootless.engine.images.worker import Message, Send, follow
from rootless.engine.outfile import new_file
from rootless.engine.progress import Progress
from rootless.errors import NotFoundError, RootlessError, UsageError
from rootless.registry.options import ConnectionOptions
from storage import atomic, gc, oci, reference
from storage.images import Image
from storage.work import WorkDirectory

if TYPE_CHECKING:
    from rootless.engine.images.push_registry import Then
    from rootless.engine.images.trust.sign import Signer
    from storage.image_lists import ImageList
    from storage.oci import Descriptor
    from storage.reference import Reference

Values = Mapping[str, Any]

_DOCKER = "docker://"
_FORMATS = {"oci": False, "docker": True, "v2s2": True}


def push(
    engine: Engine, name: str, destination: str, values: Values, progress: Progress, then: Sequence[Then] = ()
) -> str:
    """Push the image or image list ``name``; the digest of the manifest or index that is at the destination now.

    Without ``destination`` that is the name itself. ``then`` is done after a push to a registry. Raises UsageError,
    NotFoundError, RootlessError, StorageError.
    """
    _check(values)
    how = recipe(values)
    found = image_names.find_named(engine, name)
    place = destination or _name_of(found, name)
    local = place.startswith(TRANSPORTS)
    signer = _signer(values, local)
    digest_file = values.get("digestfile")
    try:
        with gc.adding(engine.store.layout):
            image = _outgoing(engine, found, with_images=values.get("all") is not False)
            if signer is not None and isinstance(image, OutgoingIndex) and _changes_images(values, how):
                raise UsageError(
                    "cannot sign the images of a list while they are changed",
                    "push the list, then sign what is there: rootless image sign --all",
                )
            if local:
                digest = _write(engine, image, place, how, values, progress)
            else:
                full = _registry_name(place, name)
                if signer is not None:
                    signer.check(full)
                    then = [*then, *signer.then]
                digest = _send_out(engine, image, full, how, values, progress, then)
                if signer is not None:
                    signer.finish(full, [digest, *_entries(found)])
    finally:
        progress.close()
    if digest_file:
        with new_file(digest_file, engine.store.caller_umask) as fd:
            atomic.write_all(fd, digest.encode())
    note(engine, "image", "push", found.id, {"name": place.removeprefix(_DOCKER)})
    return digest


def _signer(values: Values, local: bool) -> Signer | None:
    """What signs, if that is wanted. Raises UsageError, RootlessError."""
    if not any(values.get(key) for key in ("sign_by", "sign_by_sigstore_private_key", "sign_passphrase_file")):
        return None
    if local:
        raise UsageError("cannot sign what is not pushed to a registry", "leave out the options that sign")
    from rootless.engine.images.trust.sign import Signer

    return Signer(values)


def _entries(found: Image | ImageList) -> list[str]:
    """The digests of what is signed beside the manifest itself: each image of a list."""
    return [] if isinstance(found, Image) else [entry["digest"] for entry in found.entries]


def _check(values: Values) -> None:
    form = values.get("format")
    if form and form not in _FORMATS:
        raise UsageError(f"unknown format {form[:40]!r}", f"use one of {', '.join(_FORMATS)}")
    if form and _FORMATS[form] and (values.get("compression_format") or "gzip") != "gzip":
        raise UsageError(f"cannot use --format {form} with zstd", "only manifests of OCI know it: use --format oci")
    if values.get("disable_content_trust") is False:
        raise UsageError("cannot use --disable-content-trust=false: there is no content trust of Docker's here")
    if values.get("remove_signatures") is False:
        raise UsageError("cannot use --remove-signatures=false", "the store keeps no signatures of registries")


def _name_of(found: Image | ImageList, text: str) -> str:
    """The full name that ``text`` means, to which an image without a destination is pushed."""
    try:
        return image_names.name_of(found, text)
    except (NotFoundError, reference.InvalidReferenceError):
        hint = f"rootless push {text} REGISTRY/NAME:TAG"
        raise UsageError(f"cannot push {text}: it says no destination", hint) from None


def _registry_name(place: str, name: str) -> Reference:
    if ":" in place and place.partition(":")[0] in ("containers-storage", "docker-daemon", "ostree", "tarball"):
        raise UsageError(f"cannot push to {place[:200]}", f"push to a registry, or to {' '.join(TRANSPORTS)}")
    full = reference.parse(place.removeprefix(_DOCKER))
    if full.registry == "localhost":
        raise UsageError(
            f"cannot push {full}: its name has no registry", f"say where to: rootless push {name} REGISTRY/NAME:TAG"
        )
    return full


def _outgoing(engine: Engine, found: Image | ImageList, *, with_images: bool) -> Outgoing | OutgoingIndex:
    """What is pushed: an image, or a list, whose images go with it only if ``with_images``."""
    if isinstance(found, Image):
        return of_store(engine.store, found, _called(found))
    lists, blobs = engine.store.lists, engine.store.blobs
    here = []
    for entry in found.document["manifests"] if with_images else []:
        manifest = lists.manifest(entry)
        if manifest and all(blobs.has(part["digest"]) for part in (manifest["config"], *manifest["layers"])):
            descriptor: Descriptor = {key: entry[key] for key in ("mediaType", "digest", "size")}  # type: ignore[assignment]
            here.append(of_store(engine.store, Image(engine.store.images, descriptor, [])))
    data = engine.store.blobs.read(found.digest, verify=True)
    return OutgoingIndex(data, found.media_type, tuple(here), tuple(found.names))


def _called(image: Image) -> tuple[str, ...]:
    return tuple(name for name in image.names if "@" not in name)[:1]


def _converted(image: Outgoing | OutgoingIndex, values: Values, directory: str) -> Outgoing | OutgoingIndex:
    """The image in the format that was asked for."""
    form = values.get("format")
    if not form:
        return image
    docker = _FORMATS[form]

    def change(one: Outgoing, place: str) -> Outgoing:
        return converted(compressed(one, place, everything=False) if docker else one, docker=docker)

    if isinstance(image, Outgoing):
        return change(image, directory)
    return rewritten(image, oci.DOCKER_INDEX if docker else oci.INDEX, directory, change)


def _changes_images(values: Values, how: Recipe) -> bool:
    """Whether images are to be other ones than those in the store."""
    return bool(values.get("format")) or how.everything


def _media_type(index: OutgoingIndex, how: Recipe) -> str:
    """That of the list when its layers are compressed: Docker's knows no zstd."""
    return index.media_type if how.format == "gzip" else oci.INDEX


# To a registry.


def _send_out(
    engine: Engine,
    image: Outgoing | OutgoingIndex,
    full: Reference,
    how: Recipe,
    values: Values,
    progress: Progress,
    then: Sequence[Then],
) -> str:
    """Push from a process of its own, in which credentials are; pass its news on."""
    options = ConnectionOptions.from_values(values)
    if values.get("creds"):
        from rootless.registry.memory import leave_no_core

        leave_no_core()
    force = values.get("force_compression") is not False

    def work(send: Send, directory: str) -> None:
        from rootless.engine.images import push_registry
        from rootless.engine.images.fetch import confine

        confine(engine.store, options)
        target = push_registry.target_for(full, push_registry.saying(options, send))
        ready = _converted(image, values, directory)

        def repack(one: Outgoing, place: str) -> Outgoing:
            return repacked(one, how, place, lambda layer: not force and target.has(layer))

        if isinstance(ready, Outgoing):
            ready = repack(ready, directory)
        elif how.everything:
            ready = rewritten(ready, _media_type(ready, how), directory, repack)
        descriptor = push_registry.publish(engine.store, ready, full, target, send, then)
        send({"kind": "pushed", "digest": descriptor["digest"]})

    pushed: list[str] = []

    def take(message: Message) -> None:
        if message["kind"] == "pushed":
            pushed.append(message["digest"])
        _show(message, progress)

    with WorkDirectory(engine.store.layout) as scratch:
        follow(lambda send: work(send, scratch.path), take)
    if not pushed:
        raise RootlessError(f"cannot push to {full}: the worker process ended without a result")
    return pushed[-1]


def _show(message: Message, progress: Progress) -> None:
    """Pass one message on."""
    kind = message["kind"]
    if kind == "note":
        progress.note(message["text"])
    elif kind == "waiting":
        progress.waiting(message["digest"], message["size"])
    elif kind == "found":
        progress.found(message["digest"], message["size"])
    elif kind == "blob":
        progress.downloaded(message["digest"], message["done"], message["size"])
    elif kind == "config":
        progress.config(message["digest"])
    elif kind == "recording":
        progress.recording()


# To a file or a directory.


def _write(
    engine: Engine, image: Outgoing | OutgoingIndex, place: str, how: Recipe, values: Values, progress: Progress
) -> str:
    """Write to ``TRANSPORT:PATH[:NAME]``. Only what is asked for is compressed there."""
    with WorkDirectory(engine.store.layout) as directory:
        if values.get("compress"):
            if not place.startswith("dir:") or isinstance(image, OutgoingIndex):
                raise UsageError("--compress can only be used with an image and a destination of the form dir:PATH")
            image = compressed(image, directory.path, everything=True)
        image = _converted(image, values, directory.path)
        if how.everything and isinstance(image, Outgoing):
            image = repacked(image, how, directory.path, lambda _: False)
        elif how.everything and isinstance(image, OutgoingIndex):
            image = rewritten(
                image, _media_type(image, how), directory.path, lambda one, at: repacked(one, how, at, lambda _: False)
            )
        digest = destinations.write_image(place, image, engine.store.caller_umask, progress.downloaded)
    progress.recording()
    return digest
