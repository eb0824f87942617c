"""Bundles: a directory with a ``config.json`` and a root file system (OCI runtime-spec, bundle.md)."""

from __future__ import annotations

import os

from rootless.errors import RootlessError
from storage import atomic, jsonfast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.runtime.spec import Spec
    from storage.drivers.base import RootfsMount

CONFIG = "config.json"
_LIMIT = 16 << 20


def read(directory: str) -> Spec:
    """The Spec of a bundle. Raises ``RootlessError``."""
    path = f"{directory}/{CONFIG}"
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.read(_LIMIT + 1)
    except OSError as error:
        raise RootlessError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > _LIMIT:
        raise RootlessError(f"cannot read {path}: it is larger than {_LIMIT} bytes")
    try:
        spec = jsonfast.loads(data.decode())
    except ValueError as error:
        raise RootlessError(f"cannot read {path}: {error}") from error
    if not isinstance(spec, dict):
        raise RootlessError(f"cannot read {path}: it is not a JSON object")
    found: Spec = spec  # type: ignore[assignment]
    return found


def write(directory: str, spec: Spec, *, durable: bool = False) -> None:
    """Store the Spec of a bundle."""
    atomic.write(f"{directory}/{CONFIG}", jsonfast.dumps(spec).encode(), durable=durable)


def rootfs(directory: str, spec: Spec) -> RootfsMount:
    """The root file system that the Spec of a bundle names, as it is."""
    path = spec.get("root", {}).get("path", "")
    if not path:
        raise RootlessError("cannot run a Spec without a root file system")
    merged = os.path.abspath(os.path.join(directory, path))
    if not os.path.isdir(merged):
        raise RootlessError(f"cannot use the root file system {merged}: it is not a directory")
    return directory_root(merged)


def directory_root(path: str, *, readonly: bool = False) -> RootfsMount:
    """A directory as the root file system."""
    return {
        "kind": "directory",
        "lower": [],
        "lower_links": [],
        "links": "",
        "upper": "",
        "work": "",
        "merged": path,
        "options": [],
        "readonly": readonly,
    }
