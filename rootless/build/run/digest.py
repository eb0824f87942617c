"""What a bind mount of a RUN holds, as a part of the key of the cache."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from typing import TYPE_CHECKING, Any

from rootless.build.run import trees
from rootless.errors import RootlessError
from rootless.linux.path import O_PATH, open_inside

if TYPE_CHECKING:
    from collections.abc import Collection

    from rootless.build.job import Job
    from rootless.build.run.mounts import Mount

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def of_mount(job: Job, mount: Mount) -> dict[str, Any]:
    """Layers, where it is of an image; else a digest of names, kinds, modes and contents. Raises RootlessError."""
    with tempfile.TemporaryDirectory(dir=job.work) as scratch:
        root = trees.find(job, mount.from_, scratch)
    found: dict[str, Any] = {"target": mount.target, "source": mount.source, "read_only": mount.read_only}
    if root.state is not None:
        return {**found, "layers": root.state.diff_ids}
    hidden = frozenset() if mount.from_ else frozenset(trees.ignored(job, ""))
    try:
        return {**found, "digest": _of_tree(root.directories[0], mount.source, hidden)}
    except OSError as error:
        raise RootlessError(f"cannot mount {mount.source or '/'} of {root.what}: {error.strerror}") from None


def _of_tree(root: str, path: str, hidden: Collection[str]) -> str:
    """The digest of what ``path`` leads to in ``root``, as a container sees both."""
    digest = hashlib.sha256()
    top = os.open(root, O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = open_inside(top, path or ".")
        try:
            base = os.readlink(f"/proc/self/fd/{top}")
            true = os.readlink(f"/proc/self/fd/{found}")[len(base) :].strip("/")
            if stat.S_ISDIR(os.fstat(found).st_mode):
                directory = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    _directory(digest, directory, true, hidden)
                finally:
                    os.close(directory)
            else:
                _file(digest, f"/proc/self/fd/{found}", os.fstat(found))
        finally:
            os.close(found)
    finally:
        os.close(top)
    return digest.hexdigest()


def _directory(digest: hashlib._Hash, directory: int, path: str, hidden: Collection[str]) -> None:
    for name in sorted(os.listdir(directory)):
        below = f"{path}/{name}" if path else name
        if below in hidden:
            continue
        status = os.lstat(name, dir_fd=directory)
        digest.update(b"%d %o " % (len(os.fsencode(below)), status.st_mode) + os.fsencode(below))
        if stat.S_ISDIR(status.st_mode):
            child = os.open(name, _DIRECTORY, dir_fd=directory)
            try:
                _directory(digest, child, below, hidden)
            finally:
                os.close(child)
        elif stat.S_ISLNK(status.st_mode):
            digest.update(os.fsencode(os.readlink(name, dir_fd=directory)) + b"\0")
        else:
            _file(digest, f"/proc/self/fd/{directory}/{name}", status)


def _file(digest: hashlib._Hash, path: str, status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb", buffering=0) as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
