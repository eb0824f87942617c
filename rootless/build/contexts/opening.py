"""The build context, and what is built: from the words of the command line to a directory and a Containerfile."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from rootless.build.contexts import words
from rootless.engine.images.limits import limits_of
from rootless.errors import RootlessError
from rootless.linux.path import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, openat2
from storage.archive.limits import Limits
from storage.archive.put import Putter
from storage.archive.stream import LayerStream, compression
from storage.archive.tar_reader import TarReader
from storage.errors import StorageError, os_error

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, BinaryIO

    from rootless.engine.context import Engine

STDIN = "-"
NAMES = ("Containerfile", "Dockerfile")
"""The files that are looked for in a context; the first that is there counts."""
LARGEST = 16 << 20
"""Bytes of a Containerfile."""

_FIRST = 64 << 10  # enough to tell a tar archive by
_LARGEST_FETCHED = 16 << 30


class Context(NamedTuple):
    """``directory`` is absolute, '' if there is none; ``fetched``: it came from elsewhere.

    ``containerfile``: what the word itself gave in place of a directory, or None; ``name`` is what errors call it.
    """

    directory: str
    fetched: bool = False
    containerfile: bytes | None = None
    name: str = ""


def open_context(engine: Engine, word: str, values: Mapping[str, Any], work: str) -> Context:
    """A directory, ``-`` (standard input: a Containerfile or an archive), a URL of either, or a repository.

    '' is the directory of the first Containerfile that is named, else the working directory. What has to be fetched is
    put below ``work``. Raises RootlessError.
    """
    if word == STDIN:
        return _of_stream(engine, sys.stdin.buffer, work, "standard input")
    if words.is_repository(word) and not os.path.isdir(word):
        return Context(fetch_repository(word, work), fetched=True)
    if words.is_url(word):
        path = fetch_url(word, values, work)
        with open(path, "rb") as file:
            return _of_stream(engine, file, work, word)
    if not word:
        first = next((name for name in values.get("file") or () if name != STDIN and not words.is_url(name)), "")
        word = os.path.dirname(os.path.abspath(first)) if first else "."
    directory = os.path.abspath(word)
    if not os.path.isdir(directory):
        what = "it is not a directory" if os.path.lexists(directory) else "there is no such directory"
        raise RootlessError(f"cannot use the build context {word}: {what}", "name a directory, a URL, or - for stdin")
    return Context(directory)


def fetch_repository(word: str, work: str) -> str:
    """The directory of a repository that a word names, fetched below ``work``. Raises RootlessError."""
    from rootless.build.contexts.git import clone

    return clone(words.repository(word), f"{work}/repository-{os.urandom(6).hex()}").directory


def fetch_url(word: str, values: Mapping[str, Any], work: str) -> str:
    """A file with what a URL gives. Raises RootlessError."""
    from rootless.registry.fetch import fetch
    from rootless.registry.options import ConnectionOptions

    path = f"{work}/fetched-{os.urandom(6).hex()}"
    asked = {key: values.get(key) for key in ("tls_verify", "retry", "retry_delay")}
    fetch(word, path, ConnectionOptions.from_values(asked), _LARGEST_FETCHED)
    return path


def unpacked(engine: Engine, path: str, work: str) -> str:
    """The directory of an archive in a file. Raises RootlessError, StorageError for what is none, or hostile."""
    with open(path, "rb") as file:
        return _unpack(engine, file, work)


def _of_stream(engine: Engine, stream: BinaryIO, work: str, name: str) -> Context:
    """A Containerfile, or an archive by what it begins with."""
    head = stream.read(_FIRST)
    if _is_archive(head):
        return Context(_unpack(engine, _Again(head, stream), work), fetched=True)
    data = head + stream.read(LARGEST + 1 - len(head)) if len(head) == _FIRST else head
    if len(data) > LARGEST:
        raise RootlessError(f"cannot read {name}: it is no archive, and too large for a Containerfile")
    if not data.strip():
        raise RootlessError(f"cannot build {name}: it is empty", "give a Containerfile, or an archive of a context")
    return Context("", containerfile=data, name=name)


class _Again:
    """A stream of which the beginning was read."""

    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self._head = head
        self._stream = stream

    def read(self, size: int, /) -> bytes:
        if self._head:
            part, self._head = self._head[:size], self._head[size:]
            return part
        return self._stream.read(size)


def _is_archive(head: bytes) -> bool:
    if compression(head) != "plain":
        return True
    try:
        return len(head) >= 512 and next(iter(TarReader([head[:512]], Limits())), None) is not None
    except StorageError:
        # An extended header of which not all is there; its form is that of tar, or it would not have come so far.
        return head[257:262] == b"ustar"


def _unpack(engine: Engine, stream: _Again | BinaryIO, work: str) -> str:
    """Place an archive's members in a new directory; no link is followed, and no device made."""
    target = f"{work}/context-{os.urandom(6).hex()}"
    os.mkdir(target, 0o700)
    root = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    mask = os.umask(0)
    chunks = LayerStream(stream, limits_of(engine))
    try:
        Putter(root, overwrite=True, skip_devices=True).put(chunks, limits_of(engine))
    except OSError as error:
        where = f" {error.filename}" if isinstance(error.filename, str) else ""
        raise os_error(f"cannot unpack{where} of the build context", error) from None
    finally:
        chunks.close()
        os.umask(mask)
        os.close(root)
    return target


# Files of a context.


def read_inside(directory: str, path: str, limit: int) -> bytes | None:
    """A regular file of a context, up to ``limit`` + 1 bytes; None if there is none.

    Raises RootlessError for a link that leads out, and for what is there and no file: it is not passed over.
    """
    root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
        fd = openat2(root, path, flags, 0, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError) and not _is_link(root, path):
            return None
        why = "it is a link that leads out of the build context, or to nothing"
        if isinstance(error, PermissionError):
            why = "permission denied"
        raise RootlessError(f"cannot read {path} of the build context: {why}", "put the file itself there") from None
    finally:
        os.close(root)
    return _content(fd, path, limit)


def _is_link(root: int, path: str) -> bool:
    try:
        os.readlink(path, dir_fd=root)
    except OSError:
        return False
    return True


def _content(fd: int, name: str, limit: int) -> bytes:
    import stat

    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise RootlessError(f"cannot read {name} of the build context: it is not a file")
        return file.read(limit + 1)


def read_file(path: str, limit: int) -> bytes:
    """A file of the user's, of any kind that can be read, up to ``limit`` + 1 bytes. Raises RootlessError."""
    try:
        with open(path, "rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise RootlessError(f"cannot read {path}: {os.strerror(error.errno or 0).lower()}") from None
