"""Registries that want an image to pass for signed which is not: nothing of it gets into the store."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rootless.engine.images.trust import sigstore
from tests.fakes.registry import CONFIG, INDEX, MANIFEST, FakeRegistry, Reply, layer
from tests.support import signing
from tests.support.cli import Cli, new_cli

pytestmark = pytest.mark.needs("subuid")

NAME = "team/app"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Stage:
    """An image at a registry, a policy that wants it signed by a key, and the image of its signatures."""

    def __init__(self, cli: Cli, registry: FakeRegistry) -> None:
        self.cli, self.registry = cli, registry
        self.key = signing.new_key("p256")
        for tag in ("1", "2"):
            registry.add_image(NAME, [layer({f"etc/{tag}": b"x"})], tag=tag)
        self.image, self.other = (digest_of(registry.manifests[NAME, tag][0]) for tag in ("1", "2"))
        containers = cli.home / "config" / "containers"
        containers.mkdir(parents=True)
        data = base64.b64encode(signing.public_pem(self.key)).decode()
        wanted = [{"type": "sigstoreSigned", "keyData": data, "signedIdentity": {"type": "matchRepository"}}]
        policy = {"default": [{"type": "reject"}], "transports": {"docker": {registry.host: wanted}}}
        (containers / "policy.json").write_text(json.dumps(policy))

    def payload(self, digest: str = "", **more: Any) -> bytes:
        critical = {"identity": {"docker-reference": f"{self.registry.host}/{NAME}"},
                    "image": {"docker-manifest-digest": digest or self.image},
                    "type": "cosign container image signature", **more}  # fmt: skip
        return json.dumps({"critical": critical, "optional": {}}).encode()

    def described(self, signed: bytes, proof: str | None = None) -> dict[str, Any]:
        """A layer that holds a payload, with its signature."""
        proof = proof if proof is not None else sigstore.sign(signed, self.key)
        return {**self.registry.put_blob(signed, sigstore.PAYLOAD_TYPE), "annotations": {sigstore.SIGNATURE: proof}}

    def attach(self, *layers: dict[str, Any]) -> None:
        """Have the registry say that these are the signatures."""
        config = self.registry.put_blob(b"{}", CONFIG)
        self.replace({"schemaVersion": 2, "config": config, "layers": list(layers)}, MANIFEST)

    def replace(self, document: object, media_type: str) -> None:
        """Put something where the image of signatures is looked for."""
        self.registry.put_manifest(NAME, document, f"{self.image.replace(':', '-')}.sig", media_type)

    def pull(self, reference: str = "1") -> str:
        separator = "@" if ":" in reference else ":"
        name = f"{self.registry.host}/{NAME}{separator}{reference}"
        return self.cli.ok("pull", "-q", "--tls-verify=false", "--retry", "0", name)

    def refused(self) -> str:
        name = f"{self.registry.host}/{NAME}:1"
        told = self.cli.fails(125, "pull", "-q", "--tls-verify=false", "--retry", "0", name)
        assert "internal error" not in told
        assert self.cli.parts_of_images() == []
        assert not self.registry.requests(f"/blobs/{self.config_digest}"), "nothing is fetched before it is accepted"
        return told

    @property
    def config_digest(self) -> str:
        data, _ = self.registry.manifests[NAME, self.image]
        return str(json.loads(data)["config"]["digest"])


@pytest.fixture
def stage() -> Iterator[Stage]:
    with new_cli() as cli, FakeRegistry() as registry:
        yield Stage(cli, registry)


def test_the_true_signature_is_accepted_among_others(stage: Stage) -> None:
    strange = stage.described(stage.payload(), sigstore.sign(stage.payload(), signing.new_key("p256")))
    stage.attach(strange, stage.described(stage.payload(stage.other)), stage.described(stage.payload()))
    stage.pull()


Case = Callable[[Stage], None]
CASES: dict[str, Case] = {
    "no signature at all": lambda stage: None,
    "an image without layers": lambda stage: stage.attach(),
    "of another manifest": lambda stage: stage.attach(stage.described(stage.payload(stage.other))),
    "of the tag's name as digest": lambda stage: stage.attach(stage.described(stage.payload("sha256:../../x"))),
    "by another key": lambda stage: stage.attach(
        stage.described(stage.payload(), sigstore.sign(stage.payload(), signing.new_key("p256")))),
    "an empty proof": lambda stage: stage.attach(stage.described(stage.payload(), "")),
    "a proof that is no base64": lambda stage: stage.attach(stage.described(stage.payload(), "%%%")),
    "of another type": lambda stage: stage.attach(
        stage.described(stage.payload(type="atomic container signature"))),
    "with more than is known": lambda stage: stage.attach(stage.described(stage.payload(more=1))),
    "a digest that is a path": lambda stage: stage.attach(
        {**stage.described(stage.payload()), "digest": "sha256:../../../etc/passwd"}),
    "a payload without end": lambda stage: stage.attach({**stage.described(stage.payload()), "size": 1 << 39}),
    "a size below the truth": lambda stage: stage.attach({**stage.described(stage.payload()), "size": 10}),
    "a list instead of an image": lambda stage: stage.replace({"schemaVersion": 2, "manifests": []}, INDEX),
    "no JSON": lambda stage: stage.replace(b"\0", MANIFEST),
    "a thousand of them": lambda stage: stage.attach(*[stage.described(stage.payload())] * 1000),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_no_signature_of_the_image_keeps_it_out_rows_32_33(stage: Stage, name: str) -> None:
    CASES[name](stage)
    stage.refused()


def test_a_payload_with_other_bytes_than_its_digest_is_none(stage: Stage) -> None:
    described = stage.described(stage.payload())
    stage.attach(described)
    stage.registry.script(f"/blobs/{described['digest']}", Reply(flip=True), times=9)
    assert "digest mismatch" in stage.refused()


def test_a_registry_that_fails_on_the_signatures_is_no_way_round_them(stage: Stage) -> None:
    stage.attach(stage.described(stage.payload()))
    stage.registry.script(".sig", Reply(status=500), times=99)
    stage.refused()


def test_the_manifest_that_was_verified_is_the_one_that_is_unpacked(stage: Stage, tmp_path: Path) -> None:
    """The tag leads to the signed image for the first question, and to another one for every later question."""
    stage.attach(stage.described(stage.payload()))
    first = stage.registry.manifests[NAME, "1"]
    stage.registry.manifests[NAME, "1"] = stage.registry.manifests[NAME, "2"]
    data, media_type = first
    stage.registry.script(
        f"GET /v2/{NAME}/manifests/1",
        Reply(status=200, headers={"Content-Type": media_type}, body=data),
    )
    stage.pull()
    digest = stage.cli.ok("image", "inspect", "--format", "{{.Digest}}", f"{stage.registry.host}/{NAME}:1").strip()
    assert digest == stage.image
