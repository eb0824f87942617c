"""What a registry tells of what it holds: repositories that fit a word, and the tags of one.

Both lists may have pages, each naming the next in a ``Link`` header, which is followed on the registry's host alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rootless.registry.client import Registry
from rootless.registry.errors import RegistryError
from rootless.registry.links import next_link, own_path, with_parameter
from storage import jsonfast, oci
from storage.errors import StorageError

MAX_PAGES = 1000
_CATALOG_SCOPE = "registry:catalog:*"
_LONGEST = 1024  # characters of a name or tag; what is longer is none
_LONGEST_DESCRIPTION = 4096


@dataclass(frozen=True)
class Found:
    """A repository as the search of a registry shows it; a catalog knows the name alone."""

    name: str
    description: str = ""
    stars: int = 0
    official: bool = False
    automated: bool = False


class Catalog(Registry):
    """A conversation with one endpoint about what is there."""

    def search(self, term: str, limit: int) -> list[Found]:
        """At most ``limit`` repositories that fit ``term`` ('': any). Raises RegistryError.

        By ``/v1/search`` where the registry has it, else those of its catalog whose name holds the term.
        """
        self.connect()
        return (self._search(term, limit) if term else None) or self._matching(term, limit)

    def _search(self, term: str, limit: int) -> list[Found] | None:
        """What the old search finds; None if the registry has none. It is asked without credentials."""
        path = with_parameter(with_parameter("/v1/search", "q", term), "n", str(limit))
        try:
            answer = self._http.follow("GET", self._base + path, {}, None)
            if answer.status != 200:
                answer.close()
                return None
            document = jsonfast.loads_strict(answer.read(oci.MAX_DOCUMENT))
        except (RegistryError, StorageError):
            return None
        rows = document.get("results") if isinstance(document, dict) else None
        if not isinstance(rows, list):
            return None
        return [found for row in rows if (found := _found(row)) is not None][:limit]

    def _matching(self, term: str, limit: int) -> list[Found]:
        first, others = [], []
        for name in self._names("/v2/_catalog", "repositories", _CATALOG_SCOPE):
            if name == term:
                first.append(Found(name))
            elif term in name:
                others.append(Found(name))
            if len(first) + len(others) >= limit:
                break
        return first + others

    def tags(self, limit: int) -> list[str]:
        """At most ``limit`` tags of the endpoint's repository. Raises RegistryError."""
        found = []
        for tag in self._names(f"/v2/{self.endpoint.repository}/tags/list", "tags", self._pull_scope):
            found.append(tag)
            if len(found) >= limit:
                break
        return found

    def _names(self, path: str, key: str, scope: str) -> Iterator[str]:
        """The strings in the list ``key`` of each page, from ``path`` on."""
        seen: set[str] = set()
        while path and path not in seen and len(seen) < MAX_PAGES:
            seen.add(path)
            page, path = self._retrying(lambda path=path: self._page(path, key, scope))  # type: ignore[misc]
            yield from page

    def _page(self, path: str, key: str, scope: str) -> tuple[list[str], str]:
        """The strings of one page, and where the next is ('': this is the last)."""
        answer = self._request("GET", path, {}, scope)
        if answer.status != 200:
            self._refuse(answer, key)
        link = next_link(answer.headers.get("Link", ""))
        here = answer.url.partition("://")[2]
        on_own_host = answer.origin == self.origin
        try:
            document = jsonfast.loads_strict(answer.read(oci.MAX_DOCUMENT))
        except StorageError:
            document = None
        rows = document.get(key) if isinstance(document, dict) else None
        if rows is None and isinstance(document, dict):
            rows = []  # as Go writes an empty list
        if not isinstance(rows, list):
            raise RegistryError(f"cannot list {key} of {self.endpoint.host}: its answer is not a list of {key}")
        following = ""
        if link and on_own_host:
            following = own_path(self.origin, f"/{here.partition('/')[2]}", link, f"list {key} of {self.endpoint.host}")
        return [row for row in rows if isinstance(row, str) and 0 < len(row) <= _LONGEST], following

    def _refuse(self, answer: Any, key: str) -> None:
        if key == "tags":
            self._expect(answer, 200, "its tags")
        answer.close()
        hint = "" if self._connected().has_credentials else f"log in with 'rootless login {self.endpoint.host}'"
        if answer.status in (401, 403):
            raise RegistryError(f"cannot search {self.endpoint.host}: access denied", hint)
        raise RegistryError(
            f"cannot search {self.endpoint.host}: it answered {answer.status}", "not every registry can be searched"
        )


def _found(row: object) -> Found | None:
    """A result of the search; None for one that is not of the shape."""
    if not isinstance(row, dict):
        return None
    name, description, stars = row.get("name"), row.get("description") or "", row.get("star_count", 0)
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST or not isinstance(description, str):
        return None
    stars = stars if isinstance(stars, int) and abs(stars) < 1 << 31 else 0
    return Found(
        name, description[:_LONGEST_DESCRIPTION], stars, row.get("is_official") is True, row.get("is_automated") is True
    )


