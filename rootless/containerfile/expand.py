"""Variables and quotes, by Docker's rules: what a text means when its instruction is executed.

``$x ${x} ${x:-y} ${x-y} ${x:+y} ${x+y} ${x:?y} ${x?y} ${x#p} ${x##p} ${x%p} ${x%%p} ${x/p/r} ${x//p/r}``, nested at
will; single quotes keep all, double quotes all but ``$`` and the escape character. A variable that is not set is empty.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rootless.containerfile import glob

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LARGEST = 8 << 20
"""Characters of a result."""
DEEPEST = 50
"""Substitutions within each other."""

_SPECIAL = "@*#?-$!0"
_NAME = re.compile(r"[^\W\d]\w*|\d+")


class ExpansionError(ValueError):
    """A text that has no meaning, or asks for a variable that is not there; ``str()`` says what."""


def word(text: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """The text with variables put in and quotes and escapes taken away. Raises ExpansionError."""
    if "$" not in text and "'" not in text and '"' not in text and escape not in text:
        return text
    return "".join(_Expansion(text, variables, escape).until(""))


def words(text: str, variables: Mapping[str, str], escape: str = "\\") -> list[str]:
    """As `word`, split at spaces that do not stand in quotes, in the variables' values too. Raises ExpansionError."""
    expansion = _Expansion(text, variables, escape)
    expansion.words = []
    expansion.until("")
    return expansion.finished()


def document(text: str, variables: Mapping[str, str]) -> str:
    """A heredoc with variables put in; quotes mean nothing, a backslash escapes. Raises ExpansionError."""
    return "".join(_Expansion(text, variables, "\\", quotes=False).until(""))


class _Expansion:
    def __init__(self, text: str, variables: Mapping[str, str], escape: str, *, quotes: bool = True) -> None:
        self._text = text
        self._at = 0
        self._variables = variables
        self._escape = escape
        self._quotes = quotes
        self._depth = 0
        self._size = 0
        self._plain = re.compile(f"[^${re.escape(escape)}{'' if not quotes else chr(39) + chr(34)}}}/]+")
        self.words: list[str] | None = None
        self._word: list[str] = []

    def until(self, stop: str, *, keep_escapes: bool = False) -> list[str]:
        """Parts of the text up to ``stop``, which is passed over; '' is the end."""
        text, found = self._text, list[str]()
        while self._at < len(text):
            plain = self._plain.match(text, self._at)
            if plain:
                self._at = plain.end()
                self._add(found, plain.group(), splits=True)
                continue
            char = text[self._at]
            if char == stop:
                self._at += 1
                return found
            if char == "$":
                self._add(found, self._variable(), splits=True)
            elif self._quotes and char == "'":
                self._add(found, self._single())
            elif self._quotes and char == '"':
                self._add(found, self._double(keep_escapes))
            elif char == self._escape:
                kept = char if keep_escapes else ""
                self._add(found, kept + text[self._at + 1 : self._at + 2], splits=False)
                self._at += 2
            else:
                self._at += 1
                self._add(found, char, splits=True)
        if stop:
            raise ExpansionError(f"a substitution has no {stop!r}")
        return found

    def _add(self, found: list[str], part: str, *, splits: bool = False) -> None:
        self._size += len(part)
        if self._size > LARGEST:
            raise ExpansionError("the text becomes too long")
        found.append(part)
        if self.words is None or self._depth:
            return
        for number, piece in enumerate(re.split(r"\s+", part) if splits else [part]):
            if number:
                self._end_word()
            self._word.append(piece)

    def _end_word(self) -> None:
        if any(self._word) and self.words is not None:
            self.words.append("".join(self._word))
        self._word.clear()

    def finished(self) -> list[str]:
        """The words, when all has been read."""
        self._end_word()
        return self.words or []

    def _single(self) -> str:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise ExpansionError("a single quote is not closed")
        start, self._at = self._at + 1, end + 1
        return self._text[start:end]

    def _double(self, keep_escapes: bool) -> str:
        text, found = self._text, list[str]()
        self._at += 1
        while self._at < len(text):
            char = text[self._at]
            if char == '"':
                self._at += 1
                return "".join(found)
            if char == "$":
                found.append(self._variable())
                continue
            self._at += 1
            if char == self._escape:
                following = text[self._at : self._at + 1]
                if following in ('"', "$", self._escape):
                    char = (char if keep_escapes else "") + following
                    self._at += 1
            found.append(char)
        raise ExpansionError("a double quote is not closed")

    def _name(self) -> str:
        """The name that begins here, passed over; '' if there is none."""
        text = self._text
        if self._at < len(text) and text[self._at] in _SPECIAL and not text[self._at].isdigit():
            self._at += 1
            return text[self._at - 1]
        found = _NAME.match(text, self._at)
        if not found:
            return ""
        self._at = found.end()
        return found.group()

    def _variable(self) -> str:
        """What the ``$`` here stands for."""
        text = self._text
        self._at += 1
        if text[self._at : self._at + 1] != "{":
            name = self._name()
            return self._variables.get(name, "") if name else "$"
        self._at += 1
        name = self._name()
        operator = text[self._at : self._at + 1]
        if not operator:
            raise ExpansionError("a substitution has no '}'")
        if not name:
            raise ExpansionError("a substitution has no name")
        self._at += 1
        if operator == "}":
            return self._variables.get(name, "")
        if self._depth == DEEPEST:
            raise ExpansionError(f"more than {DEEPEST} substitutions stand within each other")
        self._depth += 1
        try:
            return self._substitution(name, operator)
        finally:
            self._depth -= 1

    def _substitution(self, name: str, operator: str) -> str:
        """``${NAME OPERATOR …}``, whose operator's first character has been read."""
        value = self._variables.get(name)
        if operator == "/":
            return self._replacement(value or "")
        unset = value is None
        if operator == ":":
            operator = self._text[self._at : self._at + 1]
            self._at += 1
            unset = not value
            if operator not in ("-", "+", "?"):
                raise ExpansionError(f"${{{name[:40]}:{operator}…}} is no substitution")
        if operator in ("#", "%"):
            longest = self._text[self._at : self._at + 1] == operator
            self._at += longest
            pattern = "".join(self.until("}", keep_escapes=True))
            cut = glob.without_prefix if operator == "#" else glob.without_suffix
            return _matched(pattern, lambda parts: cut(value or "", parts, longest=longest))
        if operator not in ("-", "+", "?"):
            raise ExpansionError(f"${{{name[:40]}{operator}…}} is no substitution")
        other = "".join(self.until("}"))
        if operator == "-":
            return other if unset else value or ""
        if operator == "+":
            return "" if unset else other
        if unset:
            raise ExpansionError(f"{name[:40]}: {other[:200] or ('is empty' if value == '' else 'is not set')}")
        return value or ""

    def _replacement(self, value: str) -> str:
        every = self._text[self._at : self._at + 1] == "/"
        self._at += every
        pattern = "".join(self.until("/", keep_escapes=True))
        replacement = "".join(self.until("}", keep_escapes=True))
        return _matched(pattern, lambda parts: glob.replaced(value, parts, replacement, every=every, most=LARGEST))


def _matched(pattern: str, use: Callable[[glob.Pattern], str]) -> str:
    try:
        return use(glob.pattern(pattern))
    except ValueError as error:
        raise ExpansionError(f"the pattern {pattern[:40]!r} {error}") from None
