"""Small values of the command line: booleans, names, byte counts, octal modes, signals.

Every parser takes the text a user typed and the flag it came from, and raises UsageError with one line that says both.
"""

from __future__ import annotations

from rootless.errors import UsageError
from storage.names import MAX_LENGTH, is_name

NAME_RULE = "names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*"

_TRUE = frozenset(("1", "t", "true", "yes", "y", "on"))
_FALSE = frozenset(("0", "f", "false", "no", "n", "off"))
_DIGITS = frozenset("0123456789")
_UNITS = {"b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4, "p": 1024**5}


def is_digits(text: str) -> bool:
    """Whether the text is one or more ASCII digits (str.isdigit() also takes other scripts' digits)."""
    return bool(text) and _DIGITS.issuperset(text)


def check_name(kind: str, text: str) -> str:
    """The name itself, or UsageError; ``kind`` is ``container``, ``volume``, ..."""
    if not is_name(text):
        raise UsageError(f"cannot name a {kind} {text[:80]!r}: {NAME_RULE}, at most {MAX_LENGTH} characters")
    return text


def parse_bool(text: str, flag: str) -> bool:
    """``true``, ``1``, ``yes``, ``false``, ...: what Go's and Docker's parsers take."""
    lowered = text.lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise UsageError(f"cannot use {text!r} for {flag}: it must be true or false")


def parse_integer(text: str, flag: str, low: int, high: int) -> int:
    """A decimal number between ``low`` and ``high``."""
    digits = text[1:] if text[:1] == "-" else text
    if not is_digits(digits) or len(digits) > 20 or not low <= int(text) <= high:
        raise UsageError(f"cannot use {text[:80]!r} for {flag}: it must be a number from {low} to {high}")
    return int(text)


def parse_bytes(text: str, flag: str) -> int:
    """A byte count such as ``65536``, ``64m``, ``1.5g`` or ``64MiB`` (units of 1024, as Docker's)."""
    lowered = text.strip().lower()
    for ending in ("ib", "b"):
        if lowered.endswith(ending) and lowered[: -len(ending)][-1:] in tuple("kmgtp"):
            lowered = lowered[: -len(ending)]
            break
    unit = 1
    if lowered[-1:] in _UNITS:
        unit = _UNITS[lowered[-1]]
        lowered = lowered[:-1]
    whole, dot, part = lowered.strip().partition(".")
    if not is_digits(whole) or len(whole) > 19 or (dot and not (is_digits(part) and len(part) <= 9)):
        raise UsageError(f"cannot read the size {text[:80]!r} of {flag}", "write it like 64m, 512k or 1g")
    size = int(whole) * unit
    if dot:
        size += int(part) * unit // 10 ** len(part)
    if size >= 1 << 63:
        raise UsageError(f"cannot read the size {text[:80]!r} of {flag}: it is too large")
    return size


def parse_octal(text: str, flag: str, limit: int = 0o7777) -> int:
    """An octal mode such as ``0022`` or ``1777``."""
    if not text or len(text) > 6 or not frozenset("01234567").issuperset(text) or int(text, 8) > limit:
        raise UsageError(f"cannot use {text[:80]!r} for {flag}: it must be an octal number up to {limit:04o}")
    return int(text, 8)


def parse_signal(text: str, flag: str) -> int:
    """The number of a signal given as ``TERM``, ``SIGTERM``, ``15``, ``RTMIN+3`` or ``RTMAX-1``."""
    from rootless.linux.signals import number

    try:
        return number(text)
    except ValueError:
        raise UsageError(f"cannot use {text[:80]!r} for {flag}: no such signal") from None
