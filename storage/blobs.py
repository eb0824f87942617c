"""Content by digest: ``images/blobs/<algorithm>/<hex>`` of the OCI image layout (image-layout.md, "Blobs").

A blob has its name only when its bytes were verified and are on disk.
"""

from __future__ import annotations

import os

from storage import atomic, jsonfast, oci
from storage.errors import DamagedError, StorageError, os_error
from storage.locks import Lock
from storage.oci import Digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from storage.layout import Layout
    from storage.oci import Descriptor

_CHUNK = 1 << 20


class DigestMismatchError(StorageError):
    """Bytes are not those that the digest names; what was received is dropped."""


class BlobWriter:
    """A blob on its way into the store, held by one process at a time.

    What was written stays in tmp/ when the writer is closed without ``commit``: the next writer of the same digest,
    in whatever process, continues at ``offset``. ``done`` is true when another process has stored the blob meanwhile;
    there is nothing to write then, and ``commit`` does nothing. Use it as a context manager, or call ``close``.
    """

    __slots__ = ("_fd", "_hash", "_lock", "_target", "digest", "done", "offset", "size")

    def __init__(self, layout: Layout, digest: Digest, size: int) -> None:
        import hashlib

        self.digest = digest
        self.size = size
        self.offset = 0
        self._target = layout.blob(digest.algorithm, digest.encoded)
        self._lock = Lock(layout.partial(digest.algorithm, digest.encoded))
        self._lock.acquire()
        self._fd = self._lock.fd
        self._hash = hashlib.new(digest.algorithm)
        self.done = False
        if _has(self._target, size):
            self.close()
            self.done = True
            self.offset = size
        else:
            self._resume()

    def _resume(self) -> None:
        """Take over what an earlier writer left: the hash has to see it again."""
        try:
            if os.fstat(self._fd).st_size > self.size:
                os.ftruncate(self._fd, 0)
            while chunk := os.read(self._fd, _CHUNK):
                self._hash.update(chunk)
                self.offset += len(chunk)
        except OSError as error:
            self.close()
            raise os_error(f"cannot continue the download of {self.digest}", error) from error

    def restart(self) -> None:
        """Begin again at offset 0 (the source cannot continue, or continued with other bytes)."""
        import hashlib

        try:
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)
        except OSError as error:
            raise os_error(f"cannot store {self.digest}", error) from error
        self._hash = hashlib.new(self.digest.algorithm)
        self.offset = 0

    def write(self, data: bytes) -> None:
        """Append ``data``. Raises ``DigestMismatchError`` once the size is passed, ``StorageError`` on a full disk."""
        if self.offset + len(data) > self.size:
            self.restart()
            raise DigestMismatchError(f"cannot store {self.digest}: it is longer than its {self.size} bytes")
        try:
            atomic.write_all(self._fd, data)
        except OSError as error:
            raise os_error(f"cannot store {self.digest}", error) from error
        self._hash.update(data)
        self.offset += len(data)

    def commit(self) -> None:
        """Verify size and digest, put the bytes on disk and give the blob its name.

        Raises ``DigestMismatchError``; the bytes are dropped then, and writing can begin again at offset 0.
        """
        if self.done:
            return
        found = f"{self.digest.algorithm}:{self._hash.hexdigest()}"
        if self.offset != self.size or found != self.digest:
            short = f"{self.offset} of {self.size} bytes" if self.offset != self.size else f"the digest {found}"
            self.restart()
            raise DigestMismatchError(f"cannot store {self.digest}: what was received has {short}")
        try:
            os.fsync(self._fd)
            _make_parent(self._target)
            os.rename(self._lock.path, self._target)
            atomic.sync_directory(os.path.dirname(self._target))
        except OSError as error:
            raise os_error(f"cannot store {self.digest}", error) from error
        self.done = True
        self.close()

    def discard(self) -> None:
        """Drop what was written and give the digest up."""
        if self._fd >= 0:
            self.restart()
        self.close()

    def close(self) -> None:
        """Give the digest up; what was written is kept for a later writer."""
        if self._fd >= 0 and not self.done and self.offset == 0:
            try:
                os.unlink(self._lock.path)
            except OSError:
                pass  # an empty part, for the next sweep
        self._lock.release()
        self._fd = -1

    def __enter__(self) -> BlobWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _has(path: str, size: int | None) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return status.st_mode & 0o170000 == 0o100000 and size in (None, status.st_size)


def _make_parent(path: str) -> None:
    """sha256/ is made with the store; sha512/ with its first blob."""
    parent = os.path.dirname(path)
    if not os.path.isdir(parent):
        os.makedirs(parent, 0o700, exist_ok=True)


class Blobs:
    """The blobs of one store. Every method takes digests as text and refuses what is none."""

    __slots__ = ("_layout",)

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def path(self, digest: str) -> str:
        """Where the blob is, or would be."""
        checked = Digest(digest)
        return self._layout.blob(checked.algorithm, checked.encoded)

    def has(self, digest: str, size: int | None = None) -> bool:
        """Is the blob there, with ``size`` bytes if that is given? (A file of another length is damaged: not there.)"""
        return _has(self.path(digest), size)

    def read(self, digest: str, limit: int = oci.MAX_DOCUMENT, *, verify: bool = False) -> bytes:
        """Return a blob of at most ``limit`` bytes; ``verify`` its digest too.

        Raises ``DamagedError`` if it is missing, larger, or not what its digest says.
        """
        path = self.path(digest)
        try:
            data = atomic.read(path, limit)
        except FileNotFoundError:
            raise DamagedError(f"cannot read blob {digest}: it is missing", path) from None
        except OSError as error:
            raise os_error(f"cannot read blob {digest}", error) from error
        if len(data) > limit:
            raise DamagedError(f"cannot read blob {digest}: it is over the limit of {limit} bytes", path)
        if verify:
            import hashlib

            if hashlib.new(digest.partition(":")[0], data).hexdigest() != digest.partition(":")[2]:
                raise DamagedError(f"cannot use blob {digest}: its bytes are not those of its digest", path)
        return data

    def read_document(self, digest: str) -> object:
        """Return the value of a JSON blob. Raises ``DamagedError`` as ``read`` does, and if it is not JSON."""
        try:
            return jsonfast.loads_strict(self.read(digest))
        except jsonfast.JSONError as error:
            raise DamagedError(f"blob {digest}: {error.message}", self.path(digest)) from None

    def writer(self, digest: str, size: int) -> BlobWriter:
        """Return a writer for the blob, after waiting for another process that writes the same one."""
        if not 0 <= size <= oci.MAX_BLOB:
            raise StorageError(f"cannot store {Digest(digest)}: its size of {size} bytes is out of range")
        return BlobWriter(self._layout, Digest(digest), size)

    def put(self, data: bytes, media_type: str = "application/octet-stream") -> Descriptor:
        """Store ``data`` (a document) durably and return its descriptor."""
        digest = Digest.of(data)
        path = self.path(digest)
        if not _has(path, len(data)):
            atomic.write(path, data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def adopt(self, path: str, digest: str, size: int) -> None:
        """Take over the file ``path``, of the same file system, whose bytes were hashed as they were written.

        They are put on disk before the blob gets its name. Raises ``StorageError``.
        """
        target = self.path(digest)
        try:
            if _has(target, size):
                os.unlink(path)
                return
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(path, target)
        except OSError as error:
            raise os_error(f"cannot store {digest}", error) from error
        atomic.sync_directory(os.path.dirname(target))

    def remove(self, digest: str) -> int:
        """Delete a blob; return how many bytes that freed (0: it was not there)."""
        path = self.path(digest)
        try:
            size = os.lstat(path).st_size
            os.unlink(path)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise os_error(f"cannot delete blob {digest}", error) from error
        return size

    def list(self) -> Iterator[Digest]:
        """The digests of all blobs; files with other names are left out (``storage.check`` reports them)."""
        for algorithm in ("sha256", "sha512"):
            try:
                names = os.listdir(f"{self._layout.blobs}/{algorithm}")
            except FileNotFoundError:
                continue
            for name in names:
                if oci.is_digest(f"{algorithm}:{name}"):
                    yield Digest(f"{algorithm}:{name}")
