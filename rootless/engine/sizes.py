"""How much space containers and volumes take."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.engine.context import Engine


def tree_size(path: str) -> int:
    """Bytes allocated on disk below ``path``, hardlinks counted once; what cannot be read is entered as root inside."""
    try:
        return _walk(path)
    except PermissionError:
        return -1


def _walk(path: str) -> int:
    total = 0
    seen: set[int] = set()
    pending = [path]
    while pending:
        try:
            entries = list(os.scandir(pending.pop()))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if found.st_nlink > 1 and not entry.is_dir(follow_symlinks=False):
                if found.st_ino in seen:
                    continue
                seen.add(found.st_ino)
            total += found.st_blocks * 512
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
    return total


def size_of(engine: Engine, path: str) -> int:
    """``tree_size``, inside the user namespace where directories of subordinate ids are in the way."""
    size = tree_size(path)
    if size >= 0:
        return size
    return int(engine.in_userns(lambda: str(tree_size(path)).encode()))


def container_size(engine: Engine, container_id: str) -> dict[str, int]:
    """``rootFsSize`` (image and changes) and ``rwSize`` (changes) in bytes, as ps and inspect show them."""
    directory = engine.store.layout.container(container_id)
    parts = [path for path in (f"{directory}/upper", f"{directory}/rootfs") if os.path.isdir(path)]
    changed = sum(size_of(engine, path) for path in parts)
    record = engine.store.containers.load(container_id)
    image = engine.store.images.find(record["image"]) if record.get("image") else None
    return {"rootFsSize": changed + (image.size if image is not None else 0), "rwSize": changed}
