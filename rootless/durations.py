"""Lengths of time as people write them, on the command line and in Containerfiles."""

from __future__ import annotations

from rootless.errors import UsageError

_DIGITS = frozenset("0123456789.")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_LONGEST = 20  # digits: the sum of all parts stays a finite number


def parse_duration(text: str, flag: str) -> float:
    """Seconds from Go's duration form (``1h30m``, ``1.5s``, ``300ms``) or from a plain number of seconds.

    Raises UsageError, with ``flag`` for what it was given to.
    """
    total = 0.0
    rest = text
    if _is_number(rest):
        return float(rest)
    while rest:
        cut = 0
        while cut < len(rest) and rest[cut] in _DIGITS:
            cut += 1
        end = cut
        while end < len(rest) and rest[end] not in _DIGITS:
            end += 1
        number, unit = rest[:cut], rest[cut:end]
        if unit not in _SECONDS or not _is_number(number):
            break
        total += float(number) * _SECONDS[unit]
        rest = rest[end:]
        if not rest:
            return total
    raise UsageError(f"cannot read the duration {text[:80]!r} of {flag}", "write it like 90s, 5m or 1h30m")


def _is_number(text: str) -> bool:
    digits = text.replace(".", "", 1)
    return digits.isascii() and digits.isdigit() and len(digits) <= _LONGEST
