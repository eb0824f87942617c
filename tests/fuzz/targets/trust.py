"""Targets: policies, signatures, keys and the documents around them."""

from __future__ import annotations

from rootless.engine.images.manifests import with_entry
from rootless.engine.images.platform import choose, wanted
from rootless.engine.images.trust import check, gpg, payload, policy, registries_d
from storage import jsonfast, oci, reference
from storage.artifacts import check_artifact
from tests.fuzz.targets.target import Target, packed

_DIGEST = "sha256:" + "a" * 64
_POLICY = {
    "default": [{"type": "reject"}],
    "transports": {"docker": {"example.com/team": [
        {"type": "signedBy", "keyType": "GPGKeys", "keyPaths": ["/k"], "signedIdentity": {"type": "matchExact"}},
        {"type": "sigstoreSigned", "keyData": "eA==", "signedIdentity": {
            "type": "remapIdentity", "prefix": "example.com", "signedPrefix": "e.org"}}]},
        "": {"": [{"type": "insecureAcceptAnything"}]}},
}  # fmt: skip
_LAYER = {"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": _DIGEST, "size": 3,
          "annotations": {"dev.cosignproject.cosign/signature": "eA=="}}  # fmt: skip
_ARTIFACT = {"schemaVersion": 2, "mediaType": oci.MANIFEST, "artifactType": "x/y",
             "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": _DIGEST, "size": 2},
             "layers": [{**_LAYER, "annotations": {"org.opencontainers.image.title": "../x"}}]}  # fmt: skip
_INDEX = {"schemaVersion": 2, "mediaType": oci.INDEX, "subject": _LAYER,
          "manifests": [{"mediaType": oci.MANIFEST, "digest": _DIGEST, "size": 4, "artifactType": "x/y",
                         "platform": {"os": "linux", "architecture": "arm64", "os.features": ["a"]}}]}  # fmt: skip


def trust_policy(data: bytes) -> None:
    """A policy: refused, or one whose requirements are of known kinds."""
    found = policy.parse(data)
    kinds = {policy.ACCEPT, policy.REJECT, policy.SIGNED_BY, policy.SIGSTORE}
    scopes = policy.scopes_of_reference("example.com/team/app:1", "example.com/team/app")
    wanted_here = found.requirements("docker", scopes)
    assert wanted_here and {requirement.kind for requirement in wanted_here} <= kinds
    for requirement in wanted_here:
        assert not requirement.wants_signature or requirement.identity["type"]


def signed_payload(data: bytes) -> None:
    """What a signature signs: a digest that can be compared, and a name that is compared without a surprise."""
    for kind in (payload.ATOMIC, payload.COSIGN):
        if kind.encode() in data:
            found = payload.parse(data, kind)
            assert oci.is_digest(found.digest)
            payload.check_identity(found.name, reference.parse("example.com/a:1"), {"type": "matchRepository"})


def signature_image(data: bytes) -> None:
    """The image that holds sigstore's signatures."""
    for layer, proof in check.layers_of(data):
        assert oci.is_digest(layer["digest"])
        assert isinstance(proof, str)


def signature_places(data: bytes) -> None:
    """A file of registries.d."""
    registries_d.parse(data, "x.yaml")


def armored_key(data: bytes) -> None:
    """Exported public keys."""
    assert gpg.dearmored(data) is not None


def artifact_manifest(data: bytes) -> None:
    """The manifest of an artifact: blobs that have a digest and a size."""
    found = check_artifact(jsonfast.loads_strict(data))
    assert all(oci.is_digest(part["digest"]) for part in (found["config"], *found["layers"]))


def image_list(data: bytes) -> None:
    """A list that grows by one of its own entries is one that can be read again."""
    found = oci.check_index(jsonfast.loads_strict(data))
    choose(found, wanted({}), "app")
    grown = with_entry(found, {"mediaType": oci.MANIFEST, "digest": _DIGEST, "size": 1})
    assert oci.check_index(jsonfast.loads_strict(jsonfast.dumps({**grown, "schemaVersion": 2})))


TARGETS = (
    Target(trust_policy, packed(_POLICY)),
    Target(signed_payload, [payload.make(_DIGEST, "example.com/a:1", payload.ATOMIC, {"creator": "x", "timestamp": 1}),
                            payload.make(_DIGEST, "example.com/a", payload.COSIGN, {})]),
    Target(signature_image, packed({"schemaVersion": 2, "layers": [_LAYER]})),
    Target(signature_places, [b"docker:\n  e.com/a:\n    lookaside: file:///x\n    use-sigstore-attachments: true\n",
                              b"default-docker: {lookaside-staging: 'https://x', sigstore: file:///y}\n"]),
    Target(armored_key, [b"-----BEGIN PGP PUBLIC KEY BLOCK-----\nVersion: x\n\nmQEN\n=abcd\n"
                         b"-----END PGP PUBLIC KEY BLOCK-----\n"]),
    Target(artifact_manifest, packed(_ARTIFACT)),
    Target(image_list, packed(_INDEX)),
)  # fmt: skip
