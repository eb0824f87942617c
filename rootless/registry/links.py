"""Addresses that a registry names for the next request: where an upload goes on, and the next page of a list.

They may lead anywhere, and the next request carries credentials, and a layer. So they are followed on the registry's
own host alone, and on the port that it was reached by: what is kept of them is the path.
"""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from rootless.registry.errors import RegistryError
from rootless.registry.realm import Origin, joined, origin

MAX_LINK = 16 * 1024
_DEFAULT_PORTS = {"http": 80, "https": 443}


def own_path(home: Origin, page: str, link: str, doing: str) -> str:
    """Path and query of ``link``, which the answer for the path ``page`` of the registry ``home`` named.

    ``doing`` is what cannot be done otherwise, for the message. A registry behind a proxy may take itself for one that
    is reached by http, or by the usual port; such an address is its own too. Raises RegistryError.
    """
    if not link or len(link) > MAX_LINK:
        raise RegistryError(f"cannot {doing}: the registry named {'too long an' if link else 'no'} address to go on at")
    target = joined(f"{home.scheme}://{home.place}{page}", link)
    there = origin(target)
    usual = there.port == _DEFAULT_PORTS[there.scheme]
    if there.host != home.host or (there.port != home.port and not usual):
        raise RegistryError(
            f"cannot {doing}: the registry sent us to another host ({there.place})",
            "nothing was sent there; a registry has to be reached by one address for all of its answers",
        )
    parts = urlsplit(target)
    # What no URL may hold is encoded, or else the library would do so in a way of its own.
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
    return f"{path}?{query}" if query else path


def with_parameter(path: str, name: str, value: str) -> str:
    """``path`` with one more parameter."""
    return f"{path}{'&' if '?' in path else '?'}{name}={quote(value, safe=':/')}"


def next_link(header: str) -> str:
    """The target of the first link with ``rel="next"`` of a ``Link`` header (RFC 8288); '' if there is none.

    Takes untrusted text; what is not well-formed ends the reading.
    """
    text = header[:MAX_LINK]
    at = 0
    while True:
        start = text.find("<", at)
        end = text.find(">", start)
        if start < 0 or end < 0 or text[at:start].strip(" \t,"):
            return ""
        target, at = text[start + 1 : end], end + 1
        parameters, at = _parameters(text, at)
        if "next" in parameters.get("rel", "").lower().split():
            return target.strip()


def _parameters(text: str, at: int) -> tuple[dict[str, str], int]:
    """The parameters of a link, and where the next one begins; the first of two of one name counts."""
    found: dict[str, str] = {}
    while True:
        while at < len(text) and text[at] in " \t;":
            at += 1
        if at >= len(text) or text[at] == ",":
            return found, at + 1
        start = at
        while at < len(text) and text[at] not in "=;,":
            at += 1
        name = text[start:at].strip().lower()
        value = ""
        if at < len(text) and text[at] == "=":
            value, at = _value(text, at + 1)
        found.setdefault(name, value)


def _value(text: str, at: int) -> tuple[str, int]:
    """A token, or a quoted string, and where it ends."""
    if text[at : at + 1] != '"':
        start = at
        while at < len(text) and text[at] not in ";,":
            at += 1
        return text[start:at].strip(), at
    out: list[str] = []
    at += 1
    while at < len(text) and text[at] != '"':
        at += text[at] == "\\"
        out.append(text[at : at + 1])
        at += 1
    return "".join(out), at + 1


def parse_received(header: str) -> int | None:
    """How many bytes an upload has by its ``Range: 0-LAST`` (distribution-spec, "Resuming"); None if it does not say.

    ``0-0`` says nothing: there are registries that write it for no bytes, where others mean one.
    """
    first, dash, last = header.strip().removeprefix("bytes=").partition("-")
    known = dash and first == "0" and last.isascii() and last.isdigit() and len(last) <= 19
    return int(last) + 1 if known and int(last) else None
