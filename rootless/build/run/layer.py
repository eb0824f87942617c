"""The layer of a RUN: what the command changed, without what was made for its mounts.

Nothing is deleted in the container's tree for that, whose paths the command may have made lead elsewhere: what was made
is noted before the command runs, by its path, and left out of the archive (CVE-2024-23652).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rootless.engine.containers import stack as stacks
from rootless.engine.images.layerfile import pack_stack
from rootless.linux.path import O_PATH, open_inside

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rootless.build.job import Job
    from rootless.engine.containers.container import Container
    from rootless.engine.images.layerfile import LayerFile


def made_places(container: Container, targets: Iterable[str]) -> frozenset[str]:
    """The paths at which something was made for mounts, before the command runs: relative to the root.

    ``targets`` are the places of mounts beside those of the container's Spec. Of a layer of its own that is all there
    is by now; of a copy of all files it is where the mounts are, and what is above them.
    """
    upper = container.rootfs["upper"]
    found: set[str] = set()
    if upper:
        for directory, directories, files in os.walk(upper):
            prefix = directory[len(upper) + 1 :]
            found.update(os.path.join(prefix, name) for name in (*directories, *files))
        return frozenset(found)
    mounts = [mount["destination"] for mount in container.spec["mounts"]]
    for path in _true_paths(container.rootfs["merged"], [*mounts, *targets]):
        parts = path.split("/")
        found.update("/".join(parts[:count]) for count in range(1, len(parts) + 1))
    return frozenset(found - {""})


def _true_paths(root: str, paths: Iterable[str]) -> list[str]:
    """The paths without links, as they are in the directory ``root`` now."""
    found = []
    top = os.open(root, O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        base = os.readlink(f"/proc/self/fd/{top}")
        for path in paths:
            try:
                fd = open_inside(top, path)
            except OSError:
                found.append(path.strip("/"))  # below a directory of a user of the container's
                continue
            found.append(os.readlink(f"/proc/self/fd/{fd}")[len(base) :].strip("/"))
            os.close(fd)
    finally:
        os.close(top)
    return found


def pack(job: Job, container: Container, places: frozenset[str], path: str) -> LayerFile:
    """Write the layer to the new file ``path``. Raises RootlessError, StorageError."""
    stack = stacks.of_container(job.engine, container)
    return pack_stack(job.engine, stack, path, places=places, mtime=job.mtime)
