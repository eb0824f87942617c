"""A token server for a real registry: RS256 tokens (distribution's token authentication), signed by openssl."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

ISSUER = "tests"
SERVICE = "registry"


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TokenServer:
    """Gives tokens to ``user``; anonymous ones, which may pull, if ``anonymous``. Use it as a context manager.

    ``configuration`` is the ``auth.token`` section of the registry that trusts it.
    """

    def __init__(self, directory: Path, user: str, password: str, *, anonymous: bool = False) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.user, self.password, self.anonymous = user, password, anonymous
        self.asked: list[dict[str, list[str]]] = []
        self._key, self._certificate = directory / "key.pem", directory / "cert.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tests",
             "-keyout", str(self._key), "-out", str(self._certificate)],
            check=True, capture_output=True,
        )  # fmt: skip
        pem = self._certificate.read_text()
        self._x5c = "".join(line for line in pem.splitlines() if not line.startswith("-----"))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True

    @property
    def configuration(self) -> dict[str, str]:
        """What the registry's configuration says under ``auth: token:``."""
        return {
            "realm": f"http://127.0.0.1:{self._server.server_port}/token",
            "service": SERVICE,
            "issuer": ISSUER,
            "rootcertbundle": str(self._certificate),
        }

    def __enter__(self) -> TokenServer:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def token(self, subject: str, scopes: list[str]) -> str:
        """A signed token that grants ``scopes`` ("repository:NAME:ACTION,…")."""
        now = int(time.time())
        access: list[dict[str, Any]] = []
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            granted = [action for action in actions.split(",") if subject or action == "pull"]
            access.append({"type": kind, "name": name, "actions": granted})
        claims = {"iss": ISSUER, "sub": subject, "aud": SERVICE, "exp": now + 300, "nbf": now - 5, "iat": now,
                  "jti": str(time.time_ns()), "access": access}  # fmt: skip
        header = {"typ": "JWT", "alg": "RS256", "x5c": [self._x5c]}
        signed = f"{_text(json.dumps(header).encode())}.{_text(json.dumps(claims).encode())}"
        command = ["openssl", "dgst", "-sha256", "-sign", str(self._key)]
        signature = subprocess.run(command, input=signed.encode(), capture_output=True, check=True)
        return f"{signed}.{_text(signature.stdout)}"


def _handler(server: TokenServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            server.asked.append(query)
            given = self.headers.get("Authorization", "")
            pair = base64.b64encode(f"{server.user}:{server.password}".encode()).decode()
            if given == f"Basic {pair}":
                self._send(200, {"token": server.token(server.user, query.get("scope", []))})
            elif not given and server.anonymous:
                self._send(200, {"token": server.token("", query.get("scope", []))})
            else:
                self._send(401, {"details": "incorrect username or password"})

        def _send(self, status: int, document: object) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
