"""The policy, what signatures sign, and keys: pure functions, and the two programs that prove a signature."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.engine.images.trust import check, gpg, payload, policy, registries_d, sigstore
from rootless.engine.images.trust.payload import SignatureError
from rootless.engine.images.trust.policy import PolicyError
from rootless.errors import RootlessError
from storage import oci, reference
from tests.support import signing

DIGEST = "sha256:" + "1" * 64
ACCEPT, REJECT = {"type": "insecureAcceptAnything"}, {"type": "reject"}


def parsed(document: Any) -> policy.Policy:
    return policy.parse(json.dumps(document).encode())


@pytest.mark.parametrize("document", [
    {}, [], None, {"default": []}, {"default": {}}, {"default": [{}]}, {"default": [{"type": []}]},
    {"default": [{"type": "acceptt"}]}, {"default": [{"type": "reject", "x": 1}]},
    {"default": [ACCEPT], "defualt": [REJECT]}, {"default": [ACCEPT], "transports": []},
    {"default": [ACCEPT], "transports": {"docker": [REJECT]}},
    {"default": [ACCEPT], "transports": {"docker": {"x": []}}},
    {"default": [{"type": "signedBy"}]}, {"default": [{"type": "signedBy", "keyType": "GPGKeys"}]},
    {"default": [{"type": "signedBy", "keyType": "X509Certificates", "keyPath": "/k"}]},
    {"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k", "keyData": "x"}]},
    {"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPaths": []}]},
    {"default": [{"type": "sigstoreSigned", "keyPath": 1}]},
    {"default": [{"type": "sigstoreSigned", "keyPath": "/k", "fulcio": {}}]},
    {"default": [{"type": "sigstoreSigned", "keyPath": "/k", "rekorPublicKeyPath": "/r"}]},
    {"default": [{"type": "sigstoreSigned", "keyPath": "/k", "signedIdentity": {"type": "any"}}]},
    {"default": [{"type": "sigstoreSigned", "keyPath": "/k", "signedIdentity": {"type": "exactReference"}}]},
    {"default": [{"type": "sigstoreSigned", "keyPath": "/k", "signedIdentity": {"type": "matchExact", "x": "y"}}]},
])  # fmt: skip
def test_a_policy_with_a_slip_is_refused(document: Any) -> None:
    with pytest.raises(PolicyError, match="cannot use policy.json"):
        parsed(document)


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(PolicyError):
        policy.parse(b'{"default": [{"type": "reject"}], "default": [{"type": "insecureAcceptAnything"}]}')


def test_the_narrowest_scope_counts() -> None:
    names = ["example.com:5000/team/app:1", "example.com:5000/team", "example.com:5000", "*.com", ""]
    found = policy.scopes_of_reference("example.com:5000/team/app:1", "example.com:5000/team/app")
    assert list(found) == ["example.com:5000/team/app:1", "example.com:5000/team/app", "example.com:5000/team",
                           "example.com:5000", "*.com"]  # fmt: skip
    for number, name in enumerate(names):
        docker = {name: [ACCEPT]} | {wider: [REJECT] for wider in names[number + 1 :]}
        scopes = policy.scopes_of_reference("example.com:5000/team/app:1", "example.com:5000/team/app")
        (wanted,) = parsed({"default": [REJECT], "transports": {"docker": docker}}).requirements("docker", scopes)
        assert wanted.kind == policy.ACCEPT
    (wanted,) = parsed({"default": [REJECT], "transports": {"docker": {"": [ACCEPT]}}}).requirements("oci", [])
    assert wanted.kind == policy.REJECT
    assert list(policy.scopes_of_path("/a/b", "x")) == ["/a/b:x", "/a/b", "/a"]


@pytest.mark.parametrize(("identity", "signed", "full", "good"), [
    ("matchRepoDigestOrExact", "e.com/a:1", "e.com/a:1", True),
    ("matchRepoDigestOrExact", "e.com/a:2", "e.com/a:1", False),
    ("matchRepoDigestOrExact", "e.com/a", "e.com/a:latest", False),
    ("matchRepoDigestOrExact", "e.com/a:2", f"e.com/a@{DIGEST}", True),
    ("matchRepoDigestOrExact", "e.com/b:2", f"e.com/a@{DIGEST}", False),
    ("matchRepoDigestOrExact", "e.com/a:2", f"e.com/a:1@{DIGEST}", False),
    ("matchRepoDigestOrExact", "busybox:1", "docker.io/library/busybox:1", True),
    ("matchExact", "e.com/a:1", "e.com/a:1", True), ("matchExact", "e.com/a:1", f"e.com/a@{DIGEST}", False),
    ("matchRepository", "e.com/a", "e.com/a:1", True), ("matchRepository", "e.com/ab", "e.com/a:1", False),
    ({"type": "exactReference", "dockerReference": "e.com/x:1"}, "e.com/x:1", "e.com/a:1", True),
    ({"type": "exactReference", "dockerReference": "e.com/x:1"}, "e.com/x:2", "e.com/a:1", False),
    ({"type": "exactReference", "dockerReference": "e.com/x"}, "e.com/x", "e.com/a:1", False),
    ({"type": "exactRepository", "dockerRepository": "e.com/x"}, "e.com/x:9", "e.com/a:1", True),
    ({"type": "exactRepository", "dockerRepository": "e.com/x"}, "e.com/a:1", "e.com/a:1", False),
    ({"type": "remapIdentity", "prefix": "m.com", "signedPrefix": "e.com/x"}, "e.com/x/a:1", "m.com/a:1", True),
    ({"type": "remapIdentity", "prefix": "m.com", "signedPrefix": "e.com/x"}, "m.com/a:1", "m.com/a:1", False),
    ({"type": "remapIdentity", "prefix": "m.co", "signedPrefix": "e.com"}, "e.comm/a:1", "m.com/a:1", False),
    ("matchRepository", "../../x", "e.com/a:1", False), ("matchRepository", "", "e.com/a:1", False),
])  # fmt: skip
def test_which_name_must_have_been_signed(identity: Any, signed: str, full: str, good: bool) -> None:
    wanted = {"type": identity} if isinstance(identity, str) else identity
    if good:
        payload.check_identity(signed, reference.parse(full), wanted)
    else:
        with pytest.raises(SignatureError):
            payload.check_identity(signed, reference.parse(full), wanted)


def test_what_is_signed_is_read_back() -> None:
    data = payload.make(DIGEST, "e.com/a:1", payload.ATOMIC, {"creator": "x", "timestamp": 1})
    assert payload.parse(data, payload.ATOMIC) == (DIGEST, "e.com/a:1")
    with pytest.raises(SignatureError, match="its type is"):
        payload.parse(data, payload.COSIGN)


@pytest.mark.parametrize(("old", "new"), [
    (b'"type"', b'"typ"'), (DIGEST.encode(), b"sha256:../../x"), (b'"e.com/a:1"', b"1"),
    (b'{"critical"', b'{"more":1,"critical"'), (b'"critical":{', b'"critical":{"x":1,'), (b"}", b""),
    (b'"optional":{}', b'"optional":[]'), (b'"identity":{', b'"identity":{"docker-reference":"e.com/b:1",'),
])  # fmt: skip
def test_a_payload_of_another_shape_is_refused(old: bytes, new: bytes) -> None:
    data = payload.make(DIGEST, "e.com/a:1", payload.COSIGN, {})
    assert old in data
    with pytest.raises(SignatureError):
        payload.parse(data.replace(old, new), payload.COSIGN)


@given(st.binary(max_size=300))
def test_no_bytes_are_a_surprise(data: bytes) -> None:
    for read in (lambda: payload.parse(data, payload.ATOMIC), lambda: policy.parse(data),
                 lambda: registries_d.parse(data, "x.yaml"), lambda: gpg.dearmored(data),
                 lambda: check.layers_of(data), lambda: sigstore.public_key(data, "x"),
                 lambda: sigstore.private_key(data, b"x", "x")):  # fmt: skip
        try:
            read()
        except RootlessError as error:
            assert len(error.message) < 1000


# Keys


@pytest.mark.parametrize("kind", ["p256", "p384", "ed25519", "rsa"])
def test_a_signature_fits_one_key_and_one_payload(kind: str) -> None:
    key, other = signing.new_key(kind), signing.new_key(kind)
    public = [sigstore.public_key(signing.public_pem(each), "x") for each in (key, other)]
    private = sigstore.private_key(signing.private_pem(key), None, "x")
    signature = sigstore.sign(b"payload", private)
    sigstore.verify(b"payload", signature, public[::-1])
    for signed, proof, keys in ((b"payloae", signature, public), (b"payload", signature, public[1:]),
                                (b"payload", "AAAA", public), (b"payload", "?", public)):  # fmt: skip
        with pytest.raises(SignatureError):
            sigstore.verify(signed, proof, keys)


@pytest.mark.parametrize("kind", ["", "ENCRYPTED COSIGN PRIVATE KEY", "ENCRYPTED SIGSTORE PRIVATE KEY"])
def test_encrypted_keys_need_their_passphrase(kind: str) -> None:
    key = signing.new_key("p256")
    data = signing.cosign_pem(key, "right", kind) if kind else signing.private_pem(key, "right")
    assert sigstore.private_key(data, b"right", "x").curve.name == "secp256r1"
    for passphrase in (None, b"wrong"):
        with pytest.raises(RootlessError, match="cannot use the private key x"):
            sigstore.private_key(data, passphrase, "x")


def test_weak_and_strange_keys_are_refused() -> None:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    for key in (weak, ec.generate_private_key(ec.SECP256K1())):
        with pytest.raises(RootlessError, match="of a kind that is not accepted"):
            sigstore.public_key(signing.public_pem(key), "x")


def test_a_cosign_key_may_not_ask_for_all_memory() -> None:
    data = signing.cosign_pem(signing.new_key("p256"), "x")
    begin, body, end = data.partition(b"-----\n")[0], b"".join(data.splitlines()[1:-1]), data.splitlines()[-1]
    box = json.loads(base64.b64decode(body))
    box["kdf"]["params"] = {"N": 1 << 30, "r": 8, "p": 1}
    text = begin + b"-----\n" + base64.encodebytes(json.dumps(box).encode()) + end
    with pytest.raises(RootlessError, match="beyond all measure"):
        sigstore.private_key(text, b"x", "x")


@pytest.mark.needs("gpg")
def test_gpgv_knows_no_keys_but_those_it_is_given(tmp_path: Path) -> None:
    with signing.gpg_keys() as keys:
        public = {who: keys.public(who).read_bytes() for who in ("signer", "stranger")}
        signed = keys.sign(b"what was signed")
        assert gpg.verify(signed, [public["stranger"] + public["signer"]], str(tmp_path)) == b"what was signed"
        assert gpg.verify(signed, [gpg.dearmored(public["signer"])], str(tmp_path)) == b"what was signed"
        with pytest.raises(SignatureError, match="by a key that is not accepted"):
            gpg.verify(signed, [public["stranger"]], str(tmp_path))
        # What follows the message is not looked at, and is no part of what was signed.
        assert gpg.verify(signed + keys.sign(b"more"), [public["signer"]], str(tmp_path)) == b"what was signed"
        for bad in (keys.sign(b"by another", "stranger") + signed, signed[: len(signed) // 2], b"", b"what was signed"):
            with pytest.raises(SignatureError):
                gpg.verify(bad, [public["signer"]], str(tmp_path))
        with pytest.raises(RootlessError, match="nobody@example.com"):
            gpg.sign(b"x", "nobody@example.com")
    assert list(tmp_path.iterdir()) == []


# Where signatures are


def test_registries_d(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "default-docker:\n  lookaside: https://all.example.com/\n"
        "docker:\n  e.com/team:\n    lookaside: https://team.example.com\n    lookaside-staging: file:///srv/team\n"
        "    use-sigstore-attachments: false\n"
    )
    (tmp_path / "b.yaml").write_text("docker:\n  old.com:\n    sigstore: file:///srv/old\n")
    (tmp_path / "c.yaml").write_text("")

    def place(name: str) -> registries_d.Place:
        return registries_d.place_of(reference.parse(name), str(tmp_path))

    assert place("e.com/team/a:1") == ("https://team.example.com/team/a", "file:///srv/team/team/a", False)
    assert place("e.com/b:1") == ("https://all.example.com/b", "", None)
    assert place("old.com/x:1") == ("file:///srv/old/x", "file:///srv/old/x", None)
    for text in ("docker: [", "docker: 1", "docker:\n  x:\n    lookasidee: file:///x", "x: 1",
                 "docker:\n  x:\n    lookaside: ftp://x", "docker:\n  old.com: {}"):  # fmt: skip
        (tmp_path / "d.yaml").write_text(text)
        with pytest.raises(RootlessError, match="cannot use .*d.yaml"):
            place("e.com/b:1")


def test_signature_images_of_another_shape_are_refused() -> None:
    layer = {"mediaType": sigstore.PAYLOAD_TYPE, "digest": oci.Digest.of(b"x"), "size": 1}
    assert check.layers_of(json.dumps({"layers": [layer]}).encode()) == [(layer, "")]
    assert check.layers_of(json.dumps({"layers": [{**layer, "mediaType": "x/y"}]}).encode()) == []
    documents: list[Any] = [{}, {"layers": [layer] * 200}, {"layers": [{**layer, "digest": "x"}]}, []]
    for document in documents:
        with pytest.raises(PolicyError):
            check.layers_of(json.dumps(document).encode())
