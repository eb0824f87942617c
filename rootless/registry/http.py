"""One HTTP conversation with limits: the only place where ``requests`` is used.

What ``requests`` would do on its own and must not here: follow redirects with the Authorization header, read the whole
body of a redirect, read passwords from ``~/.netrc``, keep cookies, decode compressed bodies, retry. All of that is off;
redirects are followed by hand, and an Authorization header never leaves the origin it was made for.
"""

from __future__ import annotations

import errno
import http.client
from collections.abc import Callable, Iterator, Mapping
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, Protocol

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

from rootless import __version__
from rootless.registry import tls
from rootless.registry.errors import RegistryError, TransientError
from rootless.registry.headers import parse_content_length, parse_retry_after
from rootless.registry.helpers import printable
from rootless.registry.pace import MAX_HEADERS, pools
from rootless.registry.realm import Origin, joined, origin
from rootless.registry.retry import Limits

MAX_REDIRECTS = 5
MAX_ERROR_BODY = 64 * 1024
CHUNK = 512 * 1024
CONNECTIONS = 8

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SAME_METHOD = frozenset({307, 308})
_RETRY_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_BROKEN_BODY = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)
_GONE = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.ENETUNREACH: "network is unreachable",
    errno.EHOSTUNREACH: "no route to host",
}

# Who turned verification off knows it; the library would say so at every request.
urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)


class Sized(Protocol):
    """A body of a request that comes in pieces: iterated once, ``len`` bytes in all, which may not be 0."""

    len: int

    def __iter__(self) -> Iterator[bytes]: ...


class TLSError(RegistryError):
    """The handshake failed: not trusted, or not TLS at all."""


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """None for every answer: the library would read the body of a redirect, of any size, and unpack it too."""
        return None


class _Adapter(HTTPAdapter):
    """Connections whose answers are paced."""

    def __init__(self, limits: Limits) -> None:
        self._pools = pools(limits)
        super().__init__(pool_connections=CONNECTIONS, pool_maxsize=CONNECTIONS, max_retries=0)

    def init_poolmanager(self, *arguments: Any, **keywords: Any) -> None:
        super().init_poolmanager(*arguments, **keywords)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **keywords: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **keywords)
        manager.pool_classes_by_scheme = self._pools
        return manager


class _TLSAdapter(_Adapter):
    """Connections made with our own TLS context, whatever bundle ``requests`` would add."""

    def __init__(self, limits: Limits, verify: bool, directories: list[Path]) -> None:
        self._context = tls.context(verify=verify, directories=directories)
        self._hostname = None if verify else False
        super().__init__(limits)

    def init_poolmanager(self, *arguments: Any, **keywords: Any) -> None:
        super().init_poolmanager(
            *arguments, ssl_context=self._context, assert_hostname=self._hostname, **keywords
        )

    def proxy_manager_for(self, proxy: str, **keywords: Any) -> Any:
        return super().proxy_manager_for(
            proxy, ssl_context=self._context, assert_hostname=self._hostname, **keywords
        )

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        ours = {"cert_reqs", "ca_certs", "ca_cert_dir"}
        return host, {key: value for key, value in pool.items() if key not in ours}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leave the context as it is."""


class Answer:
    """A response whose body is still to be read, within limits."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.url = response.url or ""
        self.origin: Origin = origin(self.url)

    @property
    def length(self) -> int | None:
        """``Content-Length`` in bytes."""
        return parse_content_length(self.headers.get("Content-Length"))

    def read(self, limit: int) -> bytes:
        """The whole body. Raises RegistryError if it is longer than ``limit`` bytes."""
        if (self.length or 0) > limit:
            self.close()
            raise RegistryError(f"cannot use the answer of {self.origin.place}: it is larger than {limit} bytes")
        parts = bytearray()
        for chunk in self.chunks():
            parts += chunk
            if len(parts) > limit:
                raise RegistryError(f"cannot use the answer of {self.origin.place}: it is larger than {limit} bytes")
        if self.length is not None and len(parts) < self.length:
            raise TransientError(f"connection to {self.origin.place} was cut")
        return bytes(parts)

    def chunks(self) -> Iterator[bytes]:
        """The body, piece by piece as it arrives. Raises TransientError when the transfer breaks or crawls."""
        try:
            while chunk := self._response.raw.read1(CHUNK, decode_content=False):
                yield chunk
        except urllib3.exceptions.ReadTimeoutError:
            raise TransientError(f"{self.origin.place} sends too slowly, or nothing", stalled=True) from None
        except _BROKEN_BODY:
            raise TransientError(f"connection to {self.origin.place} was cut") from None
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the connection (it is reused only when the body was read to its end)."""
        self._response.close()

    def raise_if_transient(self) -> None:
        """Raise TransientError for a status that another try may mend."""
        if self.status in _RETRY_STATUS:
            wait = parse_retry_after(self.headers.get("Retry-After"))
            self.close()
            busy = "too many requests" if self.status == 429 else f"server error {self.status}"
            raise TransientError(
                f"registry {self.origin.place} answered {busy}",
                "log in for a higher limit, or wait" if self.status == 429 else "try again later",
                retry_after=wait,
                answered=True,
            )


class Http:
    """A session with one registry and the hosts it redirects to. Safe to use from several threads.

    ``insecure`` accepts any certificate and a redirect from https to http.
    """

    def __init__(self, *, insecure: bool, directories: list[Path], limits: Limits) -> None:
        self._insecure = insecure
        self._limits = limits
        self._session = _Session()
        self._session.trust_env = False
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.headers.clear()
        self._session.headers.update({"User-Agent": f"rootless/{__version__}", "Accept-Encoding": "identity"})
        self._session.mount("http://", _Adapter(limits))
        self._tls = (not insecure, directories)
        self._tls_mounted = False

    def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, str] | bytes | Sized | None = None,
    ) -> Answer:
        """Send one request and return its answer, whatever the status. Redirects are not followed.

        ``body`` may be the fields of a form. Raises TransientError if the host is not reached, TLSError if it is not
        trusted; what a body raises that comes in pieces goes through, unless it is an OSError.
        """
        target = origin(url)
        if target.scheme == "https" and not self._tls_mounted:
            self._session.mount("https://", _TLSAdapter(self._limits, *self._tls))
            self._tls_mounted = True
        proxies = {} if target.is_loopback else get_environ_proxies(url)
        try:
            response = self._session.request(
                method,
                url,
                headers=dict(headers or {}),
                data=dict(body) if isinstance(body, Mapping) else body,
                allow_redirects=False,
                stream=True,
                proxies=proxies,
                timeout=(self._limits.connect_timeout, self._limits.idle_seconds),
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise explain(error, target, url) from None
        answer = Answer(response)
        _check_headers(answer)
        if answer.status == 407:
            answer.close()
            raise _proxy_failed(target.place, ["Tunnel connection failed: 407"])
        return answer

    def follow(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        authorization: str | None,
        body: Callable[[], bytes | Sized] | None = None,
    ) -> Answer:
        """``exchange``, and at most five redirects after it; ``authorization`` is only sent to the origin of ``url``.

        ``body`` makes the body anew for each try. Raises RegistryError for a redirect to anything but http(s), and
        from https to http; and of what sends something, to another host or in a way that would make it a GET.
        """
        home = origin(url)
        sending = method not in ("GET", "HEAD")
        for _ in range(MAX_REDIRECTS + 1):
            here = origin(url)
            sent = dict(headers)
            if authorization and here == home:
                sent["Authorization"] = authorization
            answer = self.exchange(method, url, sent, body() if body is not None else None)
            if answer.status not in _REDIRECTS:
                return answer
            location = answer.headers.get("Location", "")
            answer.close()
            if not location:
                raise RegistryError(f"cannot follow {here.host}: it redirects to nowhere")
            url = joined(url, location)
            if sending and (origin(url) != home or answer.status not in _SAME_METHOD):
                raise RegistryError(
                    f"cannot follow {here.host}: it redirects an upload to {origin(url).place}",
                    "nothing was sent there",
                )
            if origin(url).scheme == "http" and here.scheme == "https" and not self._insecure:
                raise RegistryError(f"cannot follow {here.host}: it redirects from https to http")
        raise RegistryError(f"cannot follow {home.host}: more than {MAX_REDIRECTS} redirects")


def _check_headers(answer: Answer) -> None:
    """Refuse headers beyond all measure, and a body that is compressed although we asked for it as it is."""
    size = sum(len(name) + len(value) for name, value in answer.headers.items())
    coding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if size > MAX_HEADERS or coding not in ("", "identity"):
        answer.close()
        reason = "its headers are too large" if size > MAX_HEADERS else f"its body is encoded ({printable(coding, 40)})"
        raise RegistryError(f"cannot use the answer of {answer.origin.place}: {reason}")


def explain(error: BaseException, target: Origin, url: str) -> RegistryError:
    """Turn an exception of the HTTP library into one line about ``target``."""
    place = target.host if target.port in (80, 443) else f"{target.host}:{target.port}"
    causes = list(_causes(error))
    if any(isinstance(cause, (requests.exceptions.ProxyError, urllib3.exceptions.ProxyError)) for cause in causes):
        return _proxy_failed(place, [str(cause) for cause in causes])
    if any(isinstance(cause, (requests.exceptions.SSLError, urllib3.exceptions.SSLError)) for cause in causes):
        return TLSError(
            f"cannot trust registry {place}: {tls.explain(error)}",
            "add its authority with --cert-dir, or use --tls-verify=false if you must",
        )
    if any(isinstance(cause, urllib3.exceptions.NameResolutionError) for cause in causes):
        return TransientError(f"cannot reach registry {place}: no such host", "check the name and your network")
    for cause in causes:
        if isinstance(cause, http.client.LineTooLong) or (
            isinstance(cause, http.client.HTTPException) and "headers" in str(cause)
        ):
            return RegistryError(f"cannot use the answer of {place}: its headers are too large")
    for cause in causes:
        if isinstance(cause, OSError) and cause.errno in _GONE:
            return TransientError(f"cannot reach registry {place}: {_GONE[cause.errno]}", "is the registry running?")
    if any(isinstance(cause, (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)) for cause in causes):
        return TransientError(f"cannot reach registry {place}: no answer in time", "check your network", stalled=True)
    if isinstance(error, (requests.ConnectionError, OSError)):
        return TransientError(f"cannot reach registry {place}: the connection was cut", "check your network")
    return RegistryError(f"cannot use the answer of {place}: not HTTP as expected")


def _proxy_failed(place: str, causes: list[str]) -> RegistryError:
    """The error for a proxy that is down, or answered CONNECT with something else than 200."""
    hint = "check HTTPS_PROXY, HTTP_PROXY and NO_PROXY"
    refusal = next((cause for cause in causes if cause.startswith("Tunnel connection failed: ")), "")
    status = refusal.partition(": ")[2][:3]
    if not refusal or status in map(str, _RETRY_STATUS):
        how = f"answered {status}" if status else "is down"
        return TransientError(f"cannot reach registry {place}: the proxy {how}", hint)
    if status == "407":
        return RegistryError(f"cannot reach registry {place}: the proxy wants other credentials", hint)
    return RegistryError(f"cannot reach registry {place}: the proxy refused ({printable(status)})", hint)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exceptions wrapped in ``error``: the libraries keep them in ``reason``, ``args`` and ``__cause__``."""
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        current = waiting.pop()
        if isinstance(current, BaseException) and not isinstance(current, RegistryError) and id(current) not in seen:
            seen.add(id(current))
            yield current
            waiting += [*current.args, getattr(current, "reason", None), current.__cause__, current.__context__]
