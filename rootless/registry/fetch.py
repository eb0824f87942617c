"""Fetching a file that is no part of a registry: the source of an ADD, a build context.

The same limits and rules as for registries hold: an answer must come at a pace, at most five redirects are followed,
none from https to http, and no credentials, cookies or compressed bodies are taken.
"""

from __future__ import annotations

import hashlib
import os
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from rootless.errors import RootlessError
from rootless.registry.errors import RegistryError, TransientError
from rootless.registry.http import Answer, Http
from rootless.registry.options import ConnectionOptions
from rootless.registry.retry import Backoff


class Fetched(NamedTuple):
    """``digest`` is ``sha256:…`` of the file; ``time``: Last-Modified in seconds, 0 where the server does not say."""

    digest: str
    time: int


def fetch(url: str, path: str, options: ConnectionOptions, limit: int) -> Fetched:
    """Write what ``url`` gives to the new file ``path``, of at most ``limit`` bytes. Raises RootlessError, OSError."""
    http = Http(insecure=options.tls_verify is False, directories=[], limits=options.limits)
    backoff = Backoff(options.limits, options.say)
    while True:
        try:
            try:
                return _once(http, url, path, limit)
            except TransientError as error:
                backoff.failed(error)
        except RegistryError as error:
            text = error.message.replace("the registry's answer", "the address").replace(" registry ", " ")
            raise RootlessError(f"cannot fetch {_public(url)}: {text.removeprefix('cannot use the answer of ')}",
                                error.hint.replace("registry", "server")) from None  # fmt: skip


def _once(http: Http, url: str, path: str, limit: int) -> Fetched:
    answer = http.follow("GET", url, {}, None)
    try:
        answer.raise_if_transient()
        if answer.status != 200:
            raise RegistryError(f"the server answered {answer.status}")
        if (answer.length or 0) > limit:
            raise RegistryError(f"it has more than {limit} bytes")
        digest, size = hashlib.sha256(), 0
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            for chunk in answer.chunks():
                size += len(chunk)
                if size > limit:
                    raise RegistryError(f"it has more than {limit} bytes")
                digest.update(chunk)
                file.write(chunk)
        if answer.length is not None and size < answer.length:
            raise TransientError(f"connection to {answer.origin.place} was cut")
        return Fetched(f"sha256:{digest.hexdigest()}", _time(answer))
    finally:
        answer.close()


def _time(answer: Answer) -> int:
    try:
        return max(0, int(parsedate_to_datetime(answer.headers.get("Last-Modified", "")).timestamp()))
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0


def _public(url: str) -> str:
    """A URL as an error shows it: without the query, which may have a token in it."""
    shown = url.partition("?")[0].partition("#")[0][:200]
    return "".join(char if char.isprintable() else "?" for char in shown)
