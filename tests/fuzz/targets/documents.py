"""Targets: JSON, and the documents of images and runtimes that are written in it."""

from __future__ import annotations

import json
import math
from typing import Any

from rootless.engine.images import source
from rootless.engine.images.platform import choose, wanted
from rootless.idmaps import IdMap
from rootless.registry.client import document_type
from rootless.runtime import plan, validate
from rootless.runtime.bundle import directory_root
from rootless.security import seccomp_compile, seccomp_profile
from storage import index, jsonfast, oci
from tests.fuzz.targets.target import Target, packed
from tests.support import bundles

_DIGEST = "sha256:" + "a" * 64
_MAP = IdMap([(0, 1000, 1), (1, 100000, 65536)], [(0, 1000, 1), (1, 100000, 65536)])
_MANIFEST = {
    "schemaVersion": 2, "mediaType": oci.MANIFEST,
    "config": {"mediaType": oci.CONFIG, "digest": _DIGEST, "size": 2},
    "layers": [{"mediaType": oci.LAYER_GZIP, "digest": _DIGEST, "size": 3, "urls": ["http://b/"]}],
}  # fmt: skip
_INDEX = {
    "schemaVersion": 2, "mediaType": oci.INDEX,
    "manifests": [{"mediaType": oci.MANIFEST, "digest": _DIGEST, "size": 4,
                   "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}}],
}  # fmt: skip
_CONFIG = {
    "architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z",
    "rootfs": {"type": "layers", "diff_ids": [_DIGEST]}, "history": [{"created_by": "x", "empty_layer": True}],
    "config": {"User": "1:2", "Env": ["A=b"], "Cmd": ["sh"], "Entrypoint": ["/e"], "WorkingDir": "/w",
               "Labels": {"a": "b"}, "Volumes": {"/v": {}}, "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGTERM",
               "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1000000000}},
}  # fmt: skip


def _same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, float) and isinstance(theirs, float) and math.isnan(theirs):
        return math.isnan(ours)
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return list(ours) == list(theirs) and all(_same(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_same, ours, theirs))
    return type(ours) is type(theirs) and ours == theirs


def json_texts(data: bytes) -> None:
    """What is read has the meaning that Python's own reader gives it."""
    ours = jsonfast.loads(data)
    assert _same(ours, json.loads(data.decode()))
    assert _same(jsonfast.loads(jsonfast.dumps(ours)), ours)


def image_manifest(data: bytes) -> None:
    """A manifest or an index, as it comes from a registry: one meaning, valid digests, sizes in bounds."""
    media_type = document_type(data, "", "name")
    if media_type in oci.INDEX_TYPES:
        choose(oci.check_index(jsonfast.loads_strict(data), media_type), wanted({}), "app")
        return
    manifest = source.read_manifest(data, media_type, "app")
    for descriptor in manifest["layers"]:
        assert oci.is_digest(descriptor["digest"])
        assert 0 <= descriptor["size"] <= oci.MAX_BLOB


def image_config(data: bytes) -> None:
    """An image's config: what is accepted has the types that the code relies on."""
    manifest: Any = _MANIFEST
    config = source.read_config(data, manifest, "app")
    inner = config.get("config") or {}
    assert all(isinstance(word, str) for key in ("Env", "Cmd", "Entrypoint") for word in inner.get(key) or [])
    assert all(isinstance(inner.get(key) or "", str) for key in ("User", "WorkingDir", "StopSignal"))


def image_index(data: bytes) -> None:
    """The store's own index.json, damaged."""
    index.parse(data, "index.json")


def runtime_spec(data: bytes) -> None:
    """A bundle's config.json: refused, or a plan that can be shown and sent to the child."""
    document = jsonfast.loads(data)
    if isinstance(document, dict):
        spec: Any = document
        validate.check(spec)
        plan.compile(spec, directory_root("/bundle/rootfs"), _MAP, {}).describe()


def seccomp_rules(data: bytes) -> None:
    """A seccomp profile: refused, or a program that the kernel could load."""
    profile = seccomp_profile.parse(data, "profile")
    code = seccomp_compile.compile_rules(seccomp_profile.to_spec(profile, {"CAP_CHOWN"}, "x86_64", "6.1.0"))
    assert len(code) % 8 == 0


TARGETS = (
    Target(json_texts, packed(_MANIFEST, [1, -2.5e3, "é\n", None, True], {"a": {"b": [{}]}}) + [b'"\\ud83d\\ude00"'],
           also=(ValueError,)),
    Target(image_manifest, packed(_MANIFEST, _INDEX)),
    Target(image_config, packed(_CONFIG)),
    Target(image_index, packed(_INDEX, {"schemaVersion": 2, "manifests": []})),
    Target(runtime_spec, packed(bundles.spec("/bin/true")), also=(ValueError,)),
    Target(seccomp_rules, packed(
        {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures": ["SCMP_ARCH_X86_64"],
         "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
                      {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
                       "includes": {"caps": ["CAP_CHOWN"]},
                       "args": [{"index": 0, "value": 40, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ"}]}]})),
)  # fmt: skip
