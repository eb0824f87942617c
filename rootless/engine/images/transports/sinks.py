"""Where the files of an image are written to: a directory of the user's, or a tar archive as a stream."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol

from rootless.engine.outfile import cannot_write
from rootless.errors import RootlessError
from storage.archive.tar_reader import DIRECTORY, REGULAR, SYMLINK
from storage.archive.tar_writer import TarWriter
from storage.atomic import TEMP_PREFIX, write_all

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Sink(Protocol):
    """Takes named files, each once. Every method raises RootlessError where they cannot be written."""

    def has(self, name: str, size: int) -> bool:
        """Whether file ``name`` was written, now or earlier, with that many bytes."""

    def put(self, name: str, data: bytes) -> None:
        """Write a small file."""

    def stream(self, name: str, size: int, chunks: Iterable[bytes]) -> None:
        """Write a file of ``size`` bytes. What ``chunks`` raises is passed on, and the file is not there then."""


class DirectorySink:
    """The files of a directory, which is made if it is missing. Links in it are replaced, never followed.

    To be used as a context manager: a directory that was made is gone when that is left by an error.
    """

    def __init__(self, path: str) -> None:
        """Raises RootlessError if there is no such directory and none can be made."""
        self.path = path
        self._made = not os.path.lexists(path)
        try:
            os.makedirs(path, exist_ok=True)
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise self._failure(path, error) from None

    def __enter__(self) -> DirectorySink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)
        if error is not None and self._made:
            shutil.rmtree(self.path, ignore_errors=True)

    def names(self) -> list[str]:
        """What is in the directory itself."""
        return sorted(os.listdir(self._fd))

    def read(self, name: str, limit: int) -> bytes | None:
        """Up to ``limit`` bytes of a file of the directory; None if it has no regular file of that name."""
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._fd)
        except OSError:
            return None
        with os.fdopen(fd, "rb") as file:
            try:
                return file.read(limit)
            except OSError:
                return None

    def remove(self, name: str) -> None:
        """Delete a file of the directory."""
        try:
            os.unlink(name, dir_fd=self._fd)
        except OSError as error:
            raise self._failure(name, error) from None

    def has(self, name: str, size: int) -> bool:
        directory, base = self._parent(name)
        try:
            status = os.lstat(base, dir_fd=directory)
        except FileNotFoundError:
            return False
        finally:
            self._release(directory)
        return status.st_mode & 0o170000 == 0o100000 and status.st_size == size

    def put(self, name: str, data: bytes) -> None:
        self.stream(name, len(data), (data,))

    def stream(self, name: str, size: int, chunks: Iterable[bytes]) -> None:
        directory, base = self._parent(name)
        temporary = f"{TEMP_PREFIX}{os.urandom(6).hex()}"
        try:
            fd = os.open(temporary, _NEW, 0o666, dir_fd=directory)
            try:
                try:
                    for chunk in chunks:
                        write_all(fd, chunk)
                finally:
                    os.close(fd)
                os.rename(temporary, base, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                os.unlink(temporary, dir_fd=directory)
                raise
        except OSError as error:
            raise self._failure(name, error) from None
        finally:
            self._release(directory)

    def _parent(self, name: str) -> tuple[int, str]:
        """The open directory of a file, made if it is missing, and its name there."""
        *parents, base = name.split("/")
        directory = self._fd
        try:
            for parent in parents:
                above = directory
                try:
                    try:
                        directory = os.open(parent, _DIRECTORY, dir_fd=above)
                    except FileNotFoundError:
                        os.mkdir(parent, 0o777, dir_fd=above)
                        directory = os.open(parent, _DIRECTORY, dir_fd=above)
                finally:
                    self._release(above)
        except OSError as error:
            raise self._failure(name, error) from None
        return directory, base

    def _release(self, directory: int) -> None:
        if directory != self._fd:
            os.close(directory)

    def _failure(self, name: str, error: OSError) -> RootlessError:
        where = name if name == self.path else f"{self.path}/{name}"
        return cannot_write(where, error)


class TarSink:
    """The members of an archive that is written to the descriptor ``fd``; ``where`` is what the user calls it."""

    def __init__(self, fd: int, where: str) -> None:
        self._writer = TarWriter(fd)
        self._where = where
        self._sizes: dict[str, int] = {}

    def has(self, name: str, size: int) -> bool:
        return self._sizes.get(name) == size

    def put(self, name: str, data: bytes) -> None:
        self.stream(name, len(data), (data,))

    def stream(self, name: str, size: int, chunks: Iterable[bytes]) -> None:
        with self._failures():
            self._add_parents(name)
            self._writer.add(name.encode(), REGULAR, 0o644, 0, 0, 0, size=size)
            left = size
            for chunk in chunks:
                left -= len(chunk)
                if left < 0:
                    break
                self._writer.write(chunk)
            if left:
                raise RootlessError(f"cannot write {self._where}: {name} has not the {size} bytes it should have")
            self._writer.pad(size)
        self._sizes[name] = size

    def link(self, name: str, target: str) -> None:
        """A symbolic link."""
        with self._failures():
            self._add_parents(name)
            self._writer.add(name.encode(), SYMLINK, 0o777, 0, 0, 0, link=target.encode())

    def finish(self) -> None:
        """End the archive."""
        with self._failures():
            self._writer.finish()

    def _add_parents(self, name: str) -> None:
        head = name.rpartition("/")[0]
        if head and head not in self._sizes:
            self._add_parents(head)
            self._sizes[head] = 0
            self._writer.add(f"{head}/".encode(), DIRECTORY, 0o755, 0, 0, 0)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Name the archive in what goes wrong with it. A reader who has gone is the caller's affair."""
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            raise cannot_write(self._where, error) from None
