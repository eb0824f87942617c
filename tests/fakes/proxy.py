"""An HTTP proxy on loopback that stands between a client and hosts of any name: the names lead to fakes of the test.

>>> with FakeProxy({"registry.example.com:443": fake}) as proxy:
...     monkeypatch.setenv("https_proxy", proxy.url)
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.fakes.registry import FakeRegistry


@dataclass
class Asked:
    """A request to the proxy. ``target`` is the host and port; ``text`` is all that the proxy could read of it."""

    method: str
    target: str
    headers: dict[str, str]
    text: str


class FakeProxy:
    """Knows ``hosts`` ("name:port" each), and answers 502 for others; use it as a context manager."""

    def __init__(self, hosts: Mapping[str, FakeRegistry], *, status: int = 200) -> None:
        """``status``: the answer to every CONNECT; another than 200 is a refusal."""
        self.hosts = dict(hosts)
        self.status = status
        self.asked: list[Asked] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.address}"

    def __enter__(self) -> FakeProxy:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(proxy: FakeProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:
                self.close_connection = True

        def do_CONNECT(self) -> None:
            self._pass_on(self.path, b"")

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path[self.path.index(parts.netloc) + len(parts.netloc) :]
            kept = "".join(
                f"{name}: {value}\r\n"
                for name, value in self.headers.items()
                if name.lower() not in ("connection", "proxy-connection", "proxy-authorization")
            )
            request = f"{self.command} {path} HTTP/1.1\r\n{kept}Connection: close\r\n\r\n".encode() + body
            target = parts.netloc.rpartition("@")[2]
            self._pass_on(target if ":" in target else f"{target}:80", request)

        do_POST = do_HEAD = do_GET

        def _pass_on(self, target: str, request: bytes) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            text = f"{self.requestline}\r\n{self.headers}{request.decode('latin-1')}"
            proxy.asked.append(Asked(self.command, target, headers, text))
            self.close_connection = True
            fake = proxy.hosts.get(target)
            status = 502 if fake is None and proxy.status == 200 else proxy.status
            if fake is None or status != 200:
                self.wfile.write(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode())
                return
            host, _, port = fake.host.rpartition(":")
            with socket.create_connection((host, int(port))) as server:
                if request:
                    server.sendall(request)
                else:
                    self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
                _relay(self.connection, server)

    return Handler


def _relay(one: socket.socket, other: socket.socket) -> None:
    """Pass bytes on, both ways, until one side ends."""
    while True:
        for source in select.select([one, other], [], [])[0]:
            data = source.recv(65536)
            if not data:
                return
            (other if source is one else one).sendall(data)
