"""``artifact pull`` and ``artifact push``: artifacts from and to registries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from rootless.engine.images.artifacts import find, manifest_of
from rootless.engine.images.fetch import confine
from rootless.engine.images.remote import ask
from rootless.engine.images.source import blob_message, check_space
from rootless.engine.images.trust import check as trust
from rootless.engine.images.worker import Message, Send, follow
from rootless.errors import UsageError
from rootless.registry import registries_conf
from rootless.registry.download import Downloader
from rootless.registry.options import ConnectionOptions
from storage import gc, jsonfast, reference

if TYPE_CHECKING:
    from rootless.engine.context import Engine
    from rootless.engine.progress import Progress
    from rootless.registry.upload_requests import Target
    from storage.artifacts import Artifact
    from storage.oci import Descriptor, Manifest
    from storage.reference import Reference
    from storage.store import Store

    Values = Mapping[str, Any]


def _full(name: str) -> Reference:
    """The whole reference of an artifact at a registry. Raises UsageError for a short name."""
    name = name.removeprefix("docker://")
    full = reference.parse(name)
    if reference.is_short(name) or full.registry == "localhost":
        raise UsageError(f"cannot use {name}: it names no registry", "write it as REGISTRY/NAME:TAG")
    return full


def _secret(values: Values) -> ConnectionOptions:
    if values.get("creds"):
        from rootless.registry.memory import leave_no_core

        leave_no_core()
    return ConnectionOptions.from_values(values)


def _work(work: Callable[[Send], None], progress: Progress) -> Message:
    """Do the work in a process of its own, and show how it goes on; its last message."""
    last: Message = {}

    def show(message: Message) -> None:
        nonlocal last
        if message["kind"] == "note":
            progress.note(message["text"])
        elif message["kind"] == "waiting":
            progress.waiting(message["digest"], message["size"])
        elif message["kind"] == "blob":
            progress.downloaded(message["digest"], message["done"], message["size"])
        else:
            last = message

    try:
        follow(work, show)
    finally:
        progress.close()
    return last


def pull(engine: Engine, name: str, values: Values, progress: Progress) -> Artifact:
    """Fetch an artifact from its registry. Raises RootlessError, StorageError."""
    full = _full(name)
    options = _secret(values)
    with gc.adding(engine.store.layout):

        def work(send: Send) -> None:
            confine(engine.store, options)
            send({"kind": "pulled", **_fetch(engine.store, full, options, send)})

        got = _work(work, progress)
        descriptor: Any = {key: got[key] for key in ("mediaType", "digest", "size", "artifactType") if got.get(key)}
        called = full.tagged() if full.tag is not None else str(full)
        return engine.store.artifacts.add(descriptor, called)


def _fetch(store: Store, full: Reference, options: ConnectionOptions, send: Send) -> Message:
    required = trust.wanted_of_registry(full)
    document, sources = ask(full, options, registries_conf.load())
    if required:
        trust.check(store, full, document.digest, required, sources)
    manifest = manifest_of(jsonfast.loads_strict(document.data), document.media_type, str(full))
    parts = {part["digest"]: part for part in (manifest["config"], *manifest["layers"])}
    missing = [part for part in parts.values() if not store.blobs.has(part["digest"], part["size"])]
    check_space(store, missing)
    for part in missing:
        send({"kind": "waiting", "digest": part["digest"], "size": part["size"]})
    downloader = Downloader(sources, lambda *counts: send(blob_message(*counts)))
    downloader.run([partial(downloader.fetch, store.blobs, part["digest"], part["size"]) for part in missing])
    store.blobs.put(document.data)
    found: Any = manifest
    return {"mediaType": document.media_type, "digest": document.digest, "size": len(document.data),
            "artifactType": found.get("artifactType") or manifest["config"]["mediaType"]}  # fmt: skip


def push(engine: Engine, name: str, destination: str, values: Values, progress: Progress) -> str:
    """Send an artifact to a registry; the digest of its manifest. Raises NotFoundError, RootlessError, StorageError."""
    artifact = find(engine, name)
    full = _full(destination or next(iter(artifact.names), name))
    options = _secret(values)
    signer = None
    if any(values.get(key) for key in ("sign_by", "sign_by_sigstore_private_key", "sign_passphrase_file")):
        from rootless.engine.images.trust.sign import Signer

        signer = Signer(values)
        signer.check(full)
    with gc.adding(engine.store.layout):

        def work(send: Send) -> None:
            confine(engine.store, options)
            _send(engine.store, artifact, full, options, send, signer.then if signer else [])

        _work(work, progress)
    if signer is not None:
        signer.finish(full, [artifact.digest])
    if values.get("digestfile"):
        from rootless.engine.outfile import new_file
        from storage import atomic

        with new_file(values["digestfile"], engine.store.caller_umask) as fd:
            atomic.write_all(fd, artifact.digest.encode())
    return artifact.digest


def _send(
    store: Store, artifact: Artifact, full: Reference, options: ConnectionOptions, send: Send, then: list[Any]
) -> None:
    from rootless.engine.images.push_registry import Published, saying, target_for

    target = target_for(full, saying(options, send))
    publish(store, target, artifact.descriptor, artifact.manifest, full.tag or artifact.digest, send)
    for action in then:
        action(Published(target, full, artifact.descriptor), send)


def publish(
    store: Store, target: Target, descriptor: Descriptor, manifest: Manifest, name: str, send: Send
) -> None:
    """Send the blobs of an artifact, then its manifest, to be called ``name``. Raises RegistryError, StorageError."""
    from rootless.registry.upload import Uploader
    from rootless.registry.upload_requests import Blob

    uploader = Uploader(target, lambda *counts: send(blob_message(*counts)))
    parts = {part["digest"]: part for part in (manifest["config"], *manifest["layers"])}

    def opened(digest: str) -> BinaryIO:
        return open(store.blobs.path(digest), "rb")

    def send_one(digest: str, size: int) -> None:
        uploader.push(Blob(digest, size, partial(opened, digest)))

    for digest, part in parts.items():
        send({"kind": "waiting", "digest": digest, "size": part["size"]})
    uploader.run([partial(send_one, digest, part["size"]) for digest, part in parts.items()])
    target.put_manifest(store.blobs.read(descriptor["digest"], verify=True), descriptor["mediaType"], name)
