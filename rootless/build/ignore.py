"""What of a build context is left out: .containerignore and .dockerignore."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless.build import patterns
from rootless.errors import RootlessError

if TYPE_CHECKING:
    from collections.abc import Iterable

NAMES = (".containerignore", ".dockerignore")
"""The files that may be in a context; the first that is there counts."""
LARGEST = 1 << 20
"""Bytes of a file."""
MOST = 10_000
"""Patterns of a file."""

_BOM = b"\xef\xbb\xbf"


def read(data: bytes, name: str) -> Ignore:
    """The patterns of a file, one a line; ``name`` is what errors call it. Raises RootlessError."""
    if len(data) > LARGEST:
        raise RootlessError(f"cannot read {name}: it is larger than {LARGEST >> 20} MiB")
    found: list[str] = []
    lines = data.removeprefix(_BOM).decode("utf-8", "surrogateescape").split("\n")
    for line in lines:
        if not line.startswith("#"):
            found.append(line.strip())
    if len(found) - found.count("") > MOST:
        raise RootlessError(f"cannot read {name}: it has more than {MOST} patterns")
    return Ignore(found, name)


class Ignore:
    """Patterns in their order, of which the last that fits decides; one with ``!`` takes in again what others exclude.

    What a pattern means for a directory it means for all that is in it. Paths are relative to the context, without
    ``.``, ``..`` and slashes at their ends.
    """

    __slots__ = ("_patterns",)

    def __init__(self, texts: Iterable[str], name: str) -> None:
        """Empty texts are passed over. Raises RootlessError for a pattern that is none."""
        self._patterns: list[tuple[bool, patterns.Pattern]] = []
        for text in texts:
            again = text.startswith("!")
            path = patterns.clean(text[again:].strip())
            if again and not text[1:].strip():
                raise RootlessError(f"cannot read {name}: '!' stands without a pattern")
            if not path:
                continue
            try:
                self._patterns.append((again, patterns.Pattern(path)))
            except patterns.PatternError as error:
                raise RootlessError(f"cannot read {name}: the pattern {text[:80]!r} {error}") from None

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def excludes(self, path: str) -> bool:
        """Whether a path is left out."""
        return self._decided_by(path) >= 0

    def enters(self, directory: str) -> bool:
        """Whether there can be something in a directory that is not left out, though itself it may be."""
        decided = self._decided_by(directory)
        return decided < 0 or any(
            again and pattern.reaches_below(directory) for again, pattern in self._patterns[decided + 1 :])

    def _decided_by(self, path: str) -> int:
        """The number of the pattern by which a path is left out, or -1."""
        decided = -1
        for number, (again, pattern) in enumerate(self._patterns):
            if again == (decided >= 0) and pattern.covers(path):
                decided = -1 if again else number
        return decided
