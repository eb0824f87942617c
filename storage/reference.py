"""Image references: ``[registry/]repository[:tag][@digest]`` (grammar of distribution/reference, docker.io rules).

Parsing is by hand, in one pass over a text of bounded length: no regular expressions, nothing that can be slow.
"""

from __future__ import annotations

from storage.errors import StorageError, shown
from storage.oci import is_digest

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
MAX_REGISTRY = 255
MAX_REPOSITORY = 255
MAX_TAG = 128
MAX_LENGTH = 1024
"""Longer texts are refused unread: registry, repository, tag and a sha512 digest fit in it."""

_LOWER = "abcdefghijklmnopqrstuvwxyz0123456789"
_ALNUM = _LOWER + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_TAG = _ALNUM + "_.-"
_HEX = "0123456789abcdefABCDEF"


class InvalidReferenceError(StorageError):
    """The text is not an image reference."""


class Reference:
    """A parsed reference, with docker.io's short forms written out.

    ``tag`` is None only where there is a digest: a reference with neither means ``latest``.
    """

    __slots__ = ("digest", "registry", "repository", "tag")

    def __init__(self, registry: str, repository: str, tag: str | None, digest: str | None) -> None:
        self.registry = registry
        self.repository = repository
        self.tag = tag
        self.digest = digest

    def name(self) -> str:
        """Registry and repository: ``docker.io/library/alpine``."""
        return f"{self.registry}/{self.repository}"

    def tagged(self) -> str:
        """Name and tag without the digest: ``docker.io/library/alpine:latest``; the name alone if there is no tag."""
        return f"{self.name()}:{self.tag}" if self.tag is not None else self.name()

    def __str__(self) -> str:
        return f"{self.tagged()}@{self.digest}" if self.digest is not None else self.tagged()

    def __repr__(self) -> str:
        return f"Reference({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


def _only(text: str, characters: str) -> bool:
    """Is ``text`` not empty and made of ``characters`` alone?"""
    return bool(text) and not text.strip(characters)


def _is_component(text: str) -> bool:
    """A repository's path component: runs of [a-z0-9] joined by ``.``, ``_``, ``__`` or any number of ``-``."""
    if _only(text, _LOWER):
        return True
    if not text or text[0] not in _LOWER or text[-1] not in _LOWER:
        return False
    separator = ""
    for character in text:
        if character in _LOWER:
            if separator and separator not in (".", "_", "__") and separator.strip("-"):
                return False
            separator = ""
        elif character in "._-":
            separator += character
        else:
            return False
    return True


def _is_domain(host: str) -> bool:
    """A DNS name, an IPv4 address or an IPv6 address in brackets."""
    if host.startswith("["):
        inner = host[1:-1]
        return host.endswith("]") and ":" in inner and _only(inner, _HEX + ":.")
    return all(_only(part, _ALNUM + "-") and part[0] != "-" and part[-1] != "-" for part in host.split("."))


def _is_registry(text: str) -> bool:
    if len(text) > MAX_REGISTRY:
        return False
    colon = text.rfind(":")
    if colon > text.rfind("]"):
        port = text[colon + 1:]
        if not _only(port, "0123456789") or len(port) > 5 or int(port) > 65535:
            return False
        text = text[:colon]
    return _is_domain(text)


def is_tag(text: str) -> bool:
    """Is ``text`` a tag: a word character, then up to 127 of word characters, ``.`` and ``-``?"""
    return len(text) <= MAX_TAG and _only(text, _TAG) and text[0] not in ".-"


def _has_registry(first: str) -> bool:
    """Does the first component of a name say a registry (and not the start of a repository on docker.io)?"""
    return "." in first or ":" in first or first == "localhost" or first != first.lower()


def _refuse(text: str, why: str) -> InvalidReferenceError:
    message = f"cannot use {shown(text)} as an image name: invalid reference format: {why}"
    return InvalidReferenceError(message, "write it as [REGISTRY[:PORT]/]NAME[:TAG][@DIGEST], the NAME in lower case")


def is_short(text: str) -> bool:
    """Does ``text`` leave out the registry (``alpine``, ``library/alpine:3``)? Whether it is valid is not looked at."""
    first, slash, _ = text.partition("/")
    return not slash or not _has_registry(first)


def split(text: str) -> tuple[str, str | None, str | None]:
    """Split a reference into name, tag and digest and check the last two; the name is not looked at.

    Raises ``StorageError``.
    """
    if len(text) > MAX_LENGTH:
        raise _refuse(text, f"longer than {MAX_LENGTH} characters")
    name, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise _refuse(text, "what follows @ is not a digest")
    tag: str | None = None
    colon = name.rfind(":")
    if colon > name.rfind("/"):
        name, tag = name[:colon], name[colon + 1:]
        if not is_tag(tag):
            raise _refuse(text, "what follows : is not a tag")
    return name, tag, digest if at else None


def parse(text: str) -> Reference:
    """Return the reference that ``text`` names; short names are taken as docker.io's.

    Raises ``StorageError`` for anything outside the grammar, and for 64 hexadecimal digits (they are an image id).
    """
    name, tag, digest = split(text)
    if len(name) == 64 and _only(name, "0123456789abcdef"):
        raise _refuse(text, "64 hexadecimal digits are an image id")
    registry, slash, repository = name.partition("/")
    if not slash or not _has_registry(registry):
        registry, repository = DEFAULT_REGISTRY, name
    if registry == "index.docker.io":
        registry = DEFAULT_REGISTRY
    if not _is_registry(registry):
        raise _refuse(text, "the registry is not a host name")
    if repository != repository.lower():
        raise _refuse(text, "repository name must be lowercase")
    if len(repository) > MAX_REPOSITORY:
        raise _refuse(text, f"the repository is longer than {MAX_REPOSITORY} characters")
    if not all(_is_component(part) for part in repository.split("/")):
        raise _refuse(text, "the repository holds an empty part or a character that is not allowed")
    if registry == DEFAULT_REGISTRY and "/" not in repository:
        repository = f"library/{repository}"
    if tag is None and digest is None:
        tag = DEFAULT_TAG
    return Reference(registry, repository, tag, digest)
