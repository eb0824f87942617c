"""``registries.d`` (containers-registries.d(5)): where the signatures of a registry's images are kept.

Read from ``$XDG_CONFIG_HOME/containers/registries.d`` if there is such a directory, else from
``/etc/containers/registries.d``. Where nothing is configured signatures are looked for, and written, below
``~/.local/share/containers/sigstore``, where podman looks too.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import yaml

from rootless import paths
from rootless.engine.images.trust.policy import scopes_of_reference
from rootless.errors import RootlessError
from storage.errors import shown
from storage.reference import Reference

SYSTEM_DIRECTORY = "/etc/containers/registries.d"
MAX_BYTES = 1 << 20

# The second name of each is that of older versions of the format.
_READ, _WRITE = ("lookaside", "sigstore"), ("lookaside-staging", "sigstore-staging")
_ATTACHMENTS = "use-sigstore-attachments"


class Place(NamedTuple):
    """Where signatures are: the addresses below which they are read and written (file:, http: or https:).

    ``attachments``: whether they are images of the registry too; None where nothing says.
    """

    read: str
    write: str
    attachments: bool | None


def directory() -> str:
    """The directory that counts."""
    own = f"{paths.config_home()}/containers/registries.d"
    return own if os.path.isdir(own) else SYSTEM_DIRECTORY


def place_of(full: Reference, where: str = "") -> Place:
    """Where the signatures of images of this repository are, by the files of ``where`` or ``directory()``.

    Raises RootlessError for a file that cannot be read or understood.
    """
    entries = _entries(full, where)
    read = _first(entries, _READ) or f"file://{paths.home()}/.local/share/containers/sigstore"
    write = _first(entries, _WRITE) or (read if read.startswith("file:") else "")
    attached = [entry[_ATTACHMENTS] for entry in entries if _ATTACHMENTS in entry]
    return Place(_below(read, full), _below(write, full) if write else "", attached[0] if attached else None)


def configured(full: Reference, where: str = "") -> str:
    """The address below which the signatures of this repository are read; empty where no file of ``where`` says."""
    return _first(_entries(full, where), _READ)


def _entries(full: Reference, where: str) -> list[dict[str, Any]]:
    """What the files say of a repository: of the narrowest scope, and of all that no scope names."""
    default, scopes = _load(where or directory())
    names = [scope for scope in scopes_of_reference(str(full), full.name()) if scope in scopes]
    return [*(scopes[name] for name in names[:1]), default]


def _below(address: str, full: Reference) -> str:
    """The repository's own part of an address, without the digest."""
    return f"{address.rstrip('/')}/{full.repository}"


def _first(entries: list[dict[str, Any]], keys: tuple[str, ...]) -> str:
    return next((entry[key] for entry in entries for key in keys if key in entry), "")


def _load(where: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The default and the entries by scope of all files. Raises RootlessError: no two files may say the same."""
    default: dict[str, Any] = {}
    scopes: dict[str, dict[str, Any]] = {}
    try:
        names = sorted(name for name in os.listdir(where) if name.endswith(".yaml"))
    except FileNotFoundError:
        return default, scopes
    except OSError as error:
        raise RootlessError(f"cannot read {where}: {error.strerror}") from None
    for name in names:
        path = f"{where}/{name}"
        try:
            with open(path, "rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise RootlessError(f"cannot read {path}: {error.strerror}") from None
        found = parse(data, path)
        if "default-docker" in found:
            if default:
                raise _bad(path, "another file has a default-docker too")
            default = _entry(found["default-docker"], "default-docker", path)
        for scope, entry in (found.get("docker") or {}).items():
            if scope in scopes:
                raise _bad(path, f"another file speaks of {shown(scope)} too")
            scopes[scope] = _entry(entry, shown(scope), path)
    return default, scopes


def parse(data: bytes, path: str) -> dict[str, Any]:
    """The document of one file. Raises RootlessError."""
    if len(data) > MAX_BYTES:
        raise _bad(path, f"it is larger than {MAX_BYTES} bytes")
    try:
        found = yaml.safe_load(data)
    except (yaml.YAMLError, ValueError, RecursionError, UnicodeDecodeError) as error:
        raise _bad(path, " ".join(str(error).split())[:200]) from None
    if found is None:
        return {}
    if not isinstance(found, dict) or not set(found) <= {"default-docker", "docker"}:
        raise _bad(path, "it has other fields than default-docker and docker")
    docker = found.get("docker")
    if docker is not None and not (isinstance(docker, dict) and all(isinstance(key, str) for key in docker)):
        raise _bad(path, "docker is not a mapping of names")
    return found


def _entry(value: object, what: str, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _bad(path, f"{what} is not a mapping")
    for key, item in value.items():
        if key in (*_READ, *_WRITE):
            if not isinstance(item, str) or not item.startswith(("file:///", "http://", "https://")):
                raise _bad(path, f"{what}: {key} is not an address that begins with file:///, http:// or https://")
        elif key != _ATTACHMENTS:
            raise _bad(path, f"{what} has the unknown field {shown(key)}")
        elif not isinstance(item, bool):
            raise _bad(path, f"{what}: {key} is not true or false")
    return value


def _bad(path: str, why: str) -> RootlessError:
    return RootlessError(f"cannot use {path}: {why}", "see containers-registries.d(5)")
