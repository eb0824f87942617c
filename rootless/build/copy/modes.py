"""``--chmod``: octal as chmod(1) reads it, or symbolic (``u=rwX,go-w``) as BuildKit does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless.errors import RootlessError

if TYPE_CHECKING:
    from collections.abc import Callable

Change = "Callable[[int, bool], int]"
_WHO = {"u": 0o4700, "g": 0o2070, "o": 0o1007, "a": 0o7777}
_SHIFTS = {"u": 6, "g": 3, "o": 0}
_BITS = {"r": 0o444, "w": 0o222, "x": 0o111, "s": 0o6000, "t": 0o1000}


def parse(text: str) -> Callable[[int, bool], int]:
    """A function of (mode, is it a directory) that gives the new mode. Raises RootlessError."""
    if text.isascii() and text.isdigit():
        if len(text) > 5 or text.strip("01234567") or int(text, 8) > 0o7777:
            raise _wrong(text)
        mode = int(text, 8)
        return lambda _mode, _is_directory: mode
    clauses = [_clause(clause, text) for clause in text.split(",")]

    def change(mode: int, is_directory: bool) -> int:
        for clause in clauses:
            mode = clause(mode, is_directory)
        return mode

    return change


def _wrong(text: str) -> RootlessError:
    return RootlessError(f"--chmod={text[:40]!r} is no mode", "write for example 644, 0755 or u=rwX,go=rX")


def _clause(clause: str, text: str) -> Callable[[int, bool], int]:
    """One or more ``[ugoa…][-+=]perms…``."""
    at = 0
    while at < len(clause) and clause[at] in _WHO:
        at += 1
    who = clause[:at] or "a"
    mask = 0
    for each in who:
        mask |= _WHO[each]
    actions: list[tuple[str, str]] = []
    while at < len(clause):
        operator = clause[at]
        if operator not in "+-=":
            raise _wrong(text)
        start = at = at + 1
        while at < len(clause) and clause[at] not in "+-=":
            at += 1
        letters = clause[start:at]
        copied = len(letters) == 1 and letters in _SHIFTS
        if not copied and letters.strip("rwxXst"):
            raise _wrong(text)
        actions.append((operator, letters))
    if not actions:
        raise _wrong(text)

    def change(mode: int, is_directory: bool) -> int:
        for operator, letters in actions:
            bits = _bits(letters, mode, is_directory) & mask
            if operator == "+":
                mode |= bits
            elif operator == "-":
                mode &= ~bits
            else:
                mode = mode & ~mask | bits
        return mode

    return change


def _bits(letters: str, mode: int, is_directory: bool) -> int:
    if letters in _SHIFTS:
        return (mode >> _SHIFTS[letters] & 7) * 0o111
    bits = 0
    for letter in letters:
        if letter == "X":
            bits |= 0o111 if is_directory or mode & 0o111 else 0
        else:
            bits |= _BITS[letter]
    return bits
