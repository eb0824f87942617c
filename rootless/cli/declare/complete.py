"""Names that a shell completes: those of the user's own containers, images and volumes.

A completion that fails completes nothing: there is nobody to read its error.
"""

from __future__ import annotations

import typer

from rootless.errors import RootlessError
from storage.errors import StorageError


def containers(incomplete: str) -> list[str]:
    """Names of containers that start with ``incomplete``."""
    from rootless.engine.containers.listing import list_containers
    from rootless.engine.context import open_engine

    try:
        found = list_containers(open_engine({}), {"all": True})
    except (RootlessError, StorageError, OSError):
        return []
    return _matching([name for container in found for name in container["Names"]], incomplete)


def images(incomplete: str) -> list[str]:
    """Names of images that start with ``incomplete``, in full or without their registry."""
    from rootless.engine.context import open_engine
    from rootless.engine.images.listing import list_images

    try:
        found = list_images(open_engine({}), {})
    except (RootlessError, StorageError, OSError):
        return []
    full = [name for image in found for name in image.get("Names") or []]
    short = [name.removeprefix("docker.io/library/").removeprefix("localhost/") for name in full]
    return _matching(short, incomplete) or _matching(full, incomplete)


def image_first(context: typer.Context, incomplete: str) -> list[str]:
    """Names of images for the first argument; what follows is the container's own command."""
    return [] if context.params.get("args") else images(incomplete)


def container_first(context: typer.Context, incomplete: str) -> list[str]:
    """Names of containers for the first argument; what follows is a command of its own."""
    return [] if context.params.get("args") else containers(incomplete)


def volumes(incomplete: str) -> list[str]:
    """Names of volumes that start with ``incomplete``."""
    from rootless.engine.context import open_engine
    from rootless.engine.volumes import list_volumes

    try:
        found = list_volumes(open_engine({}), {})
    except (RootlessError, StorageError, OSError):
        return []
    return _matching([volume["Name"] for volume in found], incomplete)


def oci_containers(incomplete: str) -> list[str]:
    """IDs of the OCI runtime's containers that start with ``incomplete``."""
    from rootless.cli.oci_state import identifiers, root_directory

    try:
        return _matching(identifiers(root_directory({})), incomplete)
    except (RootlessError, StorageError, OSError):
        return []


def shells(incomplete: str) -> list[str]:
    """Shells for which there is a completion script."""
    return _matching(["bash", "fish", "zsh"], incomplete)


def _matching(names: list[str], incomplete: str) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete)})
