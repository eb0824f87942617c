"""How fast a server must send and take, and how much it may send: what lies below the HTTP library.

A socket's own timeout begins anew with every byte, so a server that sends one each 29 seconds is waited for without
end. Here every ``idle_seconds * idle_rate`` bytes, of headers and of bodies alike, must come within ``idle_seconds`` of
waiting for them, and be taken so by who is sent a body; time in which nobody reads or writes does not count. Headers
end after 256 KiB, those of interim answers (100 Continue) included, of which the library would read any number.

A server that answers before it has the whole body, to refuse it, is listened to at once.
"""

from __future__ import annotations

import errno
import functools
import http.client
import io
import select
import ssl
import time
from collections.abc import Callable
from typing import Any, NoReturn

import urllib3

from rootless.registry.retry import Limits

MAX_HEADERS = 256 * 1024
_SHORTEST = 0.001  # seconds; a timeout of 0 would mean not to wait at all
_RECORD = 16 * 1024  # bytes; a socket of TLS is ready, or not, for what it is given as a whole
_GONE = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


class _Allowance:
    """The time that is left for the bytes that are due."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.restart()

    def restart(self) -> None:
        """All of the time for all of the bytes."""
        self._due = self._limits.idle_seconds * self._limits.idle_rate
        self._seconds = self._limits.idle_seconds

    @property
    def seconds(self) -> float:
        """How long may be waited."""
        return max(self._seconds, _SHORTEST)

    def spend(self, started: float, count: int) -> None:
        """``count`` bytes went since the moment ``started``. Raises TimeoutError if they are too few."""
        self._seconds -= time.monotonic() - started
        self._due -= count
        if self._due <= 0:
            self.restart()
        elif self._seconds <= 0:
            raise TimeoutError("too few bytes in time")


class _Paced(io.RawIOBase):
    """The bytes of one answer, as they come from ``sock``. Raises TimeoutError for a server that is too slow."""

    def __init__(self, limits: Limits, sock: Any) -> None:
        super().__init__()
        self._allowance = _Allowance(limits)
        self._socket = sock
        self._raw: io.RawIOBase = sock.makefile("rb", 0)
        self._headers: int | None = MAX_HEADERS

    def end_of_headers(self) -> None:
        """What comes now is the body, of any length."""
        self._headers = None
        self._allowance.restart()

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What ``http.client`` asks a socket for."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._socket.settimeout(self._allowance.seconds)
        started = time.monotonic()
        count = self._raw.readinto(buffer) or 0
        if self._headers is not None:
            self._headers -= count
            if self._headers < 0:
                raise http.client.HTTPException(f"got more than {MAX_HEADERS} bytes of headers")
        self._allowance.spend(started, count)
        return count

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    last = False
    """Whether the connection is in no state for another request: the body of this one was not sent to its end."""

    def __init__(self, limits: Limits, sock: Any, *arguments: Any, **keywords: Any) -> None:
        self._paced = _Paced(limits, sock)
        super().__init__(self._paced, *arguments, **keywords)  # type: ignore[arg-type]

    def begin(self) -> None:
        super().begin()
        self._paced.end_of_headers()
        self.will_close = self.will_close or self.last


class _LastResponse(_Response):
    last = True


class _Sending(http.client.HTTPConnection):
    """What both kinds of connections do to send a request."""

    limits: Limits

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._begin()

    def _begin(self) -> None:
        self._allowance = _Allowance(self.limits)
        self._in_body = False
        self.response_class = functools.partial(_Response, self.limits)  # type: ignore[assignment]

    def putrequest(self, *arguments: Any, **keywords: Any) -> None:
        self._begin()
        super().putrequest(*arguments, **keywords)

    def endheaders(self, *arguments: Any, **keywords: Any) -> None:
        super().endheaders(*arguments, **keywords)
        self._in_body = True

    def send(self, data: Any) -> None:
        """Send headers, or a part of a body: paced, and only for as long as the server has not answered.

        Raises TimeoutError; and BrokenPipeError if there is an answer, or nobody to send to, upon which the library
        reads the answer.
        """
        if self.sock is None or not isinstance(data, bytes):
            super().send(data)
            return
        encrypted = isinstance(self.sock, ssl.SSLSocket)
        poll = select.poll()
        poll.register(self.sock, select.POLLOUT | (select.POLLIN if self._in_body and not encrypted else 0))
        view = memoryview(data)
        while view:
            started = time.monotonic()
            self.sock.settimeout(self._allowance.seconds)
            if not encrypted:
                found = poll.poll(self._allowance.seconds * 1000)
                if not found:
                    raise TimeoutError("nothing was taken in time")
                if found[0][1] & select.POLLIN:
                    self._give_up()
            try:
                count = self.sock.send(view[:_RECORD] if encrypted else view)
            except _GONE:
                self._give_up()
            self._allowance.spend(started, count)
            view = view[count:]

    def _give_up(self) -> NoReturn:
        self.response_class = functools.partial(_LastResponse, self.limits)  # type: ignore[assignment]
        raise BrokenPipeError(errno.EPIPE, "there is an answer before the end of the request")


def pools(limits: Limits) -> dict[str, Callable[..., Any]]:
    """For each scheme the pool of paced connections: ``pool_classes_by_scheme`` of a pool manager."""
    bounds = limits

    class Plain(_Sending, urllib3.connection.HTTPConnection):
        limits = bounds

    class Encrypted(_Sending, urllib3.connection.HTTPSConnection):
        limits = bounds

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class EncryptedPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Encrypted

    return {"http": PlainPool, "https": EncryptedPool}
