"""Deleting a tree that may hold files of subordinate ids."""

from __future__ import annotations

from rootless.idmaps import default_map
from rootless.init.delete import delete_directory
from rootless.userns import run_in_userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.idmaps import IdMap


def delete_tree(path: str, idmap: IdMap | None = None) -> None:
    """Delete ``path`` and all below it: as the caller if that goes, else as root of a user namespace with ``idmap``.

    ``idmap`` must map the owners of the files; by default it is the caller's default map. An absent path is no error.
    Raises ``OSError`` or ``RootlessError``.
    """
    try:
        delete_directory(path)
    except PermissionError:
        run_in_userns(lambda: _delete(path), idmap or default_map())


def _delete(path: str) -> bytes:
    delete_directory(path)
    return b""
