"""Whether an image may be pulled: what the policy wants of it, and the signatures that prove it.

What is verified is the digest of the manifest that is pulled, so everything the manifest names is verified with it.
Whatever goes wrong on the way, a missing program as well as a damaged signature, keeps the image out.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from rootless.engine.images.trust import policy as policies
from rootless.engine.images.trust.policy import REJECT, SIGNED_BY, PolicyError, Requirement
from rootless.errors import RootlessError

if TYPE_CHECKING:
    from rootless.registry.client import Registry
    from storage.reference import Reference
    from storage.store import Store

    Requirements = list[Requirement]

T = TypeVar("T")

MAX_SIGNATURES = 128
MAX_KEY = 1 << 20
MAX_SIGNATURE = 1 << 20
_HINT = "'rootless image trust show' shows what the policy wants"


def wanted_of_registry(full: Reference) -> Requirements:
    """What the policy wants of an image of a registry that takes a signature to prove; nothing for most users.

    Raises PolicyError if it wants none of such images at all.
    """
    own = full.tagged() if full.tag is not None else str(full)
    return _wanted("docker", list(policies.scopes_of_reference(own, full.name())), str(full))


def check_local(transport: str, path: str, image: str) -> None:
    """See whether an image of an archive or a directory may be had; no such source has signatures.

    ``path`` and ``image`` are those of ``TRANSPORT:PATH[:IMAGE]``. Raises PolicyError.
    """
    scopes: list[str] = []  # what is in no directory, and docker-archive:, have none
    if path != "-" and transport in ("oci", "oci-archive", "dir"):
        scopes = list(policies.scopes_of_path(os.path.realpath(path), image))
    if transport == "dir":
        del scopes[0]
    shown = f"{transport}:{path}"
    if _wanted(transport, scopes, shown):
        raise PolicyError(f"cannot use {shown}: a signature is required, and {transport}: has none", _HINT)


def _wanted(transport: str, scopes: Sequence[str], shown: str) -> Requirements:
    policy = policies.load()
    if policy is None:
        return []
    requirements = policy.requirements(transport, scopes)
    if any(requirement.kind == REJECT for requirement in requirements):
        raise PolicyError(f"cannot use {shown}: {policy.path} rejects it", _HINT)
    return [requirement for requirement in requirements if requirement.wants_signature]


def check(
    store: Store, full: Reference, digest: str, requirements: Requirements, sources: Sequence[Registry]
) -> None:
    """See that every one of ``requirements`` is met by a signature of the manifest ``digest`` for the name ``full``.

    ``sources`` are the registry and its mirrors. Raises PolicyError, or the RootlessError that hindered it.
    """
    from rootless.engine.images.trust import registries_d

    place = registries_d.place_of(full)
    for requirement in requirements:
        if requirement.kind == SIGNED_BY:
            found = _lookaside(place.read, digest, sources[-1])
            _one_is_good(full, found, _simple(store, full, digest, requirement), place.read)
        else:
            attached = _attached(sources, digest) if place.attachments is not False else []
            _one_is_good(full, attached, _sigstore(full, digest, requirement), "the registry")


def _one_is_good(full: Reference, signatures: Sequence[T], verify: Callable[[T], None], place: str) -> None:
    from rootless.engine.images.trust.payload import SignatureError

    if not signatures:
        raise PolicyError(f"cannot pull {full}: a signature is required, and there is none at {place}", _HINT)
    reasons = []
    for signature in signatures:
        try:
            return verify(signature)
        except SignatureError as error:
            reasons.append(error.message)
    more = f" (and {len(reasons) - 3} more)" if len(reasons) > 3 else ""
    told = "; ".join(dict.fromkeys(reasons[:3])) + more
    raise PolicyError(f"cannot pull {full}: no signature is accepted: {told}", _HINT)


# Simple signing


def _simple(store: Store, full: Reference, digest: str, requirement: Requirement) -> Callable[[bytes], None]:
    from rootless.engine.images.trust import gpg, payload
    from storage.work import WorkDirectory

    keys = keys_of(requirement)

    def verify(signature: bytes) -> None:
        with WorkDirectory(store.layout) as directory:
            _check_payload(gpg.verify(signature, keys, directory.path), payload.ATOMIC, full, digest, requirement)

    return verify


def _check_payload(data: bytes, kind: str, full: Reference, digest: str, requirement: Requirement) -> None:
    from rootless.engine.images.trust import payload

    signed = payload.parse(data, kind)
    if signed.digest != digest:
        raise payload.SignatureError(f"it is for the manifest {signed.digest}, not {digest}")
    payload.check_identity(signed.name, full, requirement.identity)


def keys_of(requirement: Requirement) -> list[bytes]:
    """The bytes of the keys that a requirement accepts. Raises PolicyError if one cannot be read."""
    fields = requirement.fields
    paths = fields.get("keyPaths") or ([fields["keyPath"]] if "keyPath" in fields else [])
    texts = fields.get("keyDatas") or ([fields["keyData"]] if "keyData" in fields else [])
    found = []
    for path in paths:
        try:
            with open(path, "rb") as file:
                found.append(file.read(MAX_KEY))
        except OSError as error:
            raise PolicyError(f"cannot read the key {path}: {error.strerror}", "mend the path in policy.json") from None
    for text in texts:
        try:
            found.append(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            raise PolicyError("cannot use a key of policy.json: its keyData is not base64") from None
    return found


def _lookaside(address: str, digest: str, source: Registry) -> list[bytes]:
    """The signatures of a manifest below an address of ``registries.d``."""
    found: list[bytes] = []
    for number in range(1, MAX_SIGNATURES + 1):
        data = _read(f"{address}@{digest.replace(':', '=')}/signature-{number}", source)
        if data is None:
            break
        if not data.startswith(b"\0"):  # those that begin so are of other forms than OpenPGP messages
            found.append(data)
    return found


def _read(address: str, source: Registry) -> bytes | None:
    if not address.startswith("file://"):
        from rootless.registry import lookaside

        return lookaside.read(address, MAX_SIGNATURE, source.options)
    try:
        with open(address.removeprefix("file://"), "rb") as file:
            return file.read(MAX_SIGNATURE)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise PolicyError(f"cannot read the signature {address}: {error.strerror}") from None


# Sigstore


def _sigstore(full: Reference, digest: str, requirement: Requirement) -> Callable[[tuple[bytes, str]], None]:
    from rootless.engine.images.trust import payload, sigstore

    keys = [sigstore.public_key(data, "of policy.json") for data in keys_of(requirement)]

    def verify(signature: tuple[bytes, str]) -> None:
        signed, proof = signature
        sigstore.verify(signed, proof, keys)
        _check_payload(signed, payload.COSIGN, full, digest, requirement)

    return verify


def tag_of(digest: str) -> str:
    """The tag of the image that holds the signatures of the manifest ``digest``, as cosign names it."""
    return f"{digest.replace(':', '-')}.sig"


def _attached(sources: Sequence[Registry], digest: str) -> list[tuple[bytes, str]]:
    """The signatures (payload, signature in base64) that are an image of the registry, or of a mirror."""
    from rootless.registry.errors import NotFoundAtRegistry, RegistryError

    failure: RootlessError | None = None
    for source in sources:
        try:
            found = [
                (_payload(source, layer), proof) for layer, proof in layers_of(source.manifest(tag_of(digest)).data)
            ]
        except NotFoundAtRegistry:
            continue
        except RegistryError as error:
            failure = error
            continue
        if found:
            return found
    if failure is not None:
        raise failure
    return []


def layers_of(manifest: bytes) -> list[tuple[Any, str]]:
    """The layers of a signature image that hold payloads, and the signature of each. Raises PolicyError."""
    from rootless.engine.images.trust.sigstore import PAYLOAD_TYPE, SIGNATURE
    from storage import jsonfast, oci
    from storage.errors import StorageError

    try:
        document = jsonfast.loads_strict(manifest)
        layers = document.get("layers") if isinstance(document, dict) else None
        if not isinstance(layers, list) or len(layers) > MAX_SIGNATURES:
            raise PolicyError(f"cannot use the signatures: they are not an image of at most {MAX_SIGNATURES} layers")
        checked = [oci.check_descriptor(layer, f"layers[{number}]") for number, layer in enumerate(layers)]
    except StorageError as error:
        raise PolicyError(f"cannot use the signatures: {error.message}") from None
    return [
        (layer, layer.get("annotations", {}).get(SIGNATURE, "")) for layer in checked
        if layer["mediaType"] == PAYLOAD_TYPE
    ]  # fmt: skip


def _payload(source: Registry, layer: Any) -> bytes:
    """The bytes of a payload, which are those of its digest."""
    from rootless.engine.images.trust.payload import MAX_BYTES
    from rootless.registry.errors import RegistryError
    from rootless.registry.retry import retrying
    from storage import oci

    if layer["size"] > MAX_BYTES:
        raise PolicyError(f"cannot use the signatures: a payload is larger than {MAX_BYTES} bytes")

    def attempt() -> bytes:
        stream = source.blob(layer["digest"], layer["size"])
        try:
            data = b""
            for chunk in stream.chunks():
                data += chunk
                if len(data) > layer["size"]:
                    break
            return data
        finally:
            stream.close()

    data = retrying(attempt, source.options.limits, source.options.say)
    if oci.Digest.of(data) != layer["digest"]:
        raise RegistryError(f"cannot use a signature of {source.endpoint.host}: digest mismatch in {layer['digest']}")
    return data
