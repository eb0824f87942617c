"""Files that several layers have: on the disk once, by reflinks or by hard links.

A *reflink* shares the blocks of two files that stay two (ioctl_fideduperange(2)): the kernel compares them itself, and
nobody ever sees a difference. Not every file system has them.

A *hard link* makes two files one. No layer is ever written to, by no driver: so it is safe where owner, mode, time and
attributes are equal, and the path too, since in one image only the upper one of two files with one path is seen; so no
container, copy or archive ever meets both names. A container sees that the file has two names (st_nlink), which some
programs refuse (cron): so links are made only when they are asked for.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import stat
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from storage import gc
from storage import sys as calls
from storage.errors import StorageError, os_error
from storage.layers import layer_key
from storage.layout import Layout, names_in
from storage.work import WorkDirectory

InUserns = Callable[[Callable[[], bytes]], bytes]

BLOCK = 4096
"""A smaller file shares no block."""

_FIDEDUPERANGE = 0xC0189436
_RANGE = struct.Struct("=QQHHIqQQiI")  # struct file_dedupe_range with one struct file_dedupe_range_info
_STEP = 16 << 20  # bytes that the kernel compares in one call
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK = 1 << 20
_RESOLVE = calls.RESOLVE_BENEATH | calls.RESOLVE_NO_SYMLINKS | calls.RESOLVE_NO_MAGICLINKS


class Shared(NamedTuple):
    """What a de-duplication came to: files that share their content with another one now, and their bytes."""

    files: int
    bytes: int
    links: bool


class _File(NamedTuple):
    """A regular file of a layer; ``name`` is its path in the layer's tree."""

    key: str
    name: str
    inode: int
    links: int
    status: tuple[int, int, int, int]  # mode, owner, group, time

    @property
    def path(self) -> str:
        """Where it is, below layers/."""
        return f"{self.key}/diff/{self.name}"


def dedup(
    layout: Layout, *, in_userns: InUserns, hard_links: bool = False, busy: frozenset[str] = frozenset()
) -> Shared:
    """Let equal files of different layers share what they hold.

    ``hard_links``: by these, where the file system has no reflinks. ``busy``: DiffIDs of layers that are mounted, whose
    files are not replaced. ``in_userns`` runs a function as root of the layers' ids. Raises StorageError: no way to
    share, a full disk.
    """
    with gc.adding(layout), WorkDirectory(layout) as work:

        def run() -> bytes:
            try:
                return json.dumps(_Dedup(layout, work.path, hard_links, busy).run(names_in(layout.layers))).encode()
            except OSError as error:
                raise os_error("cannot compare the files of layers", error) from error

        shared = Shared(*json.loads(in_userns(run)))
        if shared.links and shared.files:
            with open(layout.linked_layers, "a"):
                pass
        return shared


def linked(layout: Layout, in_userns: InUserns) -> list[tuple[int, list[str]]]:
    """The files that several layers have by hard links: bytes of each, and the keys of the layers."""
    if not os.path.exists(layout.linked_layers):
        return []

    def run() -> bytes:
        found: dict[int, tuple[int, set[str]]] = {}
        layers = os.open(layout.layers, _DIRECTORY)
        for key in names_in(layout.layers):
            for size, file in _walk(layers, key):
                if file.links > 1:
                    found.setdefault(file.inode, (size, set()))[1].add(key)
        return json.dumps([(size, sorted(keys)) for size, keys in found.values() if len(keys) > 1]).encode()

    return [(size, keys) for size, keys in json.loads(in_userns(run))]


def _walk(layers: int, key: str) -> Iterator[tuple[int, _File]]:
    """The regular files of a layer that have content, each name of them, with their sizes."""
    todo = [""]
    while todo:
        directory = todo.pop()
        try:
            fd = calls.openat2(layers, f"{key}/diff/{directory}".rstrip("/"), _DIRECTORY, _RESOLVE)
        except FileNotFoundError:
            continue
        try:
            for name in os.listdir(fd):
                found = os.lstat(name, dir_fd=fd)
                path = f"{directory}/{name}" if directory else name
                if stat.S_ISDIR(found.st_mode):
                    todo.append(path)
                elif stat.S_ISREG(found.st_mode) and found.st_size:
                    status = (found.st_mode, found.st_uid, found.st_gid, found.st_mtime_ns)
                    yield found.st_size, _File(key, path, found.st_ino, found.st_nlink, status)
        finally:
            os.close(fd)


class _Dedup:
    """One pass over all layers, in the user namespace."""

    def __init__(self, layout: Layout, work: str, hard_links: bool, busy: frozenset[str]) -> None:
        self._layers = os.open(layout.layers, _DIRECTORY)
        self._work = work
        self._busy = {layer_key(diff_id) for diff_id in busy}
        self._links = not _reflinks(work)
        self._digests: dict[int, bytes] = {}
        self._files = self._bytes = 0
        if self._links and not hard_links:
            raise StorageError(
                "cannot share files between layers: the file system of the store has no reflinks",
                "use a store on XFS or Btrfs with --root, or --hard-links, which containers can see",
            )

    def run(self, keys: list[str]) -> Shared:
        """Compare the files of the layers ``keys``, and let equal ones share."""
        by_size: dict[int, list[_File]] = {}
        for key in sorted(keys):
            files = list(_walk(self._layers, key))
            names = Counter(file.inode for _, file in files)
            for size, file in files:
                if names[file.inode] == 1 or not self._links:
                    by_size.setdefault(size, []).append(file)
        for size, alike in by_size.items():
            if self._links:
                self._link_equals(size, alike)
            elif size >= BLOCK:
                self._share_equals(size, alike)
            self._digests.clear()
        calls.syncfs(self._layers)
        return Shared(self._files, self._bytes, self._links)

    def _digest(self, file: _File) -> bytes:
        """Of a file's content and attributes."""
        found = self._digests.get(file.inode)
        if found is None:
            fd = self._open(file)
            try:
                hasher = hashlib.sha256()
                while data := os.read(fd, _CHUNK):
                    hasher.update(data)
                if self._links:
                    hasher.update(repr(sorted((name, os.getxattr(fd, name)) for name in os.listxattr(fd))).encode())
            finally:
                os.close(fd)
            found = self._digests[file.inode] = hasher.digest()
        return found

    def _open(self, file: _File) -> int:
        return calls.openat2(self._layers, file.path, _FILE, _RESOLVE)

    # Reflinks.

    def _share_equals(self, size: int, files: list[_File]) -> None:
        inodes = {file.inode: file for file in files}
        if len(inodes) < 2:
            return
        first: dict[bytes, _File] = {}
        for file in inodes.values():
            other = first.setdefault(self._digest(file), file)
            if other is not file and self._share(other, file, size):
                self._files += 1
                self._bytes += size

    def _share(self, source: _File, target: _File, size: int) -> bool:
        """Let ``target`` have the blocks of ``source``; False if they differ by now, or the kernel will not."""
        with _opened(self._open(source)) as source_fd, _opened(self._open(target)) as target_fd:
            return all(
                _share_range(source_fd, target_fd, at, min(_STEP, size - at)) for at in range(0, size, _STEP)
            )

    # Hard links.

    def _link_equals(self, size: int, files: list[_File]) -> None:
        alike: dict[tuple[str, tuple[int, int, int, int]], list[_File]] = {}
        for file in files:
            alike.setdefault((file.name, file.status), []).append(file)
        for group in alike.values():
            if len({file.inode for file in group}) < 2:
                continue
            first: dict[bytes, _File] = {}
            # The ones with most names first: so what was linked before is not taken apart.
            for file in sorted(group, key=lambda file: -file.links):
                other = first.setdefault(self._digest(file), file)
                if other.inode != file.inode and file.key.partition(".")[0] not in self._busy:
                    self._link(other, file)
                    self._files += 1
                    self._bytes += size

    def _link(self, source: _File, target: _File) -> None:
        """Replace ``target`` by a further name of ``source``, by one rename; the directory keeps its time."""
        head, _, name = target.path.rpartition("/")
        with (
            _opened(calls.openat2(self._layers, head, _DIRECTORY, _RESOLVE)) as directory,
            _opened(calls.openat2(self._layers, source.path.rpartition("/")[0], _DIRECTORY, _RESOLVE)) as origin,
        ):
            status = os.fstat(directory)
            new = f"{self._work}/link"
            os.link(name, new, src_dir_fd=origin, follow_symlinks=False)
            os.rename(new, name, dst_dir_fd=directory)
            os.utime(directory, ns=(status.st_atime_ns, status.st_mtime_ns))


@contextlib.contextmanager
def _opened(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


def _share_range(source: int, target: int, offset: int, length: int) -> bool:
    """ioctl_fideduperange(2). False if the bytes differ; raises OSError where it cannot be done at all."""
    asked = bytearray(_RANGE.pack(offset, length, 1, 0, 0, target, offset, 0, 0, 0))
    fcntl.ioctl(source, _FIDEDUPERANGE, asked)
    _, _, _, _, _, _, _, shared, status, _ = _RANGE.unpack(asked)
    return bool(status == 0 and shared == length)


def _reflinks(work: str) -> bool:
    """Whether the file system has them, by trying."""
    paths = [f"{work}/one", f"{work}/two"]
    for path in paths:
        with open(path, "xb") as file:
            file.write(bytes(range(256)) * (BLOCK // 256))
            file.flush()
            os.fsync(file.fileno())
    with _opened(os.open(paths[0], os.O_RDONLY)) as source, _opened(os.open(paths[1], os.O_RDWR)) as target:
        try:
            return _share_range(source, target, 0, BLOCK)
        except OSError:
            return False
        finally:
            for path in paths:
                os.unlink(path)
