"""Signatures and the policy that wants them: made and verified by this program, skopeo and podman for one another."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.registry import CONFIG, MANIFEST, layer
from tests.support import schemas, signing
from tests.support.cli import Cli, new_cli
from tests.support.images import Layout
from tests.support.registry import Registry
from tests.support.signing import PASSPHRASE, Keys

pytestmark = pytest.mark.needs("subuid", "docker-registry", "skopeo", "gpg")

PLAIN = "--tls-verify=false"
BYTES = "application/octet-stream"


@pytest.fixture(scope="module")
def keys() -> Iterator[Keys]:
    with signing.gpg_keys() as made:
        yield made


@pytest.fixture(scope="module")
def sigstore(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one key as ``cosign.key``, encrypted with the passphrase in ``passphrase``, ``plain.key`` and
    ``cosign.pub``."""
    directory = tmp_path_factory.mktemp("sigstore")
    key = signing.new_key("p256")
    (directory / "cosign.key").write_bytes(signing.cosign_pem(key, PASSPHRASE))
    (directory / "cosign.pub").write_bytes(signing.public_pem(key))
    (directory / "plain.key").write_bytes(signing.private_pem(key))
    (directory / "passphrase").write_text(f"{PASSPHRASE}\n")
    return directory


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI image layout of two images, ``good`` and ``other``."""
    made = Layout(tmp_path_factory.mktemp("images") / "signed")
    for name in ("good", "other"):
        made.add_image(name, [made.add_layer(layer({f"etc/{name}": b"x" * 100}))], {"Labels": {"name": name}})
    return made.directory


def digest_in(layout: Path, tag: str) -> str:
    entries = json.loads((layout / "index.json").read_bytes())["manifests"]
    return next(str(e["digest"]) for e in entries if e["annotations"]["org.opencontainers.image.ref.name"] == tag)


class Place:
    """A user, a repository of his at the registry, and the files that say whom he trusts."""

    def __init__(self, cli: Cli, registry: Registry, layout: Path, keys: Keys, name: str) -> None:
        self.cli, self.registry, self.layout, self.keys = cli, registry, layout, keys
        self.cli.environment.update(keys.environment)
        self.name, self.repository = name, f"{registry.address}/{name}"
        self.lookaside = cli.home / "signatures"
        self.config = cli.home / "config" / "containers"
        (self.config / "registries.d").mkdir(parents=True, exist_ok=True)
        (cli.home / ".config").symlink_to("config")  # podman looks for registries.d in the home directory alone
        where = f"file://{self.lookaside}"
        (self.config / "registries.d" / "tests.yaml").write_text(
            f"docker:\n  {registry.address}:\n    lookaside: {where}\n    lookaside-staging: {where}\n"
            "    use-sigstore-attachments: true\n"
        )

    @property
    def policy(self) -> Path:
        return self.config / "policy.json"

    def want(self, *requirements: dict[str, Any]) -> None:
        """Write a policy: nothing but images of the registry that meet the requirements."""
        transports = {"docker": {self.registry.address: list(requirements)}}
        self.policy.write_text(json.dumps({"default": [{"type": "reject"}], "transports": transports}))

    def signed_by(self, who: str, **more: Any) -> dict[str, Any]:
        return {"type": "signedBy", "keyType": "GPGKeys", "keyPath": str(self.keys.public(who)), **more}

    def program(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run another program as this user."""
        return subprocess.run(
            [str(word) for word in words], capture_output=True, text=True, timeout=120, env=self.cli.environment,
            check=False,
        )  # fmt: skip

    def skopeo(self, *words: str | Path) -> str:
        done = self.program("skopeo", "--registries.d", self.config / "registries.d", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def push(self, tag: str, image: str = "good", *options: str | Path) -> None:
        """Push with skopeo."""
        self.skopeo("--insecure-policy", "copy", "--dest-tls-verify=false", *options,
                    f"oci:{self.layout}:{image}", f"docker://{self.repository}:{tag}")  # fmt: skip

    def _request(self, method: str, path: str, data: bytes | None = None, media_type: str = BYTES) -> Any:
        url = path if path.startswith("http") else f"http://{self.registry.address}/v2/{self.name}/{path}"
        headers = {"Content-Type": media_type, "Accept": MANIFEST}
        with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=30) as answer:
            return answer.headers, answer.read()

    def put(self, path: str, data: bytes, media_type: str = BYTES) -> None:
        """Send something to the repository."""
        self._request("PUT", path, data, media_type)

    def get(self, path: str) -> bytes:
        """What the repository has."""
        found: bytes = self._request("GET", path)[1]
        return found

    def upload(self, data: bytes, media_type: str) -> dict[str, Any]:
        """Send a blob; its descriptor."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        location = self._request("POST", "blobs/uploads/", b"")[0]["Location"]
        self.put(f"{location}&digest={digest}", data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def signatures(self, tag: str = "good") -> Path:
        """Where the files with the signatures of an image are."""
        return self.lookaside / f"{self.name}@{digest_in(self.layout, tag).replace(':', '=')}"

    def pull(self, tag: str) -> str:
        return self.cli.ok("pull", "-q", PLAIN, f"{self.repository}:{tag}").strip()

    def refused(self, tag: str) -> str:
        """Pull in vain: nothing is in the store afterwards, and the reason is told."""
        told = self.cli.fails(125, "pull", "-q", PLAIN, f"{self.repository}:{tag}")
        assert self.cli.ok("images", "-aq") == ""
        assert self.cli.parts_of_images() == []
        return told


@pytest.fixture
def place(registry: Registry, layout: Path, keys: Keys, request: pytest.FixtureRequest) -> Iterator[Place]:
    with new_cli() as cli:
        name = "".join(char if char.isalnum() else "-" for char in request.node.name).strip("-").lower()
        yield Place(cli, registry, layout, keys, f"trust/{name[-60:].strip('-')}")


# Simple signing


def test_what_skopeo_signs_is_accepted_and_nothing_else(place: Place) -> None:
    place.push("1", "good", "--sign-by", place.keys.fingerprint("signer"))
    place.push("unsigned", "other")
    place.push("moved", "good")
    place.want(place.signed_by("stranger"))
    assert "by a key that is not accepted" in place.refused("1")
    place.want(place.signed_by("signer"))
    assert "a signature is required, and there is none" in place.refused("unsigned")
    assert "is for" in place.refused("moved")  # the same manifest, by a name that was not signed
    assert "rejects it" in place.cli.fails(125, "pull", "-q", f"oci:{place.layout}:good")
    assert "rejects it" in place.cli.fails(125, "pull", "-q", "docker.io/library/alpine")
    place.pull("1")


def test_a_signature_for_another_manifest_is_none(place: Place) -> None:
    place.push("1", "good", "--sign-by", place.keys.fingerprint("signer"))
    place.push("1", "other")  # whoever holds the registry moves the tag, and the signature with it
    shutil.copytree(place.signatures("good"), place.signatures("other"))
    place.want(place.signed_by("signer"))
    assert "is for the manifest" in place.refused("1")


def test_a_tampered_signature_is_none(place: Place) -> None:
    place.push("1", "good", "--sign-by", place.keys.fingerprint("signer"))
    place.want(place.signed_by("signer"))
    (file,) = place.signatures().iterdir()
    whole = file.read_bytes()
    for at in (len(whole) // 3, len(whole) // 2, len(whole) - 8):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        place.refused("1")
    payload = {
        "critical": {
            "identity": {"docker-reference": f"{place.repository}:1"},
            "image": {"docker-manifest-digest": digest_in(place.layout, "good")},
            "type": "atomic container signature",
        },
        "optional": {},
    }
    file.write_bytes(json.dumps(payload).encode())  # what was signed, without a signature
    assert "not one signed OpenPGP message" in place.refused("1")
    file.write_bytes(place.keys.sign(json.dumps({**payload, "more": 1}).encode()))
    assert "other fields" in place.refused("1")
    file.write_bytes(whole)
    place.pull("1")


def test_without_gpgv_nothing_is_accepted(place: Place, tmp_path: Path) -> None:
    place.push("1", "good", "--sign-by", place.keys.fingerprint("signer"))
    place.want(place.signed_by("signer"))
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("env", "newuidmap", "newgidmap"):
        (programs / name).symlink_to(shutil.which(name) or name)
    place.cli.environment["PATH"] = str(programs)
    assert "cannot find gpgv" in place.refused("1")


@pytest.mark.needs("podman")
def test_what_is_signed_here_is_accepted_by_skopeo_and_podman(place: Place, tmp_path: Path) -> None:
    image = place.cli.ok("pull", "-q", f"oci:{place.layout}:good").strip()
    fingerprint = place.keys.fingerprint("signer")
    place.cli.ok("push", "-q", PLAIN, "--sign-by", fingerprint, image, f"{place.repository}:ours")
    place.push("unsigned", "other")
    (file,) = place.signatures().iterdir()
    place.skopeo("--insecure-policy", "copy", "--src-tls-verify=false", "--remove-signatures",
                 f"docker://{place.repository}:ours", f"dir:{tmp_path / 'dir'}")  # fmt: skip
    place.skopeo("standalone-verify", tmp_path / "dir" / "manifest.json", f"{place.repository}:ours", fingerprint, file)
    place.want(place.signed_by("signer"))
    podman = ("podman", "--root", place.cli.home / "podman", "--runroot", place.cli.home / "run" / "podman",
              "--storage-driver", "vfs", "pull", "-q", PLAIN, "--signature-policy", place.policy)  # fmt: skip
    accepted = place.program(*podman, f"{place.repository}:ours")
    assert accepted.returncode == 0, accepted.stderr
    refused = place.program(*podman, f"{place.repository}:unsigned")
    assert refused.returncode != 0 and "signature" in refused.stderr, refused.stderr


def test_image_sign_signs_what_a_registry_has(place: Place, tmp_path: Path) -> None:
    place.push("1")
    place.want(place.signed_by("signer"))
    place.refused("1")
    signed = place.cli.ok("image", "sign", PLAIN, "--sign-by", "signer@example.com", f"docker://{place.repository}:1")
    assert signed == f"{place.signatures()}/signature-1\n"
    place.pull("1")
    place.cli.ok("image", "sign", PLAIN, "--sign-by", "signer@example.com", "-d", str(tmp_path),
                 f"{place.repository}:1")  # fmt: skip
    assert len(list(tmp_path.rglob("signature-1"))) == 1
    nobody = ("--sign-by", "nobody@example.com")
    assert "no such secret key" in place.cli.fails(125, "image", "sign", PLAIN, *nobody, f"{place.repository}:1")
    image = place.cli.ok("images", "-q").strip()
    assert "no such secret key" in place.cli.fails(125, "push", PLAIN, *nobody, image, f"{place.repository}:never")
    with pytest.raises(urllib.error.HTTPError):
        place.get("manifests/never")  # it was not pushed, then


def test_signatures_of_a_web_server_and_of_each_image_of_a_list(place: Place, tmp_path: Path) -> None:
    image = place.cli.ok("pull", "-q", f"oci:{place.layout}:good").strip()
    place.cli.ok("manifest", "create", "both", image)
    target = f"{place.repository}:list"
    signer = ("--sign-by", place.keys.fingerprint("signer"))
    place.cli.ok("manifest", "push", "-q", PLAIN, *signer, "both", target)
    assert len(list(place.lookaside.rglob("signature-1"))) == 2  # of the list, and of its image
    place.cli.ok("manifest", "rm", "both")
    place.cli.ok("rmi", "-f", image)
    handler = partial(SimpleHTTPRequestHandler, directory=str(place.lookaside))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        (place.config / "registries.d" / "tests.yaml").write_text(
            f"docker:\n  {place.registry.address}:\n    lookaside: http://127.0.0.1:{server.server_port}\n"
        )
        place.want(place.signed_by("stranger"))
        assert "by a key that is not accepted" in place.refused("list")
        place.want(place.signed_by("signer"))
        assert place.pull("list") == image
        server.shutdown()
    assert "cannot reach" in place.cli.fails(125, "pull", "-q", PLAIN, "--retry", "0", target)


# Sigstore


def sigstore_signed(path: Path, **more: Any) -> dict[str, Any]:
    return {"type": "sigstoreSigned", "keyPath": str(path), **more}


def payload(name: str, digest: str) -> bytes:
    """What cosign signs, as it writes it."""
    critical = {"identity": {"docker-reference": name}, "image": {"docker-manifest-digest": digest},
                "type": "cosign container image signature"}  # fmt: skip
    return json.dumps({"critical": critical, "optional": None}, separators=(",", ":")).encode()


def attach(place: Place, digest: str, signed: bytes, signature: bytes) -> None:
    """Put a signature into the registry as cosign does."""
    annotations = {"dev.cosignproject.cosign/signature": base64.b64encode(signature).decode()}
    described = place.upload(signed, "application/vnd.dev.cosign.simplesigning.v1+json")
    layers = [{**described, "annotations": annotations}]
    config = {"architecture": "", "created": "0001-01-01T00:00:00Z", "config": {}, "os": "",
              "rootfs": {"type": "layers", "diff_ids": [layers[0]["digest"]]}}  # fmt: skip
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": place.upload(json.dumps(config).encode(), CONFIG),
                "layers": layers}  # fmt: skip
    place.put(f"manifests/{digest.replace(':', '-')}.sig", json.dumps(manifest).encode(), MANIFEST)


def openssl(*words: str | Path, stdin: bytes = b"") -> bytes:
    command = ["openssl", *(str(word) for word in words)]
    return subprocess.run(command, input=stdin, capture_output=True, check=True).stdout


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa"])
def test_a_signature_by_openssl_in_the_form_of_cosign_is_accepted(place: Place, kind: str, tmp_path: Path) -> None:
    key = signing.new_key(kind)
    private, public, stranger = (tmp_path / name for name in ("private", "public", "stranger"))
    private.write_bytes(signing.private_pem(key))
    public.write_bytes(signing.public_pem(key))
    stranger.write_bytes(signing.public_pem(signing.new_key(kind)))
    place.push("1", "good")
    place.push("moved", "good")
    digest = digest_in(place.layout, "good")
    signed = payload(f"{place.repository}:1", digest)
    attach(place, digest, signed, openssl("dgst", "-sha256", "-sign", private, stdin=signed))
    place.want(sigstore_signed(stranger))
    assert "not by an accepted key" in place.refused("1")
    place.want(sigstore_signed(public))
    assert "is for" in place.refused("moved")
    place.pull("1")
    data = base64.b64encode(public.read_bytes()).decode()
    place.want({"type": "sigstoreSigned", "keyData": data, "signedIdentity": {"type": "matchRepository"}})
    place.pull("moved")


def test_a_sigstore_signature_of_something_else_is_none(place: Place, sigstore: Path) -> None:
    key = sigstore / "plain.key"
    digests = [digest_in(place.layout, tag) for tag in ("good", "other")]
    place.push("1", "good")
    place.want(sigstore_signed(sigstore / "cosign.pub", signedIdentity={"type": "matchRepository"}))
    assert "a signature is required, and there is none" in place.refused("1")
    signed = payload(place.repository, digests[1])
    signature = openssl("dgst", "-sha256", "-sign", key, stdin=signed)
    attach(place, digests[0], signed, signature)
    assert "is for the manifest" in place.refused("1")
    attach(place, digests[0], payload(place.repository, digests[0]), signature)
    assert "not of this payload" in place.refused("1")
    other = payload("registry.example.com/else", digests[0])
    attach(place, digests[0], other, openssl("dgst", "-sha256", "-sign", key, stdin=other))
    assert "which matchRepository does not take" in place.refused("1")


def test_push_signs_with_a_key_of_cosign(place: Place, sigstore: Path, tmp_path: Path) -> None:
    image = place.cli.ok("pull", "-q", f"oci:{place.layout}:good").strip()
    key = ("--sign-by-sigstore-private-key", str(sigstore / "cosign.key"))
    target = f"{place.repository}:ours"
    assert "it is encrypted" in place.cli.fails(125, "push", PLAIN, *key, image, target)
    secret = ("--sign-passphrase-file", str(sigstore / "passphrase"))
    place.cli.ok("push", "-q", PLAIN, *key, *secret, image, target)
    place.cli.ok("push", "-q", PLAIN, *key, *secret, image, f"{place.repository}:again")  # a second one beside it
    place.want(sigstore_signed(sigstore / "cosign.pub"))
    place.pull("ours")
    place.pull("again")
    tag = digest_in(place.layout, "good").replace(":", "-") + ".sig"
    manifest = json.loads(place.get(f"manifests/{tag}"))
    assert [len(manifest["layers"]), manifest["config"]["mediaType"]] == [2, CONFIG]
    config = json.loads(place.get(f"blobs/{manifest['config']['digest']}"))
    assert list(schemas.problems(config, schemas.CONFIG)) == []
    for described in manifest["layers"]:
        signature = base64.b64decode(described["annotations"]["dev.cosignproject.cosign/signature"])
        (tmp_path / "signature").write_bytes(signature)
        openssl("dgst", "-sha256", "-verify", sigstore / "cosign.pub", "-signature", tmp_path / "signature",
                stdin=place.get(f"blobs/{described['digest']}"))  # fmt: skip


# The policy


def test_trust_is_shown_and_set(cli: Cli, keys: Keys) -> None:
    cli.environment.update(keys.environment)
    assert "accept" in cli.ok("image", "trust", "show")
    cli.ok("image", "trust", "set", "--type", "reject", "default")
    cli.ok("image", "trust", "set", "-f", str(keys.public("signer")), "registry.example.com/team")
    cli.ok("image", "trust", "set", "-t", "accept", "registry.example.com/open")
    policy = json.loads((cli.home / "config" / "containers" / "policy.json").read_bytes())
    assert policy == {
        "default": [{"type": "reject"}],
        "transports": {"docker": {
            "registry.example.com/team": [
                {"type": "signedBy", "keyType": "GPGKeys", "keyPath": str(keys.public("signer"))}],
            "registry.example.com/open": [{"type": "insecureAcceptAnything"}],
        }},
    }  # fmt: skip
    rows = json.loads(cli.ok("image", "trust", "show", "--json"))
    assert [(row["repo_name"], row["type"], row.get("gpg_id")) for row in rows] == [
        ("default", "reject", None), ("registry.example.com/team", "signed", "signer@example.com"),
        ("registry.example.com/open", "accept", None),
    ]  # fmt: skip
    assert json.loads(cli.ok("image", "trust", "show", "--raw")) == policy
    (one,) = json.loads(cli.ok("image", "trust", "show", "--json", "registry.example.com/open"))
    assert one["type"] == "accept"
    assert "without a key" in cli.fails(125, "image", "trust", "set", "registry.example.com")


def test_a_policy_that_is_not_understood_lets_nothing_in(cli: Cli, layout: Path) -> None:
    path = cli.home / "config" / "containers" / "policy.json"
    path.parent.mkdir()
    path.write_text('{"default": [{"type": "acceptt"}]}')
    assert f"cannot use {path}" in cli.fails(125, "pull", "-q", f"oci:{layout}:good")
    assert os.listdir(cli.data / "images" / "blobs" / "sha256") == []


def test_archives_are_asked_for_by_their_path(cli: Cli, layout: Path) -> None:
    path = cli.home / "config" / "containers" / "policy.json"
    path.parent.mkdir()
    inside = {str(layout.parent): [{"type": "insecureAcceptAnything"}]}
    path.write_text(json.dumps({"default": [{"type": "reject"}], "transports": {"oci": inside}}))
    cli.ok("pull", "-q", f"oci:{layout}:good")
    copy = cli.home / "layout"
    shutil.copytree(layout, copy)
    assert "rejects it" in cli.fails(125, "pull", "-q", f"oci:{copy}:good")
    assert "rejects it" in cli.fails(125, "load", "-q", "-i", str(copy))
    assert "rejects it" in cli.fails(125, "import", "-q", str(copy / "index.json"))
