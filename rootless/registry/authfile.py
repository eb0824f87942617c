"""``auth.json`` (containers-auth.json(5)) and ``~/.docker/config.json``: where credentials are kept.

Read in this order, the first match wins: ``--authfile`` or ``$REGISTRY_AUTH_FILE`` alone if given; else
``$XDG_RUNTIME_DIR/containers/auth.json``, ``$XDG_CONFIG_HOME/containers/auth.json``, ``$DOCKER_CONFIG/config.json``
(``~/.docker/config.json``). Keys go from the most specific to the least: "host/ns/repo", "host/ns", "host".
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from rootless import paths
from rootless.registry import helpers
from rootless.registry.errors import RegistryError
from storage import atomic, jsonfast
from storage.errors import StorageError
from storage.locks import Lock

MAX_FILE = 4 * 1024 * 1024
DOCKER_HUB = "docker.io"
TOKEN_USER = "<token>"

_DOCKER_HUB_NAMES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})


@dataclass(frozen=True)
class Credentials:
    """A user's way in: user name and password, or an identity token (OAuth2 refresh token). Never printed."""

    username: str
    password: str = ""
    identity_token: str = ""

    def __repr__(self) -> str:
        return f"Credentials({self.username!r})"


def parse_creds(text: str) -> Credentials:
    """``--creds USER[:PASSWORD]``. Raises RegistryError if there is no user name."""
    username, _, password = text.partition(":")
    if not username:
        raise RegistryError("cannot use --creds: no user name", "write --creds USER:PASSWORD")
    return Credentials(username, password)


def canonical_key(key: str) -> str:
    """A key as it is compared: without scheme, without the API path that Docker wrote, Docker Hub under one name."""
    for scheme in ("https://", "http://"):
        if key.startswith(scheme):
            key = key[len(scheme) :]
            # Keys with a scheme are legacy Docker's: only their host means anything.
            key = key.partition("/")[0]
    host, slash, path = key.rstrip("/").partition("/")
    if host in _DOCKER_HUB_NAMES:
        host = DOCKER_HUB
    return host + slash + path


def default_path() -> str:
    """The file that login writes when no other is named."""
    chosen = os.environ.get("REGISTRY_AUTH_FILE", "")
    if chosen:
        return chosen
    runtime = paths.runtime_home()
    return f"{runtime or paths.config_home()}/containers/auth.json"


def search_paths(authfile: str = "") -> list[str]:
    """The files to read, most important first. Raises RegistryError if the one asked for is not there."""
    chosen = authfile or os.environ.get("REGISTRY_AUTH_FILE", "")
    if chosen:
        if authfile and not os.path.exists(chosen):
            raise RegistryError(f"cannot read credentials from {chosen}: no such file", "correct --authfile")
        return [chosen]
    runtime = paths.runtime_home()
    docker = os.environ.get("DOCKER_CONFIG", "") or f"{paths.home()}/.docker"
    found = [f"{runtime}/containers/auth.json"] if runtime else []
    return [*found, f"{paths.config_home()}/containers/auth.json", f"{docker}/config.json"]


def read(path: str) -> dict[str, Any]:
    """The JSON object in ``path``, {} if the file is not there or empty. Raises RegistryError for a broken one."""
    try:
        with open(path, "rb") as stream:
            text = stream.read(MAX_FILE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise RegistryError(f"cannot read credentials from {path}: {error.strerror}") from None
    if not text.strip():
        return {}
    broken = RegistryError(f"cannot read credentials from {path}: not a valid auth file", f"repair or remove {path}")
    if len(text) > MAX_FILE:
        raise broken
    try:
        document = jsonfast.loads(text)
    except StorageError:
        raise broken from None
    if not isinstance(document, dict):
        raise broken
    for key in ("auths", "credHelpers"):
        if not isinstance(document.get(key) or {}, dict):
            raise broken
    return document


def names_helper(authfile: str, extra_helpers: Iterable[str] = ()) -> bool:
    """Whether a credential helper may be run for some registry. Raises RegistryError as :func:`lookup`."""
    documents = [read(path) for path in search_paths(authfile)]
    own = any(document.get("credHelpers") or document.get("credsStore") for document in documents)
    return own or any(helper != "containers-auth.json" for helper in extra_helpers)


def lookup(name: str, authfile: str = "", extra_helpers: Iterable[str] = ()) -> Credentials | None:
    """The credentials for ``name`` ("host[:port][/repository]"); None if there are none.

    ``extra_helpers`` are the ``credential-helpers`` of registries.conf, asked after the files.
    """
    host = canonical_key(name).partition("/")[0]
    for path in search_paths(authfile):
        document = read(path)
        found = _from_helper(document, host) or _from_auths(path, document, name) or _from_store(document, host)
        if found:
            return found
    for helper in extra_helpers:
        if helper != "containers-auth.json":
            found = _ask(helper, host)
            if found:
                return found
    return None


def _from_helper(document: dict[str, Any], host: str) -> Credentials | None:
    for key, helper in (document.get("credHelpers") or {}).items():
        if canonical_key(str(key)) == host:
            return _ask(str(helper), str(key))
    return None


def _from_auths(path: str, document: dict[str, Any], name: str) -> Credentials | None:
    entries = {canonical_key(str(key)): entry for key, entry in (document.get("auths") or {}).items()}
    key = canonical_key(name)
    while key:
        entry = entries.get(key)
        if isinstance(entry, dict):
            found = decode_entry(path, key, entry)
            if found:
                return found
        key = key.rpartition("/")[0]
    return None


def _from_store(document: dict[str, Any], host: str) -> Credentials | None:
    helper = document.get("credsStore")
    if not helper:
        return None
    server = "https://index.docker.io/v1/" if host == DOCKER_HUB else host
    return _ask(str(helper), server)


def _ask(helper: str, server: str) -> Credentials | None:
    secret = helpers.get(helper, server)
    if secret is None:
        return None
    if secret.username == TOKEN_USER:
        return Credentials(TOKEN_USER, identity_token=secret.password)
    return Credentials(secret.username, secret.password)


def decode_entry(path: str, key: str, entry: dict[str, Any]) -> Credentials | None:
    """Read one entry of ``auths``: base64 of user:password in ``auth``, and/or ``identitytoken``."""
    token = entry.get("identitytoken") or ""
    encoded = entry.get("auth") or ""
    if not isinstance(token, str) or not isinstance(encoded, str):
        raise RegistryError(f"cannot read credentials for {key} from {path}: not strings", f"repair or remove {path}")
    if not encoded:
        return Credentials(TOKEN_USER, identity_token=token) if token else None
    try:
        username, colon, password = base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        colon = ""
    if not colon:
        raise RegistryError(
            f"cannot read credentials for {key} from {path}: 'auth' is not base64 of user:password",
            f"log in again: rootless login {key.partition('/')[0]}",
        )
    return Credentials(username, password.rstrip("\0"), token)


def encode_entry(username: str, password: str) -> dict[str, str]:
    """The entry of ``auths`` for a user name and password."""
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode("ascii")}


def store(path: str, key: str, username: str, password: str) -> None:
    """Keep credentials for ``key`` in ``path``: mode 0600, replaced atomically, the other entries untouched.

    Where the file names a helper for that key, the helper keeps them.
    """
    with _held(path):
        document = read(path)
        helper = (document.get("credHelpers") or {}).get(key)
        if helper:
            helpers.store(str(helper), key, username, password)
            return
        auths = dict(document.get("auths") or {})
        auths[key] = encode_entry(username, password)
        _write(path, {**document, "auths": auths})


def erase(path: str, key: str) -> bool:
    """Forget ``key`` in ``path``; False if it was not there."""
    if not os.path.exists(path):
        return False
    with _held(path):
        document = read(path)
        helper = (document.get("credHelpers") or {}).get(key)
        if helper and helpers.erase(str(helper), key):
            return True
        auths = dict(document.get("auths") or {})
        same = [name for name in auths if canonical_key(str(name)) == canonical_key(key)]
        for name in same:
            del auths[name]
        if same:
            _write(path, {**document, "auths": auths})
        return bool(same)


def erase_all(path: str) -> None:
    """Forget every entry in ``path``."""
    if not os.path.exists(path):
        return
    with _held(path):
        document = read(path)
        for key, helper in (document.get("credHelpers") or {}).items():
            helpers.erase(str(helper), str(key))
        _write(path, {**document, "auths": {}})


@contextmanager
def _held(path: str) -> Iterator[None]:
    """Make the file's directory, keep other writers out, and remove what one who was killed had written by then.

    What this process makes from here on is closed to others, as when it opens a store.
    """
    directory = os.path.dirname(path) or "."
    os.umask(0o077)
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        with Lock(f"{directory}/.{os.path.basename(path)}.lock"):
            with suppress(FileNotFoundError):
                os.unlink(_half_written(path))
            yield
    except OSError as error:
        raise RegistryError(f"cannot write {path}: {error.strerror}", "choose another --authfile") from None


def _half_written(path: str) -> str:
    """Where the new text of ``path`` is until it takes its place: beside what a link leads to."""
    directory, name = os.path.split(os.path.realpath(path))
    return f"{directory}/.{name}.new"


def _write(path: str, document: dict[str, Any]) -> None:
    data = jsonfast.dump_bytes(document)
    atomic.write(os.path.realpath(path), data, mode=0o600, temporary=_half_written(path))
