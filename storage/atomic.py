"""The one way in which a file of the store is replaced: whole, or not at all.

temp file in the same directory → write → fsync → rename → fsync of the directory. After a power cut a reader finds
the old bytes or the new ones, never a part.
"""

from __future__ import annotations

import os

from storage.errors import os_error

TEMP_PREFIX = ".new-"
"""How the name of a half-written file begins; one without a living writer is rubbish."""

_FIRST_READ = 1 << 15
_NEXT_READ = 1 << 20


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write the whole of ``data`` to ``fd``."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view):]


def read(path: str, limit: int) -> bytes:
    """Return the bytes of a file, ``limit + 1`` of them at most. A link in its place is not followed.

    Raises ``OSError``: callers tell what is missing from what cannot be read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        data = os.read(fd, min(_FIRST_READ, limit + 1))
        if len(data) < _FIRST_READ:
            return data  # a regular file gives all it has
        parts = [data]
        left = limit + 1 - len(data)
        while left > 0 and (data := os.read(fd, min(left, _NEXT_READ))):
            parts.append(data)
            left -= len(data)
        return b"".join(parts)
    finally:
        os.close(fd)


def sync_directory(path: str) -> None:
    """Make the names in directory ``path`` durable. Raises ``StorageError``."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise os_error(f"cannot write {path} to disk", error) from error


def write_new(path: str, data: bytes, durable: bool = True) -> None:
    """Write a file, mode 0600, in a directory that nobody else knows yet: no temporary name is needed.

    Raises ``StorageError``; also if the file exists.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, data)
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise os_error(f"cannot write {path}", error) from error


def write(path: str, data: bytes, mode: int = 0o600, durable: bool = True, temporary: str = "") -> None:
    """Replace the file ``path`` by ``data`` in one step, with permission bits ``mode`` whatever the umask.

    ``durable=False`` leaves out both fsyncs: for what need not outlive a power cut (records of ``run --rm``).
    ``temporary`` is the half-written file, for a caller who holds a lock and removes it when a writer was killed.
    Raises ``StorageError``; the old file is then untouched.
    """
    directory, _, name = path.rpartition("/")
    temporary = temporary or f"{directory or '.'}/{TEMP_PREFIX}{os.urandom(6).hex()}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            try:
                if mode & 0o077:
                    os.fchmod(fd, mode)
                write_all(fd, data)
                if durable:
                    os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        if durable:
            sync_directory(directory or ".")
    except OSError as error:
        raise os_error(f"cannot write {name} in {directory or '.'}", error) from error
