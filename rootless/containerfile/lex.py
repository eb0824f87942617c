"""Words: where they begin and end. Quotes and escapes stay in them, for `expand` to take away."""

from __future__ import annotations

import re
from typing import NamedTuple

from rootless.containerfile.model import Heredoc

SPACE = " \t\v\f\r"
"""What separates words, besides the other characters of Unicode that are spaces."""
_PLAIN = re.compile(r"""[^\s'"\\`]+""")
_HEREDOC = re.compile(r"[0-9]*<<(-?)([^<]+)")
_FIRST = re.compile(r"[^ \t\v\f\r]+")


class Word(NamedTuple):
    """A word and its offset in the text."""

    text: str
    offset: int


def split(text: str) -> list[Word]:
    """What stands between spaces, whatever quotes there are."""
    return [Word(found.group(), found.start()) for found in _FIRST.finditer(text)]


def words(text: str, escape: str) -> list[Word]:
    """What stands between spaces that are neither in quotes nor escaped. An open quote ends with the text."""
    found: list[Word] = []
    position, size = 0, len(text)
    while position < size:
        if text[position].isspace():
            position += 1
            continue
        start = position
        quote = ""
        parts: list[str] = []
        while position < size:
            plain = _PLAIN.match(text, position)
            if plain:
                parts.append(plain.group())
                position = plain.end()
                continue
            char = text[position]
            if not quote and char.isspace():
                break
            if char == escape and quote != "'":
                if position + 1 == size:
                    position += 1
                    break
                parts.append(text[position : position + 2])
                position += 2
                continue
            if char == quote:
                quote = ""
            elif not quote and char in "'\"":
                quote = char
            parts.append(char)
            position += 1
        if parts:
            found.append(Word("".join(parts), start))
    return found


def flags(text: str) -> tuple[list[Word], int]:
    """The words at the beginning that start with ``--``, without their quotes, and the offset of what follows.

    A word ``--`` ends them. Quotes and backslashes are taken away here, before values are expanded, as BuildKit does.
    """
    found: list[Word] = []
    position, size = 0, len(text)
    while True:
        while position < size and text[position].isspace():
            position += 1
        if not text.startswith("--", position):
            return found, position
        start = position
        quote = ""
        parts: list[str] = []
        while position < size:
            char = text[position]
            if not quote and char.isspace():
                break
            if char == "\\":
                parts.append(text[position + 1 : position + 2])
                position += 2
                continue
            if char == quote:
                quote = ""
            elif not quote and char in "'\"":
                quote = char
            else:
                parts.append(char)
            position += 1
        word = "".join(parts)
        if word == "--":
            return found, min(position, size)
        found.append(Word(word, start))


def heredoc(word: str) -> Heredoc | None:
    """The document that a word announces, without its content; None when it is no ``<<NAME``."""
    found = _HEREDOC.fullmatch(word)
    if not found:
        return None
    written = found[2]
    parts: list[str] = []
    position = 0
    quote = ""
    while position < len(written):
        char = written[position]
        if char == "\\" and quote != "'":
            position += 1
            parts.append(written[position : position + 1])
        elif char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
        else:
            parts.append(char)
        position += 1
    name = "".join(parts)
    if quote or not name or any(char.isspace() for char in name):
        return None
    return Heredoc(name, "", name == written, bool(found[1]))
