"""What a signature signs (containers-signature(5), and cosign's form of it): a digest, and the name it is for."""

from __future__ import annotations

from typing import Any, NamedTuple

from rootless.errors import RootlessError
from storage import jsonfast, oci, reference
from storage.errors import StorageError, shown
from storage.reference import Reference

ATOMIC = "atomic container signature"
COSIGN = "cosign container image signature"
MAX_BYTES = 64 << 10


class SignatureError(RootlessError):
    """A signature does not say, or does not prove, what is wanted of it."""


class Payload(NamedTuple):
    """The digest of the manifest that was signed, and the name that it was signed for."""

    digest: str
    name: str


def parse(data: bytes, kind: str) -> Payload:
    """Understand what was signed; ``kind`` is ATOMIC or COSIGN. Raises SignatureError. Call with verified bytes only.

    No field but those of the format may be under ``critical``: what a reader does not know there it must not pass over.
    """
    if len(data) > MAX_BYTES:
        raise SignatureError(f"its payload is larger than {MAX_BYTES} bytes")
    try:
        document = jsonfast.loads_strict(data)
    except StorageError as error:
        raise SignatureError(f"its payload is malformed: {error.message}") from None
    top = _exact(document, "payload", ("critical", "optional"))
    critical = _exact(top["critical"], "critical", ("identity", "image", "type"))
    image = _exact(critical["image"], "critical.image", ("docker-manifest-digest",))
    identity = _exact(critical["identity"], "critical.identity", ("docker-reference",))
    if critical["type"] != kind:
        raise SignatureError(f"its type is {shown(critical['type'])}, not {kind!r}")
    if top["optional"] is not None and not isinstance(top["optional"], dict):
        raise SignatureError("its field optional is not an object")
    digest, name = image["docker-manifest-digest"], identity["docker-reference"]
    if not oci.is_digest(digest):
        raise SignatureError(f"it signs {shown(digest)}, which is not a digest")
    if not isinstance(name, str):
        raise SignatureError("it signs a name that is not a string")
    return Payload(digest, name)


def _exact(value: object, what: str, fields: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SignatureError(f"its {what} is not an object")
    if sorted(value) != sorted(fields):
        raise SignatureError(f"its {what} has other fields than {', '.join(fields)}")
    return value


def make(digest: str, name: str, kind: str, optional: dict[str, Any]) -> bytes:
    """The bytes to sign."""
    return jsonfast.dumps(
        {
            "critical": {
                "identity": {"docker-reference": name}, "image": {"docker-manifest-digest": digest}, "type": kind,
            },
            "optional": optional,
        }
    ).encode("ascii")  # fmt: skip


def check_identity(signed: str, full: Reference, identity: dict[str, str]) -> None:
    """See whether what was signed as ``signed`` may be called ``full``, by a policy's signedIdentity.

    Raises SignatureError if not.
    """
    kind = identity["type"]
    try:
        found = _normal(signed)
        if kind == "exactReference":
            good = found == _normal(identity["dockerReference"]) and not _is_bare(found)
        elif kind == "exactRepository":
            good = _name(found) == _name(_normal(identity["dockerRepository"]))
        elif kind == "matchRepository":
            good = _name(found) == full.name()
        elif kind == "matchExact":
            good = full.tag is not None and found == full.tagged()
        else:
            name = _name(_remapped(full.name(), identity)) if kind == "remapIdentity" else full.name()
            wanted = f"{name}:{full.tag}" if full.tag is not None else name
            good = found == wanted if full.tag is not None else _name(found) == wanted
    except StorageError:
        good = False
    if not good:
        raise SignatureError(f"it is for {shown(signed)}, which {kind} does not take for {full}")


def _normal(text: str) -> str:
    """A reference with docker.io's short forms written out, and without a tag if it has none."""
    found = reference.parse(text)
    _, tag, digest = reference.split(text)
    return str(found) if tag or digest else found.name()


def _name(text: str) -> str:
    return reference.parse(text).name()


def _is_bare(text: str) -> bool:
    return reference.split(text)[1:] == (None, None)


def _remapped(name: str, identity: dict[str, str]) -> str:
    """``name`` with the policy's ``prefix`` replaced by ``signedPrefix``; unchanged where it has another prefix."""
    prefix = identity["prefix"]
    rest = name[len(prefix) :]
    if name.startswith(prefix) and (not rest or rest.startswith("/")):
        return identity["signedPrefix"] + rest
    return name
