"""Debian's docker-registry on loopback, anonymous, with basic or with token authentication."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

USER = "tester"
PASSWORD = "correct horse"
# bcrypt of PASSWORD with 16 rounds: only bcrypt is accepted, and this needs no htpasswd program.
HTPASSWD = f"{USER}:$2b$04$0pqSF1HyzhztSlbRF6WP7O0DDsG/HTMmi1OGd5QvbqxmInCZuw36i\n"
START_SECONDS = 15.0


class Registry:
    """A running registry; use it as a context manager.

    ``directory`` keeps its data. ``authenticated`` asks for USER and PASSWORD; ``token`` is the configuration of a
    token server that does. ``address`` is ``127.0.0.1:port``.
    """

    def __init__(
        self, directory: Path, *, authenticated: bool = False, token: Mapping[str, str] | None = None
    ) -> None:
        self.directory = directory
        self.authenticated = authenticated or token is not None
        self._token = token
        self.address = f"127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Registry:
        self.directory.mkdir(parents=True, exist_ok=True)
        configuration: dict[str, object] = {
            "version": 0.1,
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(self.directory / "data")}, "delete": {"enabled": True}},
            "http": {"addr": self.address, "secret": "a secret for tests"},
        }
        if self._token is not None:
            configuration["auth"] = {"token": dict(self._token)}
        elif self.authenticated:
            htpasswd = self.directory / "htpasswd"
            htpasswd.write_text(HTPASSWD)
            configuration["auth"] = {"htpasswd": {"realm": "tests", "path": str(htpasswd)}}
        path = self.directory / "config.yml"
        path.write_text(json.dumps(configuration))  # JSON is YAML
        with (self.directory / "registry.log").open("wb") as log:
            command = ["docker-registry", "serve", str(path)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._wait_until_it_answers()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _wait_until_it_answers(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                urllib.request.urlopen(f"http://{self.address}/v2/", timeout=2).close()
                return
            except urllib.error.HTTPError as error:
                error.close()
                return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"docker-registry does not answer: {(self.directory / 'registry.log').read_text()}")

    def push(self, layout: Path, name: str, tag: str = "latest", *, docker_format: bool = False) -> str:
        """Push the image ``tag`` of an OCI layout with skopeo; the reference by which it is pulled."""
        reference = f"{self.address}/{name}:{tag}"
        command = ["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]
        if docker_format:
            command += ["--format", "v2s2"]
        if self.authenticated:
            command += ["--dest-creds", f"{USER}:{PASSWORD}"]
        command += [f"oci:{layout}:{tag}", f"docker://{reference}"]
        # Without a runtime directory skopeo looks for credentials in one that may be closed to this user.
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(self.directory)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"skopeo cannot push {reference}: {done.stderr}")
        return reference


def free_port() -> int:
    """A TCP port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
