"""Signing what was pushed: as a file beside the registry (simple signing), or as an image in it (sigstore)."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rootless import __version__
from rootless.engine.images.trust import check, gpg, payload, registries_d
from rootless.errors import RootlessError, UsageError
from storage import atomic, jsonfast, oci
from storage.errors import StorageError, os_error

if TYPE_CHECKING:
    from rootless.engine.context import Engine
    from rootless.engine.images.push_registry import Published, Then
    from rootless.engine.images.worker import Send
    from rootless.registry.upload_requests import Target
    from storage.oci import Descriptor
    from storage.reference import Reference

    Values = Mapping[str, Any]

_MAX_PASSPHRASE = 64 << 10


class Signer:
    """What the options ``--sign-by`` and ``--sign-by-sigstore-private-key`` of a push ask for.

    ``then`` is done by the process that pushes, ``finish`` by its caller, who may use the user's keys.
    """

    def __init__(self, values: Values) -> None:
        """Read the key and the passphrase. Raises RootlessError."""
        self._secret = passphrase(values)
        self._fingerprint = values.get("sign_by") or ""
        key = values.get("sign_by_sigstore_private_key") or ""
        if self._secret is not None and not (key or self._fingerprint):
            raise UsageError("cannot use --sign-passphrase-file without a key", "name one with --sign-by")
        self.then: list[Then] = [sigstore_signer(key, self._secret)] if key else []

    def check(self, full: Reference) -> None:
        """See, before anything is pushed as ``full``, that it can be signed. Raises RootlessError."""
        signed_name(full)
        if self.then and registries_d.place_of(full).attachments is False:
            raise RootlessError(
                f"cannot sign {full}: use-sigstore-attachments is false for it in registries.d", "set it to true there"
            )
        if self._fingerprint:
            place_to_write(full)
            gpg.check_key(self._fingerprint)

    def finish(self, full: Reference, digests: list[str]) -> None:
        """Sign what was pushed as ``full`` with the user's OpenPGP key, if that is wanted. Raises RootlessError."""
        if self._fingerprint:
            sign_simply(full, digests, self._fingerprint, self._secret)


def passphrase(values: Values) -> str | None:
    """The first line of ``--sign-passphrase-file``; None if it was not given. Raises RootlessError."""
    path = values.get("sign_passphrase_file")
    if not path:
        return None
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(_MAX_PASSPHRASE).partition("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise RootlessError(f"cannot read {path}: {error}") from None


def signed_name(full: Reference) -> str:
    """What the signature of an image that is called ``full`` says its name is. Raises RootlessError without a tag."""
    if full.tag is None:
        raise RootlessError(f"cannot sign {full}: only an image with a tag has a name to sign", "push it with a tag")
    return full.tagged()


# Simple signing


def sign_simply(full: Reference, digests: list[str], fingerprint: str, secret: str | None, into: str = "") -> list[str]:
    """Sign manifests, called ``full``, by the user's OpenPGP key; the files that were written.

    They are put where ``registries.d`` says, or below ``into``. Raises RootlessError.
    """
    place = f"{os.path.abspath(into)}/{full.repository}" if into else place_to_write(full)
    name, found = signed_name(full), []
    optional = {"creator": f"rootless {__version__}", "timestamp": int(time.time())}
    for digest in dict.fromkeys(digests):
        signature = gpg.sign(payload.make(digest, name, payload.ATOMIC, optional), fingerprint, secret)
        found.append(_write(f"{place}@{digest.replace(':', '=')}", signature))
    return found


def place_to_write(full: Reference) -> str:
    """The directory for the signatures of a repository, without the digest. Raises RootlessError if it is none."""
    address = registries_d.place_of(full).write
    if not address.startswith("file://"):
        raise RootlessError(
            f"cannot write signatures of {full.name()}: {address or 'their place'} is not a directory of this machine",
            "set lookaside-staging: file:///… in registries.d, or use 'rootless image sign --directory'",
        )
    return address.removeprefix("file://")


def _write(directory: str, signature: bytes) -> str:
    """Write a signature beside those that are there, under the next number; the path."""
    try:
        os.makedirs(directory, 0o755, exist_ok=True)
        number = 1
        while os.path.lexists(f"{directory}/signature-{number}"):
            number += 1
        if number > check.MAX_SIGNATURES:
            raise RootlessError(f"cannot write a signature: {directory} has {number - 1} already")
        path = f"{directory}/signature-{number}"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            atomic.write_all(fd, signature)
            os.fchmod(fd, 0o644)  # whoever serves them may be another user
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise os_error(f"cannot write a signature to {directory}", error) from error
    return path


# Sigstore


def sigstore_signer(path: str, secret: str | None) -> Then:
    """What signs an image, and of an index each image, that was pushed; the key is read at once. Raises RootlessError.
    """
    from rootless.engine.images.trust import sigstore

    try:
        with open(path, "rb") as file:
            data = file.read(check.MAX_KEY)
    except OSError as error:
        raise RootlessError(f"cannot read {path}: {error.strerror}") from None
    key = sigstore.private_key(data, secret.encode() if secret is not None else None, path)

    def sign(published: Published, send: Send) -> None:
        name = signed_name(published.reference)
        for digest in digests_of(published):
            signed = payload.make(digest, name, payload.COSIGN, {"creator": f"rootless {__version__}"})
            _attach(published.target, digest, signed, sigstore.sign(signed, key))
        send({"kind": "note", "text": f"Signed {name}"})

    return sign


def digests_of(published: Published) -> list[str]:
    """The manifest that was published; of an index it and those that it names."""
    descriptor = published.descriptor
    found = [descriptor["digest"]]
    if descriptor["mediaType"] in oci.INDEX_TYPES:
        document = published.target.manifest(descriptor["digest"])
        index = oci.check_index(jsonfast.loads_strict(document.data), document.media_type)
        found += [entry["digest"] for entry in index["manifests"]]
    return found


def _attach(target: Target, digest: str, signed: bytes, signature: str) -> None:
    """Add a signature to the image of signatures of ``digest``, which is made if need be."""
    from rootless.engine.images.trust.sigstore import PAYLOAD_TYPE, SIGNATURE
    from rootless.registry.errors import NotFoundAtRegistry

    layer: Descriptor = {
        "mediaType": PAYLOAD_TYPE, "digest": oci.Digest.of(signed), "size": len(signed),
        "annotations": {SIGNATURE: signature},
    }  # fmt: skip
    try:
        layers = [known for known, _ in check.layers_of(target.manifest(check.tag_of(digest)).data)]
    except NotFoundAtRegistry:
        layers = []
    if len(layers) >= check.MAX_SIGNATURES:
        raise RootlessError(f"cannot sign {digest}: it has {len(layers)} signatures already")
    layers.append(layer)
    config = jsonfast.dumps(
        {
            "architecture": "unknown", "os": "unknown", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [each["digest"] for each in layers]},
        }
    ).encode("ascii")  # fmt: skip
    described = {"mediaType": oci.CONFIG, "digest": oci.Digest.of(config), "size": len(config)}
    manifest = {"schemaVersion": 2, "mediaType": oci.MANIFEST, "config": described, "layers": layers}
    _send(target, signed)
    _send(target, config)
    target.put_manifest(jsonfast.dumps(manifest).encode("ascii"), oci.MANIFEST, check.tag_of(digest))


def _send(target: Target, data: bytes) -> None:
    """See to it that the registry has a small blob."""
    import io

    from rootless.registry.upload import Uploader
    from rootless.registry.upload_requests import Blob

    blob = Blob(oci.Digest.of(data), len(data), lambda: io.BytesIO(data))
    Uploader(target, lambda *_: None).push(blob)


# image sign


def sign_at_registry(engine: Engine, name: str, values: Values) -> list[str]:
    """``image sign``: sign what a registry has under ``name``, with ``all`` also each image of an index.

    The files that were written. Raises RootlessError, StorageError.
    """
    from rootless.engine.images import remote
    from storage import reference

    fingerprint = values.get("sign_by")
    if not fingerprint:
        raise UsageError("cannot sign without a key", "name one with --sign-by FINGERPRINT")
    gpg.check_key(fingerprint)
    into = values.get("directory") or ""
    if into and not os.path.isdir(into):
        raise UsageError(f"cannot use --directory {into}: it is not a directory")
    found = remote.look(engine, name.removeprefix("docker://"), values)
    digests = [found.digest]
    if values.get("all") and found.media_type in oci.INDEX_TYPES:
        try:
            index = oci.check_index(found.document, found.media_type)
        except StorageError as error:
            raise RootlessError(f"cannot use the index of {name}: {error.message}", error.hint) from None
        digests += [entry["digest"] for entry in index["manifests"]]
    return sign_simply(reference.parse(found.name), digests, fingerprint, passphrase(values), into)
