"""Where a text stands in its file, and errors that show it."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from rootless.errors import RootlessError

if TYPE_CHECKING:
    from collections.abc import Sequence

SHOWN = 100
"""Characters of a line that an error shows."""


class ContainerfileError(RootlessError):
    """An instruction that cannot be read or executed.

    ``reason`` is the message without the place; ``excerpt`` is its line and a caret below the place.
    """

    def __init__(self, message: str, reason: str, hint: str = "", excerpt: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.reason = reason
        self.excerpt = excerpt


class Source:
    """A file that is read: its name as the user wrote it, and its lines."""

    __slots__ = ("lines", "name")

    def __init__(self, name: str, lines: Sequence[str]) -> None:
        self.name = name
        self.lines = lines

    def error(self, message: str, line: int, column: int, hint: str = "", doing: str = "read") -> ContainerfileError:
        """An error at a place; both numbers count from 1."""
        place = f"{self.name}:{line}:{column}"
        return ContainerfileError(f"cannot {doing} {place}: {message}", message, hint, self.excerpt(line, column))

    def excerpt(self, line: int, column: int) -> tuple[str, ...]:
        """A line, and a caret below a place in it."""
        return _excerpt(self.lines[line - 1] if line <= len(self.lines) else "", column - 1)


class Origin:
    """A logical line: continuation lines joined, comments among them left out.

    ``text`` is what was read; ``pieces`` are (offset in ``text``, line, column), ascending, of where each part of it
    stands.
    """

    __slots__ = ("_pieces", "_source", "text")

    def __init__(self, source: Source, text: str, pieces: list[tuple[int, int, int]]) -> None:
        self.text = text
        self._source = source
        self._pieces = pieces

    def __repr__(self) -> str:
        return f"<{self._source.name}:{self.line}:{self.column}>"

    @property
    def line(self) -> int:
        """The line on which it begins, from 1."""
        return self._pieces[0][1]

    @property
    def column(self) -> int:
        """The column in which it begins, from 1."""
        return self._pieces[0][2]

    def excerpt(self) -> tuple[str, ...]:
        """Where it begins, its first line, and a caret below the place."""
        return f"{self._source.name}:{self.line}:{self.column}", *self._source.excerpt(self.line, self.column)

    def error(
        self, message: str, hint: str = "", *, near: str = "", offset: int = 0, doing: str = "build"
    ) -> ContainerfileError:
        """An error at ``offset`` of the text, or where ``near`` first occurs behind it; else at its beginning.

        Its message is ``cannot DOING FILE:LINE:COLUMN: MESSAGE``.
        """
        found = self.text.find(near, offset) if near else offset
        at = min(found, len(self.text)) if found >= 0 else offset
        start, line, column = self._pieces[bisect_right(self._pieces, (at, 1 << 62, 0)) - 1]
        return self._source.error(message, line, column + at - start, hint, doing)


def _excerpt(text: str, at: int) -> tuple[str, str]:
    """The line, cut to what fits around ``at``, and the caret; one column a character."""
    start = max(0, at - SHOWN + 20) if len(text) > SHOWN else 0
    part = text[start : start + SHOWN].replace("\t", " ")
    shown = "".join(char if char.isprintable() else "?" for char in part)
    return "    " + shown, "    " + " " * (at - start) + "^"
