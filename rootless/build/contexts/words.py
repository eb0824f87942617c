"""What a word for a build context or a source of ADD is: a path, a URL, or a repository of git."""

from __future__ import annotations

import re
from typing import NamedTuple

from rootless.errors import RootlessError

_HTTP = re.compile(r"https?://", re.IGNORECASE)
_PLAIN_GIT = re.compile(r"(?:git|ssh|git\+ssh)://", re.IGNORECASE)
_GIT_SUFFIX = re.compile(r"https?://[^?#]+\.git/?(?:#.*)?", re.IGNORECASE | re.DOTALL)
_SCP = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*@)(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*):(?!//)(?P<path>.+)", re.DOTALL)
_SHORTENED = ("github.com/", "gitlab.com/", "bitbucket.org/")
_LONGEST = 8192


class Repository(NamedTuple):
    """``reference``: a branch, tag or commit ('': what the repository calls HEAD); ``subdirectory``: '' for all."""

    url: str
    reference: str
    subdirectory: str


def is_remote(word: str) -> bool:
    """Whether ADD fetches a source rather than looks for it in the context. ``github.com/…`` is a path there."""
    return not word.startswith(_SHORTENED) and (is_url(word) or is_repository(word))


def is_url(word: str) -> bool:
    """Whether a word is an http(s) URL of something that is no repository."""
    return bool(_HTTP.match(word)) and not is_repository(word)


def is_repository(word: str) -> bool:
    """Whether a word names a repository of git: ``git://…``, ``ssh://…``, ``USER@HOST:PATH``, ``https://….git[#…]``."""
    if _HTTP.match(word):
        return bool(_GIT_SUFFIX.fullmatch(word))
    plain = word.partition("#")[0]
    return bool(_PLAIN_GIT.match(word) or _SCP.fullmatch(plain) or plain.startswith(_SHORTENED))


def repository(word: str) -> Repository:
    """Read ``URL[#REFERENCE[:SUBDIRECTORY]]``. Raises RootlessError for what no git should be given."""
    if len(word) > _LONGEST or any(char < " " or char == "\x7f" for char in word):
        raise RootlessError("cannot use the address of a repository: it is too long, or has control characters")
    url, _, fragment = word.partition("#")
    reference, _, subdirectory = fragment.partition(":")
    if url.startswith(_SHORTENED):
        url = f"https://{url}"
    if url.startswith("git+"):
        url = url[4:]
    if reference.startswith("-") or any(char in reference for char in " ~^?*[\\") or ".." in reference:
        hint = "write #BRANCH, #TAG or #COMMIT"
        raise RootlessError(f"cannot use the reference {reference[:80]!r} of a repository", hint)
    host = re.sub(r"^[A-Za-z+]+://", "", url).rpartition("@")[2] if "://" in url else url.rpartition("@")[2]
    if host.startswith("-") or url.startswith("-"):
        raise RootlessError(f"cannot use the repository {url[:80]!r}: its host begins with a dash")
    names = [name for name in subdirectory.split("/") if name not in ("", ".")]
    if ".." in names:
        raise RootlessError(
            f"cannot use the directory {subdirectory[:80]!r} of a repository: it leads out of it", "leave '..' out"
        )
    return Repository(url, reference, "/".join(names))
