"""What goes into a build: the Containerfile, the context, the named contexts, and what of them is left out."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from rootless.build import ignore
from rootless.build.contexts import opening, words
from rootless.errors import RootlessError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from rootless.engine.context import Engine

_IMAGES = ("docker-image://", "container-image://", "docker://")
_LAYOUT = "oci-layout://"


class Inputs:
    """The inputs of a build, open while in ``with``.

    ``containerfile`` and ``name``: the file's bytes, and what errors call it. ``directory``: that of the context ('':
    there is none); ``ignore`` tells what is no part of it. ``work`` is a directory for what has to be
    fetched or unpacked, which vanishes with the build.
    """

    def __init__(self, engine: Engine, values: Mapping[str, Any], context: str, work: str) -> None:
        self._engine = engine
        self._values = values
        self._work = work
        self._named = {name: self._context(value) for name, value in _pairs(values.get("build_context") or ())}
        if context == opening.STDIN and opening.STDIN in (values.get("file") or ()):
            raise UsageError("standard input cannot be both the build context and the Containerfile")
        self._opened = opening.open_context(engine, context, values, work)
        self.directory = self._opened.directory
        own: list[_File] = [self._file(name) for name in values.get("file") or ()] or [self._default()]
        self.containerfile = b"\n".join(file.data for file in own)
        self.name = own[0].name
        if len(self.containerfile) > opening.LARGEST:
            raise RootlessError(f"cannot read {self.name}: it is larger than {opening.LARGEST >> 20} MiB")
        self.ignore = self._ignore(own[0])

    def __enter__(self) -> Inputs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def _default(self) -> _File:
        """The Containerfile that the context itself is or has."""
        if self._opened.containerfile is not None:
            return _File(self._opened.name, self._opened.containerfile)
        for name in opening.NAMES:
            data = opening.read_inside(self.directory, name, opening.LARGEST)
            if data is not None:
                return _File(name, data, inside=name)
        raise RootlessError(
            f"cannot build {self.directory}: it has no Containerfile and no Dockerfile", "name the file with -f"
        )

    def _file(self, name: str) -> _File:
        """A file of ``-f``: a path from the working directory, else from the context; a URL, or ``-``."""
        if name == opening.STDIN:
            return _File("standard input", sys.stdin.buffer.read(opening.LARGEST + 1))
        if words.is_url(name):
            path = opening.fetch_url(name, self._values, self._work)
            return _File(name, opening.read_file(path, opening.LARGEST))
        if os.path.isdir(name):
            raise RootlessError(f"cannot read {name}: it is a directory", "name the Containerfile in it")
        if os.path.isabs(name) or (os.path.exists(name) and not self._opened.fetched) or not self.directory:
            return _File(name, opening.read_file(name, opening.LARGEST), outside=os.path.abspath(name))
        data = opening.read_inside(self.directory, name, opening.LARGEST)
        if data is None:
            raise RootlessError(f"cannot read {name}: there is no such file here, nor in the build context")
        return _File(name, data, inside=name)

    def _ignore(self, own: _File) -> ignore.Ignore:
        """What is no part of the context: by the file that was named, one of the Containerfile's own, or one in it."""
        asked = self._values.get("ignorefile")
        if asked:
            return ignore.read(opening.read_file(asked, ignore.LARGEST), asked)
        for name in ignore.NAMES:
            if own.outside and os.path.lexists(own.outside + name):
                return ignore.read(self._read_beside(own.outside + name), own.name + name)
            if own.inside:
                data = opening.read_inside(self.directory, own.inside + name, ignore.LARGEST)
                if data is not None:
                    return ignore.read(data, own.inside + name)
        for name in ignore.NAMES if self.directory else ():
            data = opening.read_inside(self.directory, name, ignore.LARGEST)
            if data is not None:
                return ignore.read(data, name)
        return ignore.Ignore((), "")

    def _read_beside(self, path: str) -> bytes:
        """An ignore file beside a Containerfile; one in the context is no link out of it."""
        below = os.path.relpath(path, self.directory) if self.directory else ".."
        if below == ".." or below.startswith("../"):
            return opening.read_file(path, ignore.LARGEST)
        return opening.read_inside(self.directory, below, ignore.LARGEST) or b""

    # Named contexts.

    def _context(self, value: str) -> _Named:
        """A directory, a repository, a URL of an archive, or an image."""
        for prefix in _IMAGES:
            if value.startswith(prefix):
                return _Named(image=value.removeprefix(prefix))
        if value.startswith(_LAYOUT):
            return _Named(image=f"oci:{os.path.abspath(value.removeprefix(_LAYOUT))}")
        if words.is_repository(value) and not os.path.isdir(value):
            return _Named(directory=opening.fetch_repository(value, self._work))
        if words.is_url(value):
            path = opening.fetch_url(value, self._values, self._work)
            return _Named(directory=opening.unpacked(self._engine, path, self._work))
        if not os.path.isdir(value):
            raise RootlessError(
                f"cannot use the build context {value[:200]}: there is no such directory",
                "an image is written docker-image://NAME",
            )
        return _Named(directory=os.path.abspath(value))

    def is_context(self, word: str) -> bool:
        """Whether a name is that of a context of the command line."""
        return word in self._named

    def image_of(self, word: str) -> str:
        """The image that a named context is, or ''."""
        return self._named[word].image if word in self._named else ""

    def directory_of(self, word: str) -> str:
        """The directory that a named context is, or ''."""
        return self._named[word].directory if word in self._named else ""


class _File(NamedTuple):
    """A Containerfile: ``inside`` is its path in the context, ``outside`` that on the host, where it has one."""

    name: str
    data: bytes
    inside: str = ""
    outside: str = ""


class _Named(NamedTuple):
    """A named context: one of both."""

    directory: str = ""
    image: str = ""


def _pairs(texts: Iterable[str]) -> list[tuple[str, str]]:
    found = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not value:
            raise UsageError(f"cannot use --build-context {text[:80]!r}", "write --build-context NAME=CONTEXT")
        found.append((name, value))
    return found
