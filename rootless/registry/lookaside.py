"""Signatures beside a registry, as plain files that a web server gives out (containers-registries.d(5))."""

from __future__ import annotations

from rootless.registry.errors import RegistryError
from rootless.registry.http import Http
from rootless.registry.options import ConnectionOptions
from rootless.registry.retry import retrying


def read(address: str, limit: int, options: ConnectionOptions) -> bytes | None:
    """The file at an ``http:`` or ``https:`` address; None if there is none. Certificates are always checked.

    Raises RegistryError: it cannot be reached, or the file has more than ``limit`` bytes.
    """
    http = Http(insecure=False, directories=[], limits=options.limits)

    def attempt() -> bytes | None:
        answer = http.follow("GET", address, {}, None)
        try:
            answer.raise_if_transient()
            if answer.status == 404:
                return None
            if answer.status != 200:
                raise RegistryError(f"cannot read {address}: it answered {answer.status}")
            return answer.read(limit)
        finally:
            answer.close()

    return retrying(attempt, options.limits, options.say)
