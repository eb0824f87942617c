"""What the drivers share: a container's directories, which layers are seen at all, a directory as it is."""

from __future__ import annotations

import os

from storage.errors import os_error
from storage.layers import link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage.drivers.base import RootfsMount
    from storage.layout import Layout

OPAQUE = "user.overlay.opaque"


def visible(layer_dirs: Sequence[str], container_dir: str) -> list[str]:
    """The layers to mount, topmost first, down to one whose root hides all below it.

    Overlay file systems do not look at the opaque mark of a layer's root, and the kernel mounts no directory twice (of
    a repeated layer only the topmost can be seen). An image without layers gets an empty one.
    """
    found = []
    for directory in dict.fromkeys(reversed(layer_dirs)):
        found.append(directory)
        try:
            if os.getxattr(directory, OPAQUE) == b"y":
                break
        except OSError:  # no mark, or no attributes here
            pass
    if not found:
        empty = f"{container_dir}/empty"
        _directory(empty, 0o755)
        found.append(empty)
    return found


def make(container_dir: str, top: str, readonly: bool) -> tuple[str, str, str]:
    """Make ``upper``, ``work`` and ``merged`` of a container and return their paths (the first two empty if readonly).

    The upper directory is the container's ``/``: it gets the permission bits of ``top``.
    """
    merged = f"{container_dir}/merged"
    _directory(merged, 0o700)
    if readonly:
        return "", "", merged
    upper, work = f"{container_dir}/upper", f"{container_dir}/work"
    try:
        mode = os.stat(top).st_mode & 0o7777
    except OSError as error:
        raise os_error(f"cannot use {top} as a root file system", error) from error
    _directory(upper, mode)
    _directory(work, 0o700)
    return upper, work, merged


def _directory(path: str, mode: int) -> None:
    try:
        os.mkdir(path, mode)
        os.chmod(path, mode)  # whatever the umask
    except FileExistsError:
        pass
    except OSError as error:
        raise os_error(f"cannot make the directory {path}", error) from error


def links(layout: Layout, lower: Sequence[str]) -> list[str]:
    """Short names of layers (``layers/KEY/diff``) inside the directory of links; empty if one is no layer."""
    prefix = f"{layout.layers}/"
    names = []
    for directory in lower:
        if not directory.startswith(prefix):
            return []
        names.append(link(layout, directory[len(prefix) : -len("/diff")]))
    return names


def plain(path: str, readonly: bool) -> RootfsMount:
    """The directory ``path`` itself as the root file system: nothing is mounted."""
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
