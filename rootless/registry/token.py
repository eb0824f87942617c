"""Answers to ``WWW-Authenticate``: Basic, and bearer tokens (distribution's token and OAuth2 specifications)."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Collection
from urllib.parse import urlencode, urlsplit

from rootless.registry.authfile import Credentials
from rootless.registry.errors import RegistryError, UnauthorizedError
from rootless.registry.headers import Challenge
from rootless.registry.http import Answer, Http
from rootless.registry.realm import Origin, check_realm, check_secret_transport
from storage import jsonfast
from storage.errors import StorageError

CLIENT_ID = "rootless"
MAX_TOKEN_ANSWER = 1024 * 1024
MAX_TOKEN = 60 * 1024


class Authenticator:
    """The way into one registry endpoint; shared by the threads of a pull.

    ``credentials`` is called once, when the first challenge comes: helpers may be slow or ask the user.
    ``http`` speaks to the registry's own host, ``verified`` to a token server elsewhere.
    """

    def __init__(
        self,
        registry: Origin,
        http: Http,
        verified: Callable[[], Http],
        credentials: Callable[[], Credentials | None],
        trusted: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._registry = registry
        self._http = http
        self._verified = verified
        self._find_credentials = credentials
        self._looked = False
        self._credentials: Credentials | None = None
        self._trusted = trusted
        self._lock = threading.Lock()
        self._headers: dict[str, str] = {}

    @property
    def has_credentials(self) -> bool:
        """Whether a challenge was met and credentials were found for it."""
        return self._credentials is not None

    def header(self, scope: str) -> str | None:
        """The Authorization header that last worked for ``scope``."""
        return self._headers.get(scope)

    def knows(self, text: str) -> bool:
        """Whether ``text``, which a server wrote, holds a secret that was sent to it, and is not fit to be shown."""
        secrets = [header.partition(" ")[2] for header in self._headers.values()]
        if self._credentials is not None:
            secrets += [self._credentials.password, self._credentials.identity_token]
        return any(secret in text for secret in secrets if secret)

    def answer(self, challenges: list[Challenge], scope: str, refused: str | None) -> str:
        """Make a new Authorization header for ``scope`` after ``refused`` (None: none was sent) met a 401.

        Threads that were refused with the same token share one new one. Raises UnauthorizedError if there is no
        way in, RegistryError if the way is not safe.
        """
        with self._lock:
            current = self._headers.get(scope)
            if current is not None and current != refused:
                return current
            made = self._make(challenges, scope)
            if made == refused:
                raise self.unauthorized()
            self._headers[scope] = made
            return made

    def unauthorized(self) -> UnauthorizedError:
        """The error for a registry that will not let us in."""
        host = self._registry.place
        if self._credentials is not None:
            return UnauthorizedError(
                "unauthorized: invalid username/password",
                f"log in again with 'rootless login {host}', or correct --creds",
            )
        return UnauthorizedError("unauthorized: authentication required", f"log in with 'rootless login {host}'")

    def _make(self, challenges: list[Challenge], scope: str) -> str:
        if not self._looked:
            self._looked = True
            self._credentials = self._find_credentials()
        by_scheme = {challenge.scheme: challenge for challenge in reversed(challenges)}
        bearer = by_scheme.get("bearer")
        if bearer is not None and bearer.parameters.get("realm"):
            return "Bearer " + self._token(bearer, scope)
        found = self._credentials
        if "basic" in by_scheme and found is not None and not found.identity_token:
            check_secret_transport(self._registry)
            return basic(found)
        raise self.unauthorized()

    def _token(self, challenge: Challenge, scope: str) -> str:
        """Ask the realm for a token. A redirect of the token server is refused: it could carry the password off.

        The scope is ours: a registry may not choose what else its token would be good for.
        """
        realm = challenge.parameters["realm"]
        found = self._credentials
        place = check_realm(self._registry, realm, secret=found is not None, trusted=self._trusted())
        if found is not None:
            check_secret_transport(self._registry)  # the token itself is a secret now
        http = self._http if place.host == self._registry.host else self._verified()
        wanted = {
            "service": challenge.parameters.get("service", ""),
            "scope": scope or challenge.parameters.get("scope", ""),
        }
        fields = {key: value for key, value in wanted.items() if value}
        if found is not None and found.identity_token:
            form = {
                **fields,
                "grant_type": "refresh_token",
                "client_id": CLIENT_ID,
                "refresh_token": found.identity_token,
            }
            answer = http.exchange("POST", realm, body=form)
        else:
            headers = {} if found is None else {"Authorization": basic(found)}
            scopes = fields.pop("scope", "").split()
            account = {} if found is None else {"account": found.username}
            query = urlencode({**account, **fields, "scope": scopes}, doseq=True)
            answer = http.exchange("GET", realm + ("&" if urlsplit(realm).query else "?") + query, headers)
        return self._read_token(answer)

    def _read_token(self, answer: Answer) -> str:
        answer.raise_if_transient()
        if answer.status in (400, 401, 403):
            answer.close()
            raise self.unauthorized()
        if answer.status != 200:
            answer.close()
            raise RegistryError(f"cannot get a token from {answer.origin.place}: it answered {answer.status}")
        try:
            document = jsonfast.loads_strict(answer.read(MAX_TOKEN_ANSWER))
        except StorageError:
            document = None
        if not isinstance(document, dict):
            raise RegistryError(f"cannot get a token from {answer.origin.place}: its answer is not a JSON object")
        token = document.get("token") or document.get("access_token")
        usable = isinstance(token, str) and 0 < len(token) <= MAX_TOKEN and token.isascii() and token.isprintable()
        if not usable or " " in str(token):
            raise RegistryError(f"cannot get a token from {answer.origin.place}: its answer has no usable token")
        return str(token)


def basic(credentials: Credentials) -> str:
    """The Basic Authorization header (RFC 7617, UTF-8)."""
    pair = f"{credentials.username}:{credentials.password}".encode()
    return "Basic " + base64.b64encode(pair).decode("ascii")
