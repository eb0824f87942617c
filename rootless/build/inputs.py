"""What goes into a build: the Containerfile, the context, the named contexts, and what of them is left out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rootless.build import ignore
from rootless.errors import RootlessError, UsageError
from rootless.linux.path import O_PATH, read_regular

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from rootless.engine.context import Engine

_NAMES = ("Containerfile", "Dockerfile")
_IMAGES = ("docker-image://", "container-image://", "docker://")
_LARGEST = 16 << 20  # bytes of a Containerfile


class Inputs:
    """The inputs of a build, open while in ``with``.

    ``containerfile`` and ``name``: the file's bytes, and what errors call it. ``directory``: that of the context ('':
    there is none); ``ignore`` tells what is no part of it. ``work`` is a directory for what has to be
    fetched or unpacked.
    """

    def __init__(self, engine: Engine, values: Mapping[str, Any], context: str, work: str) -> None:
        self._values = values
        self._named = _named(values.get("build_context") or ())
        self.directory = os.path.abspath(context or ".")
        self.containerfile, self.name = self._file()
        self.ignore = self._ignore()

    def __enter__(self) -> Inputs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def _file(self) -> tuple[bytes, str]:
        files = self._values.get("file") or []
        if not files:
            for name in _NAMES:
                data = self._in_context(name)
                if data is not None:
                    return data, name
            raise RootlessError(
                f"cannot build {self.directory}: it has no Containerfile and no Dockerfile", "name the file with -f"
            )
        return b"\n".join(_read(file) for file in files), files[0]

    def _ignore(self) -> ignore.Ignore:
        """What is no part of the context: by the file that was named, one of the Containerfile's own, or one in it."""
        asked = self._values.get("ignorefile")
        if asked:
            return ignore.read(_read(asked), asked)
        own = (self._values.get("file") or [""])[0]
        for name in ignore.NAMES:
            path = f"{own}{name}"
            if own not in ("", "-") and os.path.isfile(path):
                return ignore.read(_read(path), path)
        for name in ignore.NAMES:
            data = self._in_context(name)
            if data is not None:
                return ignore.read(data, name)
        return ignore.Ignore((), "")

    def _in_context(self, name: str) -> bytes | None:
        """A file of the context, where no link leads out of it; None if there is none."""
        if not self.directory:
            return None
        top = os.open(self.directory, O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return read_regular(top, name, _LARGEST)
        except OSError as error:
            raise RootlessError(f"cannot read {name} of the build context: {error.strerror}") from None
        finally:
            os.close(top)

    def is_context(self, word: str) -> bool:
        """Whether a name is that of a context of the command line."""
        return word in self._named

    def image_of(self, word: str) -> str:
        """The image that a named context is, or ''."""
        found = self._named.get(word, "")
        prefix = next((prefix for prefix in _IMAGES if found.startswith(prefix)), "")
        return found.removeprefix(prefix) if prefix else ""

    def directory_of(self, word: str) -> str:
        """The directory that a named context is, or ''."""
        found = self._named.get(word, "")
        return os.path.abspath(found) if found and not self.image_of(word) else ""


def _named(texts: Iterable[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not value:
            raise UsageError(f"cannot use --build-context {text[:80]!r}", "write --build-context NAME=CONTEXT")
        found[name] = value
    return found


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_LARGEST)
    except OSError as error:
        raise RootlessError(f"cannot read {path}: {error.strerror}") from None
