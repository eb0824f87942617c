"""Parsers of the response headers that steer a pull: challenges, ranges and waiting times.

All of them are pure, take untrusted text, run in linear time and answer None (or an empty list) for text that is
not well-formed; a malformed header is the server's fault and is treated as absent.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from email.utils import mktime_tz, parsedate_tz

MAX_HEADER = 64 * 1024
MAX_CHALLENGES = 16

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


@dataclass(frozen=True)
class Challenge:
    """One challenge of ``WWW-Authenticate`` (RFC 9110 §11.6.1); scheme and parameter names in lower case."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ContentRange:
    """``Content-Range: bytes first-last/total`` (RFC 9110 §14.4); ``total`` is None for ``*``."""

    first: int
    last: int
    total: int | None


class _Scanner:
    """A cursor over a header's text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def done(self) -> bool:
        return self.at >= len(self.text)

    def peek(self) -> str:
        return self.text[self.at] if self.at < len(self.text) else ""

    def skip(self, characters: str) -> None:
        while not self.done() and self.text[self.at] in characters:
            self.at += 1

    def token(self) -> str:
        start = self.at
        while not self.done() and self.text[self.at] in _TOKEN:
            self.at += 1
        return self.text[start : self.at]

    def quoted(self) -> str | None:
        """Read a quoted-string at its opening quote; None if it never closes."""
        self.at += 1
        out: list[str] = []
        while not self.done():
            character = self.text[self.at]
            self.at += 1
            if character == '"':
                return "".join(out)
            if character == "\\":
                if self.done():
                    return None
                character = self.text[self.at]
                self.at += 1
            out.append(character)
        return None


def parse_challenges(text: str) -> list[Challenge]:
    """Parse a ``WWW-Authenticate`` header, several challenges joined by commas included.

    A parameter that appears twice in one challenge makes that challenge void: two readers could disagree about it.
    """
    if len(text) > MAX_HEADER:
        return []
    scan = _Scanner(text)
    challenges: list[Challenge] = []
    while len(challenges) < MAX_CHALLENGES:
        scan.skip(" \t,")
        if scan.done():
            break
        scheme = scan.token()
        if not scheme:
            return challenges
        parameters = _parse_parameters(scan)
        if parameters is None:
            return challenges
        challenges.append(Challenge(scheme.lower(), parameters))
    return challenges


def _parse_parameters(scan: _Scanner) -> dict[str, str] | None:
    """Read ``name=value`` pairs up to the next scheme; None when the text is malformed or names one twice."""
    parameters: dict[str, str] = {}
    while True:
        scan.skip(" \t,")
        start = scan.at
        name = scan.token().lower()
        scan.skip(" \t")
        if not name or scan.peek() != "=":
            scan.at = start  # the next challenge's scheme, or the end
            return parameters if name or scan.done() else None
        scan.at += 1
        scan.skip(" \t")
        value = scan.quoted() if scan.peek() == '"' else scan.token()
        if value is None or name in parameters:
            return None
        parameters[name] = value


def parse_content_range(text: str) -> ContentRange | None:
    """Parse ``bytes 5-9/10``; None for other units, unsatisfied ranges and impossible numbers."""
    unit, _, rest = text.strip().partition(" ")
    span, slash, total_text = rest.strip().partition("/")
    first_text, dash, last_text = span.partition("-")
    if unit.lower() != "bytes" or not slash or not dash:
        return None
    first, last = _decimal(first_text), _decimal(last_text)
    total = None if total_text == "*" else _decimal(total_text)
    if first is None or last is None or last < first or (total_text != "*" and total is None):
        return None
    if total is not None and last >= total:
        return None
    return ContentRange(first, last, total)


def _decimal(text: str) -> int | None:
    """Read an ASCII decimal of at most 19 digits (a 63-bit size)."""
    return int(text) if 0 < len(text) <= 19 and text.isascii() and text.isdigit() else None


def parse_content_length(text: str | None) -> int | None:
    """Read ``Content-Length``; None when absent or not a plain decimal."""
    return None if text is None else _decimal(text.strip())


def parse_retry_after(text: str | None, now: float | None = None) -> float | None:
    """Seconds to wait by ``Retry-After``, which is a count of seconds or an HTTP date (RFC 9110 §10.2.3)."""
    if not text or len(text) > 64:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        parsed = parsedate_tz(text)
        if parsed is None:
            return None
        return max(0.0, mktime_tz(parsed) - (time.time() if now is None else now))
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
