"""How fast, and how much, a server must send: the reader below the HTTP library.

A socket's own timeout begins anew with every byte, so a server that sends one each 29 seconds is waited for without
end. Here every ``idle_seconds * idle_rate`` bytes, of headers and of bodies alike, must come within ``idle_seconds`` of
waiting for them; time in which nobody reads does not count. Headers end after 256 KiB, those of interim answers
(100 Continue) included, of which the library would read any number.
"""

from __future__ import annotations

import functools
import http.client
import io
import time
from collections.abc import Callable
from typing import Any

import urllib3

from rootless.registry.retry import Limits

MAX_HEADERS = 256 * 1024
_SHORTEST = 0.001  # seconds; a timeout of 0 would mean not to wait at all


class _Paced(io.RawIOBase):
    """The bytes of one answer, as they come from ``sock``. Raises TimeoutError for a server that is too slow."""

    def __init__(self, limits: Limits, sock: Any) -> None:
        super().__init__()
        self._limits = limits
        self._socket = sock
        self._raw: io.RawIOBase = sock.makefile("rb", 0)
        self._headers: int | None = MAX_HEADERS
        self._restart()

    def _restart(self) -> None:
        self._due = self._limits.idle_seconds * self._limits.idle_rate
        self._seconds = self._limits.idle_seconds

    def end_of_headers(self) -> None:
        """What comes now is the body, of any length."""
        self._headers = None
        self._restart()

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What ``http.client`` asks a socket for."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._socket.settimeout(max(self._seconds, _SHORTEST))
        started = time.monotonic()
        count = self._raw.readinto(buffer) or 0
        self._seconds -= time.monotonic() - started
        self._due -= count
        if self._headers is not None:
            self._headers -= count
            if self._headers < 0:
                raise http.client.HTTPException(f"got more than {MAX_HEADERS} bytes of headers")
        if self._due <= 0:
            self._restart()
        elif self._seconds <= 0:
            raise TimeoutError("too few bytes in time")
        return count

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, limits: Limits, sock: Any, *arguments: Any, **keywords: Any) -> None:
        self._paced = _Paced(limits, sock)
        super().__init__(self._paced, *arguments, **keywords)  # type: ignore[arg-type]

    def begin(self) -> None:
        super().begin()
        self._paced.end_of_headers()


def pools(limits: Limits) -> dict[str, Callable[..., Any]]:
    """For each scheme the pool of connections whose answers are paced: ``pool_classes_by_scheme`` of a pool manager."""
    response = functools.partial(_Response, limits)

    class Plain(urllib3.connection.HTTPConnection):
        response_class = response  # type: ignore[assignment]

    class Encrypted(urllib3.connection.HTTPSConnection):
        response_class = response  # type: ignore[assignment]

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class EncryptedPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Encrypted

    return {"http": PlainPool, "https": EncryptedPool}
