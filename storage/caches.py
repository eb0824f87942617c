"""Directories that the commands of builds share from one build to the next (``RUN --mount=type=cache``).

A cache is found by its name, of which its directory's name is the digest, so that no name can lead elsewhere. Whoever
uses one holds its lock: a shared one, or the exclusive one where no other may use it meanwhile. It goes only while
nobody uses it.
"""

from __future__ import annotations

import hashlib
import os

from storage import trees
from storage.errors import NotFoundError, os_error
from storage.layout import names_in
from storage.locks import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from storage.layout import Layout
    from storage.trees import DeleteTree

SHARED, LOCKED, PRIVATE = "shared", "locked", "private"
_NAME_LIMIT = 1 << 16


class Claim:
    """A cache in use: ``path`` is the directory to mount, ``lock`` is held. ``fresh``: it was made just now."""

    __slots__ = ("fresh", "lock", "path")

    def __init__(self, path: str, lock: Lock, fresh: bool) -> None:
        self.path = path
        self.lock = lock
        self.fresh = fresh


class Caches:
    """The caches of one store."""

    __slots__ = ("_layout",)

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def claim(
        self, name: str, sharing: str, fill: Callable[[str], None], waiting: Callable[[], None] = lambda: None
    ) -> Claim:
        """Take the cache ``name`` into use. If there is none, ``fill`` is called with the path of its new directory.

        ``sharing``: shared with others, ``locked`` against them (which waits, after a call of ``waiting``), or
        ``private``: another one while the first is in use. Raises StorageError.
        """
        key = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
        number = 0
        while True:
            directory = f"{self._layout.caches}/{key}" + (f"-{number}" if number else "")
            try:
                lock = self._lock(directory, sharing, waiting)
                if lock is None:
                    number += 1
                    continue
            except NotFoundError:
                continue  # it was removed meanwhile
            try:
                return Claim(f"{directory}/data", lock, self._fill(directory, name, fill))
            except BaseException:
                lock.release()
                raise

    def _lock(self, directory: str, sharing: str, waiting: Callable[[], None]) -> Lock | None:
        """The lock on a cache's directory, held; None for a private one that is in use."""
        try:
            os.makedirs(directory, 0o700, exist_ok=True)
        except OSError as error:
            raise os_error(f"cannot make the directory {directory}", error) from error
        lock = Lock(directory, create=False)
        if not lock.acquire(shared=sharing == SHARED, wait=False):
            if sharing == PRIVATE:
                return None
            waiting()
            lock.acquire(shared=sharing == SHARED)
        return lock

    def _fill(self, directory: str, name: str, fill: Callable[[str], None]) -> bool:
        """Make what is in a new cache; whether it was new. Of those that share it only one makes it, at once."""
        data, half = f"{directory}/data", f"{directory}/half"
        try:
            with Lock(f"{directory}/filling"):
                if os.path.isdir(data):
                    os.utime(directory)
                    return False
                trees.delete(half)
                with open(f"{directory}/name", "wb") as file:
                    file.write(name.encode("utf-8", "surrogateescape"))
                os.mkdir(half, 0o755)
                try:
                    fill(half)
                    os.rename(half, data)
                finally:
                    trees.delete(half)
        except OSError as error:
            raise os_error("cannot make a cache for a build", error) from error
        return True

    def listed(self) -> list[tuple[str, str]]:
        """(key, name) of every cache."""
        found = []
        for key in self._keys():
            try:
                with open(f"{self._layout.caches}/{key}/name", "rb") as file:
                    found.append((key, file.read(_NAME_LIMIT).decode("utf-8", "surrogateescape")))
            except OSError:
                found.append((key, ""))
        return found

    def prune(self, delete_tree: DeleteTree | None = None) -> list[str]:
        """Delete every cache that nobody uses; their names. Raises StorageError."""
        removed = []
        for key, name in self.listed():
            directory = f"{self._layout.caches}/{key}"
            lock = Lock(directory, create=False)
            try:
                if not lock.acquire(wait=False):
                    continue
                with lock:
                    gone = trees.to_trash(self._layout, directory)
            except NotFoundError:
                continue
            trees.empty(gone, delete_tree)
            removed.append(name)
        return removed

    def _keys(self) -> list[str]:
        return names_in(self._layout.caches) if os.path.isdir(self._layout.caches) else []
