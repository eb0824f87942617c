"""What the sources of a COPY or ADD hold, as one digest: the part of a step's key that is about files.

It is made of names, kinds, modes, contents, link targets and extended attributes, and of owners where these are copied;
not of times. Of an image's layers, which never change, it is remembered what a subtree's digest was.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from rootless import paths
from rootless.build.copy import remote, request
from rootless.build.copy.content import FileContent
from rootless.build.copy.source import source_of
from rootless.build.copy.stat_cache import StatCache, key_of, now_ns
from rootless.build.copy.view import Node
from rootless.engine.containers import stack as stacks
from rootless.errors import RootlessError
from storage import atomic
from storage.archive.tar_reader import REGULAR
from storage.errors import StorageError, os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rootless.build.copy.request import Request
    from rootless.build.copy.source import Source
    from rootless.build.job import Job
    from rootless.build.state import State
    from rootless.containerfile import model
    from storage.union import Entry

_CHUNK = 1 << 20
_MOST_REMEMBERED = 4096
_HEX = 64


def digest(job: Job, state: State, step: model.Copy | model.Add) -> str:
    """``sha256:…`` of all that the instruction copies. Raises ContainerfileError."""
    wanted = request.read(state, step)
    try:
        whole = hashlib.sha256(b"2\0")
        for word in wanted.remote:
            _feed(whole, "remote", remote.identity(job, wanted, word))
        for name, content in wanted.documents:
            _feed(whole, "document", name, hashlib.sha256(content).hexdigest())
        if wanted.paths:
            _feed(whole, "paths", _of_paths(job, wanted))
        return f"sha256:{whole.hexdigest()}"
    except (RootlessError, StorageError) as error:
        raise step.origin.error(error.message, error.hint) from None
    except OSError as error:
        failed = os_error("cannot fetch or read", error)
        raise step.origin.error(failed.message, failed.hint) from None


def _feed(whole: hashlib._Hash, *parts: str) -> None:
    for part in parts:
        data = part.encode("utf-8", "surrogateescape")
        whole.update(b"%d:" % len(data) + data)


def _of_paths(job: Job, wanted: Request) -> str:
    source = source_of(job, wanted)
    directory = job.directory_of(wanted.from_) if wanted.from_ else job.context
    if directory:
        cache = StatCache(os.path.realpath(directory))
        try:
            found = _Reading(wanted, source, cache).run()
        except PermissionError:
            # Files that only root of the user's namespace can read; what it reads is not remembered.
            return job.engine.in_userns(lambda: _answer(_Reading(wanted, source, cache))).decode()
        except OSError as error:
            raise os_error(_where(error), error) from None
        cache.save()
        return found
    layers = job.find(wanted.from_).diff_ids
    memory = _Memory(layers, wanted)
    return memory.get() or memory.put(
        job.engine.in_userns(lambda: _answer(_Reading(wanted, source, None))).decode()
    )


def _answer(reading: _Reading) -> bytes:
    stacks.raise_open_files()
    try:
        return reading.run().encode()
    except OSError as error:
        raise os_error(_where(error), error) from None


def _where(error: OSError) -> str:
    return f"cannot read {error.filename!r}" if isinstance(error.filename, str) else "cannot read a file"


class _Reading:
    """One walk over the sources."""

    def __init__(self, wanted: Request, source: Callable[[], Source], cache: StatCache | None) -> None:
        self._wanted = wanted
        self._open = source
        self._cache = cache

    def run(self) -> str:
        """The digest, in hexadecimal. Raises OSError, RootlessError, StorageError."""
        whole = hashlib.sha256()
        source = self._open()
        try:
            for each in source.choose(self._wanted.paths):
                self._choice(whole, source, each.path, each.kept if self._wanted.parents else each.name)
        finally:
            source.close()
        return whole.hexdigest()

    def _choice(self, whole: hashlib._Hash, source: Source, path: str, shown: str) -> None:
        found = source.open(path)
        if isinstance(found, Node):
            _feed(whole, "tree", shown if self._wanted.parents else "")
            if self._wanted.parents:
                self._parents(whole, source, path)
            for below, entry in source.members(found):
                self._member(whole, source, below, entry)
            return
        self._member(whole, source, shown, found)
        if self._wanted.parents:
            self._parents(whole, source, path.rpartition("/")[0])

    def _parents(self, whole: hashlib._Hash, source: Source, path: str) -> None:
        names = path.split("/") if path else []
        for number in range(1, len(names) + 1):
            node = source.open("/".join(names[:number]))
            if isinstance(node, Node):
                item = source.node_item(node)
                _feed(whole, f"{item.mode:o} {item.uid} {item.gid}")

    def _member(self, whole: hashlib._Hash, source: Source, path: str, entry: Entry) -> None:
        item = source.item(entry)
        if item is None:
            return
        # No name and no target has a NUL in it, and what follows is counted: each part has an end.
        name = path.encode("utf-8", "surrogateescape")
        numbers = (item.mode, item.uid, item.gid, *item.device, len(item.xattrs or ()))
        line = b"%b\0%b %o %d %d %d %d %d %b\0" % (name, item.kind, *numbers, item.link)
        if item.kind == REGULAR and isinstance(item.content, FileContent):
            item.content.check(entry.status.st_size)
            line += self._content(source, entry)
        whole.update(line + _attributes(item.xattrs) if item.xattrs else line)

    def _content(self, source: Source, entry: Entry) -> bytes:
        """The digest of a file's bytes and attributes."""
        known = self._cache.get(entry.status) if self._cache is not None else None
        if known is not None:
            return known
        started = now_ns()
        fd = source.view.reader.open(entry.tree, entry.path)
        try:
            before = os.fstat(fd)
            digest = hashlib.sha256()
            while data := os.read(fd, _CHUNK):
                digest.update(data)
            digest.update(_attributes(source.view.reader.attributes(fd)))
            value = digest.digest()
            if self._cache is not None and key_of(before) == key_of(os.fstat(fd)):
                self._cache.put(before, value, started)
            return value
        finally:
            os.close(fd)


def _attributes(found: Mapping[bytes, bytes]) -> bytes:
    return b"".join(b"%d:%b%d:%b" % (len(key), key, len(value), value) for key, value in sorted(found.items()))


class _Memory:
    """Which digests subtrees of layers had: two of hexadecimal digits a line, that of the question and the answer."""

    def __init__(self, layers: list[str], wanted: Request) -> None:
        question = repr((2, layers, wanted.paths, wanted.parents, wanted.exclude))
        self._key = hashlib.sha256(question.encode("utf-8", "surrogateescape")).hexdigest()
        self._path = f"{paths.cache_dir()}/build-subtrees"
        self._lines: list[str] = []

    def get(self) -> str:
        """The digest, or ''."""
        try:
            data = atomic.read(self._path, _MOST_REMEMBERED * (2 * _HEX + 2))
        except OSError:
            return ""
        self._lines = [line for line in data.decode("ascii", "replace").split("\n") if len(line) == 2 * _HEX + 1]
        for line in self._lines:
            if line.startswith(self._key):
                answer = line[_HEX + 1 :]
                return answer if not answer.strip("0123456789abcdef") else ""
        return ""

    def put(self, answer: str) -> str:
        """Remember and return a digest."""
        lines = [*self._lines[-_MOST_REMEMBERED + 1 :], f"{self._key} {answer}"]
        try:
            os.makedirs(paths.cache_dir(), 0o700, exist_ok=True)
            atomic.write(self._path, "\n".join(lines).encode(), durable=False)
        except (OSError, StorageError):
            return answer
        return answer
