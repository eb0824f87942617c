"""What of a source is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rootless.build.ignore import Ignore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Rules(NamedTuple):
    """What of the source is left out: ``ignored`` and ``enters`` are about paths of the source, real ones;
    ``exclude`` are patterns for paths below each source word."""

    ignored: Callable[[str], bool] | None = None
    enters: Callable[[str], bool] | None = None
    exclude: Excluded | None = None


class Excluded:
    """``--exclude``: patterns of which the last that fits decides, as in an ignore file."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._patterns = Ignore(texts, "--exclude")

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def excludes(self, path: str) -> bool:
        """Whether what has this path below its source is left out."""
        return bool(path) and self._patterns.excludes(path)

    def enters(self, path: str) -> bool:
        """Whether something below it may be copied all the same."""
        return not path or self._patterns.enters(path)
