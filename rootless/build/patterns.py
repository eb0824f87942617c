"""Patterns for paths: of .dockerignore, of ``--exclude``, and of sources with wildcards.

``*`` is any text and ``?`` any character of one name, ``[a-c]`` and ``[^a-c]`` one of a set or another (Go's
``path.Match``); ``**`` is any number of directories; a backslash takes a character's meaning. Matching takes time that
grows with the length of the path and of the pattern, whatever they are: each asterisk takes the first place where
what stands behind it fits, and never another (atomic groups); only behind the last of a name it takes the last one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_GLUED = 3
"""How often ``**`` may stand behind other characters of a name: each doubles the work."""
LONGEST = 4096
"""Characters of a pattern."""

_ANY = object()
_DEEP = object()
_Token = object
"""A regular expression of one character (str), ``*`` (_ANY) or ``**`` (_DEEP)."""


class PatternError(ValueError):
    """A pattern that is none; ``str()`` says why."""


def has_wildcards(text: str) -> bool:
    """Whether a text means other than one path."""
    return any(char in text for char in "*?[\\")


class Pattern:
    """A pattern for paths without ``.``, ``..``, doubled slashes and a slash at the beginning or end."""

    __slots__ = ("_alternatives", "_covers", "_matches", "_names", "text")

    def __init__(self, text: str) -> None:
        """Raises PatternError."""
        self.text = text
        if len(text) > LONGEST:
            raise PatternError(f"is longer than {LONGEST} characters")
        self._alternatives = [list(_names(tokens)) for tokens in _unglued(_tokens(clean(text)))]
        whole = "|".join(_expression(names) for names in self._alternatives)
        self._covers = re.compile(f"(?:{whole})(?:/.*)?", re.DOTALL)
        self._matches: re.Pattern[str] | None = None
        self._names: list[list[re.Pattern[str] | None]] = []

    def matches(self, path: str) -> bool:
        """Whether the pattern means just this path."""
        if self._matches is None:
            self._matches = re.compile("|".join(_expression(names) for names in self._alternatives), re.DOTALL)
        return self._matches.fullmatch(path) is not None

    def covers(self, path: str) -> bool:
        """Whether the pattern means this path or a directory that it is in."""
        return self._covers.fullmatch(path) is not None

    def reaches_below(self, directory: str) -> bool:
        """Whether there can be paths in a directory ('' is the root) that the pattern means."""
        if not directory:
            return True
        if not self._names:
            self._names = [
                [None if name == [_DEEP] else re.compile(_name(name), re.DOTALL) for name in names]
                for names in self._alternatives]  # fmt: skip
        return any(_reaches(names, directory.split("/")) for names in self._names)


def clean(path: str) -> str:
    """A path without ``.``, empty names and slashes around it; ``..`` takes away the name before it."""
    names: list[str] = []
    for name in path.split("/"):
        if name == ".." and names and names[-1] != "..":
            names.pop()
        elif name not in ("", "."):
            names.append(name)
    return "/".join(names)


def pivot(source: str) -> tuple[str, str]:
    """What stands before the first ``/./`` of a source of COPY --parents, whose names the copy does not have, and the
    rest."""
    base, found, rest = source.partition("/./")
    return (clean(base), clean(rest)) if found else ("", clean(source))


def _reaches(names: list[re.Pattern[str] | None], directory: list[str]) -> bool:
    for number, name in enumerate(names):
        if name is None:
            return True
        if number == len(directory):
            return True
        if not name.fullmatch(directory[number]):
            return False
    return True


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "*":
            start = at - 1
            while text.startswith("*", at):
                at += 1
            found.append(_DEEP if at - start > 1 else _ANY)
        elif char == "?":
            found.append("[^/]")
        elif char == "[":
            expression, at = _set(text, at)
            found.append(expression)
        elif char == "\\":
            if at == len(text):
                raise PatternError("ends with a backslash")
            found.append(re.escape(text[at]))
            at += 1
        else:
            found.append(re.escape(char))
    return found


def _set(text: str, at: int) -> tuple[str, int]:
    """The expression of a set whose ``[`` stands before ``at``, and what follows it."""
    opposite = text.startswith("^", at)
    at += opposite
    parts: list[str] = []
    while not text.startswith("]", at) or not parts:
        low, at = _member(text, at)
        high = low
        if text.startswith("-", at):
            high, at = _member(text, at + 1)
        if low > high:
            raise PatternError(f"has the range {low}-{high}, which is empty")
        parts.append(f"{re.escape(low)}-{re.escape(high)}")
    return f"(?!/)[{'^' if opposite else ''}{''.join(parts)}]", at + 1


def _member(text: str, at: int) -> tuple[str, int]:
    if text.startswith("\\", at):
        at += 1
    elif text[at : at + 1] in ("-", "]"):
        raise PatternError(f"has {text[at]!r} where a set needs a character")
    if at >= len(text):
        raise PatternError("has a '[' without ']'")
    return text[at], at + 1


def _unglued(tokens: list[_Token]) -> Iterator[list[_Token]]:
    """Patterns in which ``**`` stands alone between slashes, and which together mean what ``tokens`` do.

    ``a**b`` is ``ab``, or ``a*/**/b``; ``**b`` is ``**/*b`` if nothing else is open in it, else ``**/b``; at the end
    ``a**`` is all that begins with ``a``.
    """
    pending: list[tuple[list[_Token], list[_Token], int]] = [([], tokens, 0)]
    while pending:
        done, rest, glued = pending.pop()
        while rest and rest[0] is not _DEEP:
            done = [*done, rest[0]]
            rest = rest[1:]
        if not rest:
            yield done
            continue
        rest = rest[1:]
        free = not done or done[-1] == "/"
        if not free and glued == MOST_GLUED:
            raise PatternError("has too many '**' within names")
        if not rest:
            deep = [_DEEP, "/", _ANY]
            if free:
                yield [*done, *deep]
            else:
                yield [*done, _ANY]
                yield [*done, _ANY, "/", *deep]
            continue
        if not done and rest[0] != "/" and all(isinstance(token, str) and len(token) <= 2 for token in rest):
            yield [_DEEP, "/", _ANY, *rest]
            continue
        if rest[0] == "/":
            rest = rest[1:]
        if free:
            pending.append(([*done, _DEEP, "/"], rest, glued))
        else:
            pending.append(([*done], rest, glued + 1))
            pending.append(([*done, _ANY, "/", _DEEP, "/"], rest, glued + 1))


def _names(tokens: list[_Token]) -> Iterator[list[_Token]]:
    """The tokens between slashes; of ``**/**`` one."""
    name: list[_Token] = []
    deep = False
    for token in [*tokens, "/"]:
        if token != "/":
            name.append(token)
            continue
        if name != [_DEEP] or not deep:
            yield name
        deep = name == [_DEEP]
        name = []


def _name(tokens: list[_Token]) -> str:
    """The expression of one name; what follows must be a slash or the end."""
    parts = [""]
    for token in tokens:
        if isinstance(token, str):
            parts[-1] += token
        else:
            parts.append("")
    if len(parts) == 1:
        return parts[0]
    middle = "".join(f"(?>[^/]*?{part})" for part in parts[1:-1] if part)
    return f"{parts[0]}{middle}[^/]*{parts[-1]}(?![^/])"


def _expression(names: list[list[_Token]]) -> str:
    """The expression of a whole path. Between two ``**`` what fits first is taken."""
    blocks: list[list[str]] = [[]]
    for name in names:
        if name == [_DEEP]:
            blocks.append([])
        else:
            blocks[-1].append(_name(name))
    if len(blocks) == 1:
        return "/".join(blocks[0])
    first = "".join(f"{name}/" for name in blocks[0])
    middle = "".join("(?>(?:[^/]*/)*?" + "".join(f"{name}/" for name in block) + ")" for block in blocks[1:-1])
    return f"{first}{middle}(?:[^/]*/)*?{'/'.join(blocks[-1])}(?![^/])"
