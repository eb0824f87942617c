"""A directory or a tar archive (compressed or not, from a pipe too) as a set of named files.

Of an archive the small documents are kept in memory. Nothing of it is ever written under a name that it chose.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import IO, Protocol

from rootless.engine.images import source as image_source
from rootless.errors import RootlessError
from storage import atomic
from storage.archive import tar_reader
from storage.archive.limits import Limits
from storage.archive.stream import compression, decoded
from storage.archive.tar_reader import TarReader
from storage.blobs import Blobs
from storage.errors import NoSpaceError, StorageError, os_error, shown

MAX_DOCUMENT = 4 * 1024 * 1024
MAX_DOCUMENTS = 64 * 1024 * 1024
MAX_MEMBERS = 100_000
CHUNK = 1024 * 1024
_WINDOW = 64 * 1024  # of a plain archive: hardly more than a header and the small file behind it


@contextmanager
def failures(what: str) -> Iterator[None]:
    """Begin with ``what`` the message of what goes wrong with an archive. Raises RootlessError, NoSpaceError."""
    try:
        yield
    except OSError as error:
        raise RootlessError(f"{what}: {error.strerror}") from None
    except NoSpaceError:
        raise
    except StorageError as error:
        raise RootlessError(f"{what}: {error.message}", "the archive is broken") from None


@dataclass(frozen=True)
class Target:
    """The blob that a file is to become: its digest and its size in bytes."""

    digest: str
    size: int


Arrived = Callable[[Target], None]


class Files(Protocol):
    """Named files of one source."""

    def document(self, name: str) -> bytes | None:
        """The content of a small file; None if there is none. Raises RootlessError if it is over 4 MiB."""

    def target(self, name: str) -> Target | None:
        """What file ``name`` would become as a blob; None if there is no such file."""

    def size(self, name: str) -> int | None:
        """How many bytes file ``name`` has; None if there is no such file."""

    def compression(self, name: str) -> str:
        """How file ``name`` is compressed: plain, gzip, zstd, bzip2 or xz."""

    def copy(self, wanted: Mapping[str, Target], blobs: Blobs, arrived: Arrived) -> None:
        """Store the named files as blobs, verified; ``arrived`` is called after each. Raises StorageError."""


def _store(chunks: Iterable[bytes], target: Target, blobs: Blobs) -> None:
    with blobs.writer(target.digest, target.size) as writer:
        if writer.done:
            return
        if writer.offset:
            writer.restart()
        for chunk in chunks:
            writer.write(chunk)
        writer.commit()


class DirectoryFiles:
    """The files of a directory and its subdirectories, opened without following links."""

    def __init__(self, path: str) -> None:
        """Raises RootlessError if ``path`` is not a directory that can be read."""
        self._path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise RootlessError(f"cannot read {path}: {error.strerror}") from None

    def _open(self, name: str) -> IO[bytes] | None:
        directory = self._fd
        opened = []
        try:
            *parents, last = name.split("/")
            for parent in parents:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                directory = os.open(parent, flags, dir_fd=directory)
                opened.append(directory)
            fd = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise RootlessError(f"cannot read {self._path}/{name}: {error.strerror}") from None
        finally:
            for each in opened:
                os.close(each)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise RootlessError(f"cannot read {self._path}/{name}: not a regular file")
        return os.fdopen(fd, "rb", buffering=0)

    def document(self, name: str) -> bytes | None:
        stream = self._open(name)
        if stream is None:
            return None
        with stream:
            data = stream.read(MAX_DOCUMENT + 1)
        if len(data) > MAX_DOCUMENT:
            raise RootlessError(f"cannot read {self._path}/{name}: it is larger than {MAX_DOCUMENT} bytes")
        return data

    def target(self, name: str) -> Target | None:
        stream = self._open(name)
        if stream is None:
            return None
        digest, size = hashlib.sha256(), 0
        with stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
        return Target(f"sha256:{digest.hexdigest()}", size)

    def size(self, name: str) -> int | None:
        stream = self._open(name)
        if stream is None:
            return None
        with stream:
            return os.fstat(stream.fileno()).st_size

    def compression(self, name: str) -> str:
        stream = self._open(name)
        if stream is None:
            return "plain"
        with stream:
            return compression(stream.read(6))

    def copy(self, wanted: Mapping[str, Target], blobs: Blobs, arrived: Arrived) -> None:
        for name, target in wanted.items():
            stream = self._open(name)
            if stream is None:
                raise RootlessError(f"cannot read {self._path}: {name} is missing", "the image is incomplete")
            with stream:
                _store(iter(lambda stream=stream: stream.read(CHUNK), b""), target, blobs)  # type: ignore[misc]
            arrived(target)


@dataclass
class _Member:
    """A file of an archive. ``digest`` is that of its bytes, '' while nobody has asked for it.

    Its bytes are ``data``, or in the file ``path``, or in the archive at ``offset``; or ``link`` is the member whose
    content it shares.
    """

    size: int = 0
    digest: str = ""
    compression: str = "plain"
    link: str = ""
    path: str = ""
    offset: int = -1
    data: bytes | None = field(default=None, repr=False)


class _Window:
    """An archive that is a plain file, as chunks from which a reader may skip ahead."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._size = os.fstat(fd).st_size
        self.position = 0

    def __iter__(self) -> Iterator[bytes]:
        while chunk := os.pread(self._fd, _WINDOW, self.position):
            self.position += len(chunk)
            yield chunk

    def skip(self, size: int) -> None:
        """Go on ``size`` bytes further. Raises StorageError where there are not so many."""
        if size > self._size - self.position:
            raise StorageError("it ends in the middle of a file")
        self.position += size


class TarFiles:
    """The files of a tar archive, compressed or not, which is read once, and not beyond what is needed.

    Of a plain archive in a regular file the large members stay where they are until they are wanted; from a pipe, or
    out of a compressed one, they are written to files below ``directory`` and become blobs by a rename.
    """

    def __init__(self, stream: IO[bytes], where: str, directory: str) -> None:
        """Read the archive from an unbuffered ``stream``; ``where`` is what the user calls it. Raises RootlessError."""
        self._stream = stream
        self._where = where
        self._directory = directory
        self._members: dict[str, _Member] = {}
        self._kept = 0
        with failures(f"cannot read {self._where}"):
            fd = stream.fileno()
            plain = stat.S_ISREG(os.fstat(fd).st_mode) and os.lseek(fd, 0, os.SEEK_CUR) == 0
            window = _Window(fd) if plain and compression(os.pread(fd, 6, 0)) == "plain" else None
            self._read(window)
        if not self._members:
            raise RootlessError(f"cannot read {self._where}: it is empty or not a tar archive")

    def _read(self, window: _Window | None) -> None:
        reader = TarReader(window, Limits(), window.skip) if window else TarReader(decoded(self._stream), Limits())
        for entry in reader:
            name = posixpath.normpath(os.fsdecode(entry.name))
            if entry.kind == tar_reader.REGULAR and entry.sparse is None:
                member = _Member(size=entry.size)
                if entry.size <= MAX_DOCUMENT and self._kept + entry.size <= MAX_DOCUMENTS:
                    self._keep(member, reader)
                elif window is not None:
                    member.offset = window.position - reader.ahead
                    member.compression = compression(os.pread(self._stream.fileno(), 6, member.offset))
                else:
                    self._write(member, reader)
            elif entry.kind in (tar_reader.HARDLINK, tar_reader.SYMLINK):
                target = os.fsdecode(entry.linkname)
                if entry.kind == tar_reader.SYMLINK:
                    target = posixpath.join(posixpath.dirname(name), target)
                member = _Member(link=posixpath.normpath(target))
            else:
                continue
            if name in self._members:
                # Docker would take the last, podman the first of them.
                raise RootlessError(f"cannot read {self._where}: it has two members called {shown(name)}")
            self._members[name] = member
            if len(self._members) > MAX_MEMBERS:
                raise RootlessError(f"cannot read {self._where}: it has more than {MAX_MEMBERS} members")

    def _keep(self, member: _Member, reader: TarReader) -> None:
        member.data = b"".join(reader.data())
        self._kept += len(member.data)
        member.digest = f"sha256:{hashlib.sha256(member.data).hexdigest()}"
        member.compression = compression(member.data[:6])

    def _write(self, member: _Member, reader: TarReader) -> None:
        """Put the bytes of the current member into a file of their own. What it will have its header says."""
        if member.size > Limits().bytes:
            raise StorageError(f"a member has more than {Limits().bytes} bytes")
        image_source.check_free(self._directory, member.size)
        member.path = f"{self._directory}/{len(self._members)}"
        digest, first = hashlib.sha256(), b""
        try:
            fd = os.open(member.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                for view in reader.data():
                    digest.update(view)
                    first = first or bytes(view[:6])
                    atomic.write_all(fd, view)
            finally:
                os.close(fd)
        except OSError as error:
            raise os_error(f"cannot store the files of {self._where}", error) from error
        member.digest = f"sha256:{digest.hexdigest()}"
        member.compression = compression(first)

    def _find(self, name: str) -> _Member | None:
        """The member with the content of ``name``, through at most a few links inside the archive."""
        for _ in range(8):
            member = self._members.get(name)
            if member is None or not member.link:
                return member
            name = member.link
        return None

    def _chunks(self, member: _Member) -> Iterator[bytes]:
        """The bytes of a member, wherever they are."""
        if member.data is not None:
            yield member.data
            return
        offset, end = max(member.offset, 0), max(member.offset, 0) + member.size
        naming = failures(f"cannot read {self._where}")
        with naming, open(member.path, "rb") if member.path else nullcontext(self._stream) as stream:
            while offset < end:
                chunk = os.pread(stream.fileno(), min(CHUNK, end - offset), offset)
                if not chunk:
                    raise RootlessError(f"cannot read {self._where}: it has become shorter")
                offset += len(chunk)
                yield chunk

    def document(self, name: str) -> bytes | None:
        found = self._find(name)
        if found is None:
            return None
        if found.data is None:
            raise RootlessError(f"cannot read {shown(name)} in {self._where}: it is larger than {MAX_DOCUMENT} bytes")
        return found.data

    def target(self, name: str) -> Target | None:
        found = self._find(name)
        if found is None:
            return None
        if not found.digest:
            digest = hashlib.sha256()
            for chunk in self._chunks(found):
                digest.update(chunk)
            found.digest = f"sha256:{digest.hexdigest()}"
        return Target(found.digest, found.size)

    def size(self, name: str) -> int | None:
        found = self._find(name)
        return found.size if found else None

    def compression(self, name: str) -> str:
        found = self._find(name)
        return found.compression if found else "plain"

    def copy(self, wanted: Mapping[str, Target], blobs: Blobs, arrived: Arrived) -> None:
        for name, target in wanted.items():
            found = self._find(name)
            if found is None:
                raise RootlessError(f"cannot read {self._where}: {shown(name)} is missing", "the archive is incomplete")
            if found.path and target == Target(found.digest, found.size):
                blobs.adopt(found.path, target.digest, target.size)
            elif found.path and target.digest.startswith("sha256:"):
                raise RootlessError(
                    f"cannot use {self._where}: digest mismatch: {shown(name)} is {found.digest}, not {target.digest}",
                    "the archive is damaged",
                )
            else:
                _store(self._chunks(found), target, blobs)
            arrived(target)
