"""Digests of files that were read before, by device, inode, size and times: an unchanged file is not read again.

A file's entry is trusted as git trusts its index: not if the file could have been changed in the same tick of the
clock in which it was read, which its times would not tell. Whatever changes a file changes its ctime, which no user can
set. One file of the cache is about one tree::

    MAGIC, then records of (device, inode, size, mtime, ctime, 32 bytes of digest), then the SHA-256 of all that
"""

from __future__ import annotations

import hashlib
import os
import struct
import time

from rootless import paths
from storage import atomic
from storage.errors import StorageError

_MAGIC = b"rootless files 1\n"
_RECORD = struct.Struct("<QQqqq32s")
_TAIL = 32
_LARGEST = 256 << 20
_TREES = 64
"""Trees of which the digests are kept."""
_TICK_NS = 50_000_000  # more than a tick of any kernel, in which two changes have one time
_COARSE_NS = 2_100_000_000  # of file systems that keep whole seconds, or two

Key = tuple[int, int, int, int, int]


def key_of(status: os.stat_result) -> Key:
    """What tells one state of a file from another."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class StatCache:
    """Digests of the files of one tree; ``tree`` names it. A cache that cannot be read is empty, and is made anew."""

    def __init__(self, tree: str) -> None:
        name = hashlib.sha256(tree.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        self._directory = f"{paths.cache_dir()}/build-files"
        self._path = f"{self._directory}/{name}"
        self._known = self._load()
        self._used: dict[Key, bytes] = {}
        self._new = 0

    def _load(self) -> dict[Key, bytes]:
        try:
            status = os.lstat(self._directory)
            if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                return {}
            data = atomic.read(self._path, _LARGEST)
        except OSError:
            return {}
        body = data[:-_TAIL]
        if not body.startswith(_MAGIC) or hashlib.sha256(body).digest() != data[-_TAIL:]:
            return {}
        records = memoryview(body)[len(_MAGIC) :]
        if len(records) % _RECORD.size:
            return {}
        return {record[:5]: record[5] for record in _RECORD.iter_unpack(records)}

    def get(self, status: os.stat_result) -> bytes | None:
        """The digest of a file in this state."""
        key = key_of(status)
        found = self._known.get(key)
        if found is not None:
            self._used[key] = found
        return found

    def put(self, status: os.stat_result, digest: bytes, read_at_ns: int) -> None:
        """Remember a digest; ``read_at_ns``: when the reading began."""
        newest = max(status.st_mtime_ns, status.st_ctime_ns)
        coarse = not status.st_ctime_ns % 1_000_000_000
        if newest < read_at_ns - (_COARSE_NS if coarse else _TICK_NS):
            self._used[key_of(status)] = digest
            self._new += 1

    def save(self) -> None:
        """Write what is new to the cache. What fails is left: the next build reads the files again."""
        if not self._new:
            return
        for key, digest in self._known.items():
            if len(self._used) >= _LARGEST // _RECORD.size:
                break
            self._used.setdefault(key, digest)
        body = _MAGIC + b"".join(_RECORD.pack(*key, digest) for key, digest in self._used.items())
        try:
            os.makedirs(self._directory, 0o700, exist_ok=True)
            atomic.write(self._path, body + hashlib.sha256(body).digest(), durable=False)
            self._prune()
        except (OSError, StorageError):
            return

    def _prune(self) -> None:
        with os.scandir(self._directory) as entries:
            found = [(entry.stat(follow_symlinks=False).st_mtime_ns, entry.path) for entry in entries]
        for _, path in sorted(found, reverse=True)[_TREES:]:
            os.unlink(path)


def now_ns() -> int:
    """The time, as the kernel gives it to files."""
    return time.clock_gettime_ns(time.CLOCK_REALTIME)
