"""``policy.json`` (containers-policy.json(5)): what must be true of an image, by where it comes from.

Read from ``$XDG_CONFIG_HOME/containers/policy.json``, else from ``/etc/containers/policy.json``. Without either every
image is accepted, as with the policy that distributions install: a user who has no policy has not asked for one, and
would otherwise have to write the file that says so before the first pull. A file that cannot be read or understood
is an error, and so is whatever this program does not know in it: nothing is accepted by mistake.
"""

from __future__ import annotations

from rootless import paths
from rootless.registry.errors import RegistryError
from storage import jsonfast
from storage.errors import StorageError, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    Requirements = list["Requirement"]

SYSTEM_POLICY = "/etc/containers/policy.json"
MAX_BYTES = 4 << 20

ACCEPT, REJECT, SIGNED_BY, SIGSTORE = "insecureAcceptAnything", "reject", "signedBy", "sigstoreSigned"

_KEYS = {
    SIGNED_BY: ("keyPath", "keyPaths", "keyData"),
    SIGSTORE: ("keyPath", "keyPaths", "keyData", "keyDatas"),
}
_IDENTITIES: dict[str, tuple[str, ...]] = {
    "matchExact": (), "matchRepoDigestOrExact": (), "matchRepository": (),
    "exactReference": ("dockerReference",), "exactRepository": ("dockerRepository",),
    "remapIdentity": ("prefix", "signedPrefix"),
}  # fmt: skip
_UNSUPPORTED = (
    "fulcio", "rekorPublicKeyPath", "rekorPublicKeyPaths", "rekorPublicKeyData", "rekorPublicKeyDatas", "pki",
)  # fmt: skip


class PolicyError(RegistryError):
    """The policy cannot be used, or an image is not what it wants."""


class Requirement:
    """One thing that must be true of an image.

    ``kind`` is ACCEPT, REJECT, SIGNED_BY or SIGSTORE; ``fields`` hold the keys of the last two, in the words of the
    file; ``identity`` says which name must have been signed, ``{"type": "matchRepoDigestOrExact"}`` by default.
    """

    __slots__ = ("fields", "identity", "kind")

    def __init__(self, kind: str, fields: dict[str, Any], identity: dict[str, str]) -> None:
        self.kind = kind
        self.fields = fields
        self.identity = identity

    @property
    def wants_signature(self) -> bool:
        """Whether signatures have to be looked at."""
        return self.kind in (SIGNED_BY, SIGSTORE)


class Policy:
    """A parsed policy; ``path`` is the file."""

    __slots__ = ("default", "path", "transports")

    def __init__(self, path: str, default: Requirements, transports: dict[str, dict[str, Requirements]]) -> None:
        self.path = path
        self.default = default
        self.transports = transports

    def requirements(self, transport: str, scopes: Iterable[str]) -> Requirements:
        """What holds for an image of ``transport``: of the first of ``scopes`` that is named, else the defaults."""
        known = self.transports.get(transport, {})
        for scope in (*scopes, ""):
            if scope in known:
                return known[scope]
        return self.default


def path() -> str:
    """Where the policy that counts is, or would be written for this user."""
    import os

    own = user_path()
    return own if os.path.lexists(own) or not os.path.lexists(SYSTEM_POLICY) else SYSTEM_POLICY


def user_path() -> str:
    """The user's own policy."""
    return f"{paths.config_home()}/containers/policy.json"


def load(where: str = "") -> Policy | None:
    """Read the policy, at ``where`` if that is given; None if there is none. Raises PolicyError."""
    where = where or path()
    try:
        with open(where, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        hint = "no image is accepted until it can be read"
        raise PolicyError(f"cannot read {where}: {error.strerror}", hint) from None
    return parse(data, where)


def parse(data: bytes, where: str = "policy.json") -> Policy:
    """Understand the bytes of a policy. Raises PolicyError that names ``where`` and what is wrong."""
    if len(data) > MAX_BYTES:
        raise _bad(where, f"it is larger than {MAX_BYTES} bytes")
    try:
        document = jsonfast.loads_strict(data)
    except StorageError as error:
        raise _bad(where, error.message) from None
    top = _fields(document, "the policy", ("default", "transports"), where)
    if "default" not in top:
        raise _bad(where, "it has no default")
    transports = top.get("transports", {})
    if not isinstance(transports, dict) or not all(isinstance(scopes, dict) for scopes in transports.values()):
        raise _bad(where, "transports is not an object of objects")
    return Policy(
        where,
        _requirements(top["default"], "default", where),
        {
            transport: {
                scope: _requirements(value, f"transports.{transport}[{scope!r}]", where)
                for scope, value in scopes.items()
            }
            for transport, scopes in transports.items()
        },
    )


def _bad(where: str, why: str) -> PolicyError:
    return PolicyError(f"cannot use {where}: {why}", "see containers-policy.json(5)")


def _fields(value: object, what: str, allowed: Iterable[str], where: str) -> dict[str, Any]:
    """An object with none but the ``allowed`` fields: one with a slip in its name must not be passed over."""
    if not isinstance(value, dict):
        raise _bad(where, f"{what} is not an object")
    for key in value:
        if key not in allowed:
            raise _bad(where, f"{what} has the unknown field {shown(key)}")
    return value


def _requirements(value: object, what: str, where: str) -> Requirements:
    if not isinstance(value, list) or not value:
        raise _bad(where, f"{what} is not a list of requirements")
    return [_requirement(item, f"{what}[{number}]", where) for number, item in enumerate(value)]


def _requirement(value: object, what: str, where: str) -> Requirement:
    kind = _kind(value)
    if kind in (ACCEPT, REJECT):
        _fields(value, what, ("type",), where)
        return Requirement(kind, {}, {})
    if kind not in _KEYS or not isinstance(value, dict):
        raise _bad(where, f"{what} has the unknown type {shown(kind)}")
    for key in _UNSUPPORTED:
        if kind == SIGSTORE and key in value:
            raise PolicyError(
                f"cannot use {where}: {what} wants {key}, and only signatures by keys are supported",
                "give the signer's public key with keyPath",
            )
    more = ("keyType",) if kind == SIGNED_BY else ()
    found = _fields(value, what, ("type", "signedIdentity", *more, *_KEYS[kind]), where)
    if kind == SIGNED_BY and found.get("keyType") != "GPGKeys":
        raise _bad(where, f"{what} has the keyType {shown(found.get('keyType'))}, not GPGKeys")
    given = {key: found[key] for key in _KEYS[kind] if key in found}
    if len(given) != 1:
        raise _bad(where, f"{what} must have exactly one of {', '.join(_KEYS[kind])}")
    ((key, keys),) = given.items()
    if key in ("keyPaths", "keyDatas"):
        if not isinstance(keys, list) or not keys or not all(isinstance(item, str) for item in keys):
            raise _bad(where, f"{what}.{key} is not a list of strings")
    elif not isinstance(keys, str) or not keys:
        raise _bad(where, f"{what}.{key} is not a string")
    return Requirement(kind, given, _identity(found.get("signedIdentity"), f"{what}.signedIdentity", where))


def _kind(value: object) -> str:
    kind = value.get("type") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) else ""


def _identity(value: object, what: str, where: str) -> dict[str, str]:
    if value is None:
        return {"type": "matchRepoDigestOrExact"}
    kind = _kind(value)
    if kind not in _IDENTITIES:
        raise _bad(where, f"{what} has the unknown type {shown(kind)}")
    found = _fields(value, what, ("type", *_IDENTITIES[kind]), where)
    for key in _IDENTITIES[kind]:
        if not isinstance(found.get(key), str):
            raise _bad(where, f"{what}.{key} is not a string")
    return found


def scopes_of_reference(tagged: str, name: str) -> Iterator[str]:
    """The scopes that an image of a registry belongs to, the narrowest first.

    ``tagged`` is the whole reference and ``name`` the one without tag and digest: ``host:1/a/b:tag`` gives itself,
    ``host:1/a/b``, ``host:1/a``, ``host:1`` and, without the port, ``*.example.com`` for each domain above the host.
    """
    yield tagged
    while name:
        yield name
        name, _, last = name.rpartition("/")
    host = last.partition(":")[0]
    while "." in host:
        host = host.partition(".")[2]
        yield f"*.{host}"


def scopes_of_path(full: str, image: str) -> Iterator[str]:
    """The scopes that a local image belongs to: the path (absolute, without links) with the image's name, and those
    of the directories above it, the narrowest first."""
    yield f"{full}:{image}"
    while full.strip("/"):
        yield full
        full = full.rpartition("/")[0]
