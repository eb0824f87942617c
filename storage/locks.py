"""Locks that the kernel drops when their holder dies: ``flock(2)`` on a file in the object's own directory.

There is no number pool, no shared memory and no pid to trust. A lock belongs to the open file description: a forked
child shares it until it closes the descriptor or execs.
"""

from __future__ import annotations

import errno
import fcntl
import os

from storage.errors import NotFoundError, os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType


class Lock:
    """A lock on the file ``path``, which is made when it is missing; with ``create=False`` on what exists, for example
    a directory.

    ``with Lock(path):`` waits for the exclusive lock. One object is held once at a time.
    """

    __slots__ = ("_create", "fd", "path")

    def __init__(self, path: str, *, create: bool = True) -> None:
        self.path = path
        self.fd = -1
        self._create = create

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT if self._create else os.O_RDONLY
        return os.open(self.path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def _is_current(self, fd: int) -> bool:
        """Is ``fd`` still what the path names, or was it removed while we waited?"""
        mine = os.fstat(fd)
        try:
            theirs = os.lstat(self.path)
        except FileNotFoundError:
            return False
        return (mine.st_ino, mine.st_dev) == (theirs.st_ino, theirs.st_dev)

    def acquire(self, *, shared: bool = False, wait: bool = True) -> bool:
        """Take the lock; with ``wait=False`` return False at once if another holds it.

        Raises ``NotFoundError`` when what is to be locked is gone, ``StorageError`` where there are no locks.
        """
        operation = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
        try:
            while True:
                fd = self._open()
                try:
                    fcntl.flock(fd, operation)
                    if self._is_current(fd):
                        self.fd = fd
                        return True
                finally:
                    if self.fd != fd:
                        os.close(fd)
        except OSError as error:
            if error.errno == errno.EWOULDBLOCK and not wait:
                return False
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                raise NotFoundError(f"cannot lock {self.path}: it was removed") from None
            raise os_error(f"cannot lock {self.path}", error) from error

    def release(self) -> None:
        """Give the lock up; nothing happens if it is not held."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Lock:
        if self.fd < 0:
            self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def shared(path: str) -> Lock:
    """Return a ``Lock`` on ``path`` held shared, for ``with``."""
    lock = Lock(path)
    lock.acquire(shared=True)
    return lock


def is_held(path: str) -> bool:
    """Does some process hold a lock on ``path``? A path that does not exist is not held."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return False
        raise os_error(f"cannot look at the lock {path}", error) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
