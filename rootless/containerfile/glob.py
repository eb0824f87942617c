"""Patterns of ``${x#pattern}`` and the like: ``*`` is any text, ``?`` any character, a backslash takes their meaning.

Every function takes time that grows with the pattern's length times the value's at most.
"""

from __future__ import annotations

import re

MOST_WORK = 1 << 24
"""Length of a pattern times length of a value."""

Pattern = tuple[str, ...]
"""Regular expressions without repetition: what stands between the asterisks."""


def pattern(text: str) -> Pattern:
    """Raises ValueError for a backslash before a character that has no meaning to take."""
    parts = [""]
    characters = iter(text)
    for char in characters:
        if char == "*":
            parts.append("")
        elif char == "?":
            parts[-1] += "."
        elif char == "\\":
            char = next(characters, "")
            if char not in ("*", "?", "\\", "}", "/"):
                raise ValueError(f"escapes {char!r}" if char else "ends with a backslash")
            parts[-1] += re.escape(char)
        else:
            parts[-1] += re.escape(char)
    return tuple(parts)


def _end(value: str, parts: Pattern, start: int, *, longest: bool) -> int:
    """Where a match that begins at ``start`` ends, or -1.

    After the first part each is looked for from left to right: what is found first leaves the most to those behind it.
    Only the last may be taken from the right.
    """
    first = re.compile(parts[0], re.DOTALL).match(value, start)
    if not first:
        return -1
    at = first.end()
    for number, part in enumerate(parts[1:], 2):
        expression = re.compile(part, re.DOTALL)
        if longest and number == len(parts):
            return _last(value, part, at)
        found = expression.search(value, at)
        if not found:
            return -1
        at = found.end()
    return at


def _last(value: str, part: str, start: int) -> int:
    """The end of the last place at or behind ``start`` where a part is, or -1."""
    expression = re.compile(part, re.DOTALL)
    for at in range(len(value), start - 1, -1):
        found = expression.match(value, at)
        if found:
            return found.end()
    return -1


def _check(value: str, parts: Pattern) -> None:
    if len(value) * (1 + sum(map(len, parts))) > MOST_WORK:
        raise ValueError("is too long for the value")


def without_prefix(value: str, parts: Pattern, *, longest: bool) -> str:
    """The value without the shortest or longest beginning that matches. Raises ValueError for too much work."""
    _check(value, parts)
    end = _end(value, parts, 0, longest=longest)
    return value if end < 0 else value[end:]


def without_suffix(value: str, parts: Pattern, *, longest: bool) -> str:
    """The value without the shortest or longest end that matches. Raises ValueError for too much work."""
    _check(value, parts)
    mirrored = tuple("".join(reversed(re.findall(r"\\.|.", part, re.DOTALL))) for part in reversed(parts))
    end = _end(value[::-1], mirrored, 0, longest=longest)
    return value if end < 0 else value[: len(value) - end]


def replaced(value: str, parts: Pattern, by: str, *, every: bool, most: int) -> str:
    """The value with the first match, or every one, replaced; each the leftmost, and there the longest.

    Raises ValueError for too much work, or more than ``most`` characters.
    """
    _check(value, parts)
    found: list[str] = []
    first = re.compile(parts[0], re.DOTALL)
    at = size = 0
    behind = -1  # of the last match that was not empty: no empty one follows it
    while at <= len(value):
        start = first.search(value, at)
        end = _end(value, parts, start.start(), longest=True) if start else -1
        if start is None or end < 0:
            break
        begin = start.start()
        found.append(value[at:begin])
        if begin < end or begin != behind:
            found.append(by)
            size += len(by)
        size += end - at
        behind = end
        if end == begin:  # the character behind an empty match stays
            found.append(value[begin : begin + 1])
            end += 1
        at = end
        if size > most:
            raise ValueError("makes the text too long")
        if not every:
            break
    return "".join(found) + value[at:]
