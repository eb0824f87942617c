"""ARGs: which a stage has declared, where their values come from, and which need no declaration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless.engine.images import platform as platforms

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PROXIES = tuple(
    spelling for name in ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
    for spelling in (name, name.upper())
)  # fmt: skip
"""Arguments that every RUN sees when they are given, and that are in no key and no history."""


def of_platforms(platform: str) -> dict[str, str]:
    """The arguments that tell the platform that is built for, and that of this machine."""
    found = {}
    for prefix, wanted in (("TARGET", platforms.wanted({"platform": platform})), ("BUILD", platforms.wanted({}))):
        found[f"{prefix}PLATFORM"] = str(wanted)
        found[f"{prefix}OS"] = wanted.os
        found[f"{prefix}ARCH"] = wanted.architecture
        found[f"{prefix}VARIANT"] = wanted.variant
    return found


class Arguments:
    """The ARGs of a stage, or, before the first FROM, of the file.

    ``given`` are those of the command line; ``inherited`` are values for a declaration that has none of its own: those
    of the file's own ARGs, and those that tell the platform.
    """

    def __init__(self, given: Mapping[str, str], inherited: Mapping[str, str]) -> None:
        self._given = given
        self._inherited = inherited
        self.declared: dict[str, str] = {}
        self.names: set[str] = set()

    def declare(self, pairs: Iterable[tuple[str, str | None]]) -> None:
        """ARG: a name gets the value of the command line, else its default, else the inherited one, if any."""
        for name, default in pairs:
            self.names.add(name)
            value = self._given.get(name)
            if value is None:
                value = default if default is not None else self._inherited.get(name)
            if value is not None:
                self.declared[name] = value

    def for_run(self) -> dict[str, str]:
        """What a command sees, proxies included."""
        return {**{name: self._given[name] for name in PROXIES if name in self._given}, **self.declared}

    def for_key(self) -> dict[str, str]:
        """What a command sees, without what changes nothing of its result."""
        return {name: value for name, value in self.declared.items() if name not in PROXIES}
