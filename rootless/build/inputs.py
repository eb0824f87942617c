"""What goes into a build: the Containerfile, the context, the named contexts, and what of them is left out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rootless.errors import RootlessError, UsageError

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
    there is none). ``work`` is a directory for what has to be fetched or unpacked.
    """

    def __init__(self, engine: Engine, values: Mapping[str, Any], context: str, work: str) -> None:
        self._values = values
        self._named = _named(values.get("build_context") or ())
        self.directory = os.path.abspath(context or ".")
        self.containerfile, self.name = self._file()

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
                if os.path.lexists(f"{self.directory}/{name}"):
                    return _read(f"{self.directory}/{name}"), name
            raise RootlessError(
                f"cannot build {self.directory}: it has no Containerfile and no Dockerfile", "name the file with -f"
            )
        return b"\n".join(_read(file) for file in files), files[0]

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

    def ignored(self, path: str) -> bool:
        """Whether a path is no part of the context."""
        return False


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
