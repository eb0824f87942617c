"""``--detach-keys``: the keys that take the caller's terminal away from a container which goes on.

The words are podman's and Docker's: single characters and ``ctrl-X``, separated by commas; nothing at all: no keys.
"""

from __future__ import annotations

from rootless.errors import UsageError

DEFAULT = "ctrl-p,ctrl-q"
"""podman's and Docker's."""

_CONTROL = "@abcdefghijklmnopqrstuvwxyz[\\]^_"
"""The keys whose code with Ctrl is their place in this row (ascii(7))."""


def parse(text: str) -> bytes:
    """What a terminal sends for the keys ``text``; empty for none. Raises ``UsageError``."""
    return bytes(_code(key, text) for key in text.split(",")) if text else b""


def _code(key: str, text: str) -> int:
    if len(key) == 1 and " " < key < "\x7f":
        return ord(key)
    prefix, name = key[:5].lower(), key[5:].lower()
    if prefix == "ctrl-" and name == "?":
        return 127
    if prefix == "ctrl-" and len(name) == 1 and name in _CONTROL:
        return _CONTROL.index(name)
    raise UsageError(
        f"cannot use {text[:40]!r} for --detach-keys: {key[:20]!r} is no key",
        "write single characters and ctrl-X, with X one of a-z @ [ \\ ] ^ _, separated by commas; '' for no keys",
    )


class Scanner:
    """Looks for ``keys`` in what is typed, whatever the pieces in which it comes.

    The beginning of the keys is held back until it is known whether the rest follows; ``held`` is what is held now.
    """

    __slots__ = ("_keys", "held")

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self.held = b""

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """(what to pass on, whether the keys were typed); what follows the keys is dropped."""
        keys = self._keys
        if not keys:
            return data, False
        text = self.held + data
        before, found, _ = text.partition(keys)
        if found:
            self.held = b""
            return before, True
        length = min(len(keys) - 1, len(text))
        while length and not text.endswith(keys[:length]):
            length -= 1
        self.held = keys[:length]
        return text[: len(text) - length], False
