"""Points in time as other tools print and read them, without the cost of ``import datetime``."""

from __future__ import annotations

import time

from rootless.errors import UsageError

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_WEEK, _MONTH, _YEAR = 7 * _DAY, 30 * _DAY, 365 * _DAY
ZERO = "0001-01-01T00:00:00Z"
"""How Go writes a time that is not set."""


def rfc3339(nanoseconds: int) -> str:
    """``2024-05-06T07:08:09.123456789+02:00`` in the local zone; 0 is the time that is not set."""
    if not nanoseconds:
        return ZERO
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    local = time.localtime(seconds)
    offset = local.tm_gmtoff
    sign, offset = "-" if offset < 0 else "+", abs(offset)
    zone = f"{sign}{offset // 3600:02d}:{offset // 60 % 60:02d}" if offset else "Z"
    tail = f".{fraction:09d}".rstrip("0") if fraction else ""
    return time.strftime("%Y-%m-%dT%H:%M:%S", local) + tail + zone


def parse_rfc3339(text: str) -> int:
    """Nanoseconds since the epoch from RFC 3339; ValueError when it is something else."""
    date, mark, rest = text.strip().upper().partition("T")
    if not mark or len(rest) < 9 or len(date) != 10 or len(text) > 64:
        raise ValueError(text[:64])
    clock, rest = rest[:8], rest[8:]
    fraction = ""
    if rest[:1] == ".":
        end = 1
        while end < len(rest) and rest[end].isdigit():
            end += 1
        fraction, rest = rest[1:end], rest[end:]
    offset = 0
    if rest != "Z":
        sign = {"+": 1, "-": -1}[rest[0]] if rest[:1] in ("+", "-") and len(rest) == 6 and rest[3] == ":" else 0
        if not sign:
            raise ValueError(text[:64])
        offset = sign * (int(rest[1:3]) * 3600 + int(rest[4:6]) * 60)
    year, month, day = (int(part) for part in date.split("-"))
    hour, minute, second = (int(part) for part in clock.split(":"))
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second <= 60):
        raise ValueError(text[:64])
    days = _days_from_civil(year, month, day)
    total = days * _DAY + hour * 3600 + minute * 60 + second - offset
    return total * 1_000_000_000 + int((fraction + "000000000")[:9])


def _days_from_civil(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 in the Gregorian calendar, counted from March so that a leap day is the last of its year."""
    year -= month <= 2
    shifted = (month + 9) % 12
    return year * 365 + year // 4 - year // 100 + year // 400 + (153 * shifted + 2) // 5 + day - 1 - 719468


def parse_moment(text: str, flag: str, *, forward: bool = False) -> int:
    """Nanoseconds since the epoch from RFC 3339, a date, Unix seconds, or a duration before now (``10m``).

    ``forward``: a duration is one after now. A negative duration goes the other way.
    """
    whole, point, fraction = text.partition(".")
    digits = whole[1:] if whole[:1] == "-" else whole
    try:
        if digits.isascii() and digits.isdigit() and len(digits) <= 12 and (not point or fraction.isdigit()):
            nanoseconds = int((fraction + "000000000")[:9])
            return int(whole) * 1_000_000_000 + (-nanoseconds if whole[0] == "-" else nanoseconds)
        if "T" in text.upper():
            return parse_rfc3339(text if text[-1:] in "Zz" or text[-6:-5] in ("+", "-") else text + "Z")
        if text[4:5] == text[7:8] == "-" and text[:4].isdigit():
            return parse_rfc3339(f"{text[:10]}T00:00:00{text[10:] or 'Z'}")
    except ValueError:
        raise UsageError(f"cannot read the time {text[:64]!r} of {flag}") from None
    from rootless.durations import parse_duration

    back = text[:1] == "-"
    length = int(parse_duration(text[1:] if text[:1] in ("-", "+") else text, flag) * 1e9)
    return time.time_ns() + (length if forward != back else -length)


def human_duration(seconds: float) -> str:
    """``5 seconds``, ``About a minute``, ``3 weeks``: Docker's and podman's words for the length of a time."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < _MINUTE:
        return f"{whole} seconds"
    if whole < 2 * _MINUTE:
        return "About a minute"
    if whole < _HOUR:
        return f"{whole // _MINUTE} minutes"
    hours = (whole + _HOUR // 2) // _HOUR
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    for limit, unit, name in ((2 * _WEEK, _DAY, "days"), (2 * _MONTH, _WEEK, "weeks"), (2 * _YEAR, _MONTH, "months")):
        if hours * _HOUR < limit:
            return f"{hours * _HOUR // unit} {name}"
    return f"{hours * _HOUR // _YEAR} years"
