"""A directory or a tar archive (compressed or not, from a pipe too) as a set of named files.

An archive is streamed twice: once to learn what it holds and keep its small documents, once to copy the blobs that
are wanted. Nothing of it is ever written under a name that it chose.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Protocol

from rootless.errors import RootlessError
from storage.archive import tar_reader
from storage.archive.limits import Limits
from storage.archive.stream import compression, decoded
from storage.archive.tar_reader import TarReader
from storage.blobs import Blobs
from storage.errors import StorageError, shown

MAX_DOCUMENT = 4 * 1024 * 1024
MAX_DOCUMENTS = 64 * 1024 * 1024
MAX_MEMBERS = 100_000
CHUNK = 1024 * 1024


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
    """A file of an archive. ``digest`` is that of its bytes; ``link`` the member whose content it shares."""

    size: int = 0
    digest: str = ""
    compression: str = "plain"
    link: str = ""
    data: bytes | None = field(default=None, repr=False)


class TarFiles:
    """The files of a tar archive that can be read twice (a regular file)."""

    def __init__(self, path: str, where: str = "") -> None:
        """Read the archive once; ``where`` is what the user calls it. Raises RootlessError if it is not an archive."""
        self._path = path
        self._where = where or path
        self._members: dict[str, _Member] = {}
        kept = 0
        for name, member, chunks in self._walk():
            digest = hashlib.sha256()
            pieces: list[bytes] = []
            first = b""
            for chunk in chunks:
                digest.update(chunk)
                first = first or chunk[:6]
                if member.size <= MAX_DOCUMENT and kept <= MAX_DOCUMENTS:
                    pieces.append(chunk)
                    kept += len(chunk)
            member.digest = f"sha256:{digest.hexdigest()}"
            member.compression = compression(first)
            member.data = b"".join(pieces) if member.size <= MAX_DOCUMENT and kept <= MAX_DOCUMENTS else None
            self._members[name] = member
            if len(self._members) > MAX_MEMBERS:
                raise RootlessError(f"cannot read {self._where}: it has more than {MAX_MEMBERS} members")
        if not self._members:
            raise RootlessError(f"cannot read {self._where}: it is empty or not a tar archive")

    def _walk(self) -> Iterator[tuple[str, _Member, Iterator[bytes]]]:
        """Every file and link of the archive in order, with its bytes."""
        try:
            stream = open(self._path, "rb", buffering=0)  # noqa: SIM115 - closed below, after the generator's last use
        except OSError as error:
            raise RootlessError(f"cannot read {self._where}: {error.strerror}") from None
        with stream, self._failures():
            reader = TarReader(decoded(stream), Limits())
            for entry in reader:
                name = posixpath.normpath(os.fsdecode(entry.name))
                if entry.kind == tar_reader.REGULAR and entry.sparse is None:
                    yield name, _Member(size=entry.size), self._data(reader)
                elif entry.kind in (tar_reader.HARDLINK, tar_reader.SYMLINK):
                    target = os.fsdecode(entry.linkname)
                    if entry.kind == tar_reader.SYMLINK:
                        target = posixpath.join(posixpath.dirname(name), target)
                    yield name, _Member(link=posixpath.normpath(target)), iter(())

    def _data(self, reader: TarReader) -> Iterator[bytes]:
        """The bytes of the current file. They are asked for outside of :meth:`_walk`."""
        with self._failures():
            for view in reader.data():
                yield bytes(view)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Name the archive in what goes wrong with it."""
        try:
            yield
        except OSError as error:
            raise RootlessError(f"cannot read {self._where}: {error.strerror}") from None
        except StorageError as error:
            raise RootlessError(f"cannot read {self._where}: {error.message}", "the archive is broken") from None

    def _find(self, name: str) -> tuple[str, _Member] | None:
        """The member with the content of ``name``, through at most a few links inside the archive."""
        for _ in range(8):
            member = self._members.get(name)
            if member is None:
                return None
            if not member.link:
                return name, member
            name = member.link
        return None

    def document(self, name: str) -> bytes | None:
        found = self._find(name)
        if found is None:
            return None
        if found[1].data is None:
            raise RootlessError(f"cannot read {shown(name)} in {self._where}: it is larger than {MAX_DOCUMENT} bytes")
        return found[1].data

    def target(self, name: str) -> Target | None:
        found = self._find(name)
        return Target(found[1].digest, found[1].size) if found else None

    def compression(self, name: str) -> str:
        found = self._find(name)
        return found[1].compression if found else "plain"

    def copy(self, wanted: Mapping[str, Target], blobs: Blobs, arrived: Arrived) -> None:
        waiting: dict[str, Target] = {}
        for name, target in wanted.items():
            found = self._find(name)
            if found is None:
                raise RootlessError(f"cannot read {self._where}: {shown(name)} is missing", "the archive is incomplete")
            waiting[found[0]] = target
        if not waiting:
            return
        for name, _, chunks in self._walk():
            target_here = waiting.pop(name, None)
            if target_here is not None:
                _store(chunks, target_here, blobs)
                arrived(target_here)
            if not waiting:
                return


def spool(stream: IO[bytes], path: str, limit: int = Limits().bytes) -> None:
    """Copy a pipe to the new file ``path``, so that it can be read twice. Raises RootlessError."""
    size = 0
    with open(path, "xb") as out:
        while chunk := stream.read(CHUNK):
            size += len(chunk)
            if size > limit:
                raise RootlessError(f"cannot read standard input: more than {limit} bytes")
            out.write(chunk)
