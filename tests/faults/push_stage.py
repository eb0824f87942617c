"""Where the scenarios of `push_scenarios.py` take place, and what can go wrong there."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rootless.engine.images.transports.outgoing import Outgoing
from storage.store import Store
from tests.fakes.registry import FakeRegistry, Reply
from tests.support import pushing
from tests.support.certificates import Authority, serving

STEP = 400_000
"""Bytes of a step, in place of the program's own, so that a layer of 1.5 MB has several."""

# Parts of "METHOD PATH" of a request.
PING, HEAD, POST, PATCH = "GET /v2/", "HEAD /v2/app/blobs/", "POST ", "PATCH "
STATUS, MANIFEST, TOKEN = "GET /v2/app/blobs/uploads/", "PUT /v2/app/manifests/", "/token"
PUT = "digest={layer}"  # of the large layer


@dataclass
class PushStage:
    """A registry without content, and an image in memory that is to become ``app`` there."""

    fake: FakeRegistry
    image: Outgoing
    blobs: dict[str, bytes]
    store: Store
    directory: Path
    authority: Callable[[], Authority]
    monkeypatch: pytest.MonkeyPatch
    stack: ExitStack
    name: str
    tls_verify: bool | None = False
    others: list[FakeRegistry] = field(default_factory=list)

    def script(self, part: str, reply: Reply, times: int = 1) -> None:
        """Use ``reply`` for the next ``times`` requests for ``part``."""
        self.fake.script(part.format(layer=self.layer), reply, times)

    @property
    def layer(self) -> str:
        """Digest of the large layer."""
        return str(self.image.document["layers"][0]["digest"])

    def another(self, address: str = "127.0.0.2") -> FakeRegistry:
        """One more registry, which must see nothing."""
        self.others.append(self.stack.enter_context(FakeRegistry(address=address)))
        return self.others[-1]


Change = Callable[[PushStage], object]


@dataclass(frozen=True)
class PushScenario:
    """One row. ``refused``: in which words it ends, if not well. ``most``: requests for the part of the last script.

    What any other registry of the stage sees is wrong.
    """

    name: str
    script: tuple[tuple[str, Reply, int], ...] = ()
    refused: str = ""
    said: str = ""
    most: int = 0
    set_up: Change | None = None
    by_command: bool = False
    row: int = 0

    def __str__(self) -> str:
        """For the name of a test, which tells the row by its end."""
        return f"{self.name}_row_{self.row}" if self.row else self.name


def error(status: int, code: str) -> dict[str, Any]:
    """An answer with an error of the distribution specification."""
    body = json.dumps({"errors": [{"code": code, "message": "said so"}]}).encode()
    return {"status": status, "body": body}


def location(text: str) -> Change:
    """Uploads go on at ``text``, in which ``{path}``, ``{url}``, ``{port}`` and ``{last}`` stand for the true ones."""

    def set_up(stage: PushStage) -> None:
        port = stage.fake.host.rpartition(":")[2]

        def place(path: str) -> str:
            return text.format(path=path, url=stage.fake.url, port=port, last=path.rpartition("/")[2])

        stage.fake.uploads.place = place

    return set_up


def foreign(scheme: str = "http") -> Change:
    """Uploads go on at another registry, which would take them, and anything else."""

    def set_up(stage: PushStage) -> None:
        other = stage.another()
        stage.fake.user, stage.fake.password = "tester", "sesame"
        stage.fake.uploads.place = lambda path: f"{scheme}://{other.host}{path}"
        _log_in(stage)

    return set_up


def redirected(status: int, to_other: bool) -> Change:
    """The first request for an upload is redirected, to the same place or to another host."""

    def set_up(stage: PushStage) -> None:
        base = stage.another().url if to_other else ""
        reply = Reply(status=status, headers={"Location": f"{base}/v2/app/blobs/uploads/"})
        stage.fake.script(POST, reply, 99 if to_other else 1)

    return set_up


def mountable(stage: PushStage) -> None:
    """The store has the image as another repository's of the same registry, which has the layers."""
    pushing.store_image(stage.store, stage.image, stage.blobs, f"{stage.fake.host}/base:latest")
    stage.fake.elsewhere = dict(stage.blobs)


def known_elsewhere(stage: PushStage) -> None:
    """As ``mountable``, but the registry has nothing."""
    mountable(stage)
    stage.fake.elsewhere = {}


def wants_token(stage: PushStage) -> None:
    """The registry has a token server."""
    stage.fake.realm = "self"


def token_expires(stage: PushStage) -> None:
    """A token is too old when the layer is sent, and again when it is finished."""
    wants_token(stage)
    refusal = Reply(status=401, headers={"WWW-Authenticate": f'Bearer realm="{stage.fake.url}/token"'})
    for part in (PUT, MANIFEST):
        stage.script(part, refusal)


def wants_password(stage: PushStage) -> None:
    """The registry wants a password, and nobody has it."""
    stage.fake.user, stage.fake.password = "tester", "sesame"


def _log_in(stage: PushStage) -> None:
    import base64

    entry = {"auth": base64.b64encode(b"tester:sesame").decode()}
    path = stage.directory / "auth.json"
    path.write_text(json.dumps({"auths": {stage.fake.host: entry}}))
    stage.monkeypatch.setenv("REGISTRY_AUTH_FILE", str(path))


def behind_tls(stage: PushStage) -> None:
    """The registry is behind TLS."""
    authority = stage.authority()
    context = serving(authority.issue("server", "IP:127.0.0.1"))
    stage.fake = stage.stack.enter_context(FakeRegistry(tls=context))
    stage.monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    stage.name, stage.tls_verify = f"{stage.fake.host}/app", None


def nobody_listens(stage: PushStage) -> None:
    """There is no registry."""
    stage.name = "127.0.0.1:1/app"


def damaged(stage: PushStage) -> None:
    """The store's copy of the large layer is not what it was."""
    stage.blobs[stage.layer] = stage.blobs[stage.layer][:-1] + b"?"


def shortened(stage: PushStage) -> None:
    """The store's copy of the large layer has lost its end."""
    stage.blobs[stage.layer] = stage.blobs[stage.layer][:-10]
