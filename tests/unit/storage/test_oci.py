"""Digests, manifests, indexes and configurations as strangers may write them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import oci
from storage.errors import StorageError

DIGEST = "sha256:" + "a" * 64
BAD_DIGESTS = [
    "", "sha256:", "sha256:" + "a" * 63, "sha256:" + "a" * 65, "sha256:" + "A" * 64, "sha256:../../x",
    "md5:" + "a" * 32,
    "sha256:" + "a" * 63 + "\0", "sha256:" + "a" * 63 + "/", "sha256-" + "a" * 64, "sha512:" + "a" * 64, "a" * 64,
    "sha256:" + "a" * 64 + "\n", " " + DIGEST, "SHA256:" + "a" * 64, "sha256:" + "à" * 64, "sha256:" + "٣" * 64]
LAYER = {"mediaType": oci.LAYER_GZIP, "digest": DIGEST, "size": 1}
MANIFEST: dict[str, Any] = {
    "schemaVersion": 2, "mediaType": oci.MANIFEST, "config": {"mediaType": oci.CONFIG, "digest": DIGEST, "size": 2},
    "layers": [LAYER]}
INDEX: dict[str, Any] = {
    "schemaVersion": 2, "mediaType": oci.INDEX, "manifests": [
        {"mediaType": oci.MANIFEST, "digest": DIGEST, "size": 3, "platform": {"os": "linux", "architecture": "amd64"}}]}
CONFIG: dict[str, Any] = {
    "architecture": "amd64", "os": "linux", "variant": "v8", "created": "2024-01-01T00:00:00Z", "author": "somebody",
    "config": {
        "User": "1:1", "WorkingDir": "/", "StopSignal": "SIGTERM", "Env": ["A=b"], "Cmd": ["sh"],
        "Entrypoint": ["/e"], "Shell": ["sh"], "OnBuild": ["RUN x"], "Labels": {"a": "b"},
        "Volumes": {"/data": {}},
        "ExposedPorts": {"80/tcp": {}}, "StopTimeout": 5, "ArgsEscaped": True,
        "Healthcheck": {
            "Test": ["CMD", "x"], "Interval": 1, "Timeout": 1, "StartPeriod": 1, "StartInterval": 1, "Retries": 1}},
    "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
    "history": [{"created": "x", "created_by": "y", "author": "z", "comment": "c", "empty_layer": True}]}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from([DIGEST, oci.INDEX]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from([*MANIFEST, *INDEX, *LAYER, *CONFIG, *CONFIG["config"], "annotations", "urls"]), inner,
        max_size=4))


@pytest.mark.parametrize("text", [*BAD_DIGESTS, None, 1, [], {}, b"sha256:" + b"a" * 64])
def test_bad_digests(text: object) -> None:
    assert not oci.is_digest(text)
    with pytest.raises(StorageError):
        oci.Digest(text)


@pytest.mark.parametrize("text", [DIGEST, "sha512:" + "0" * 128])
def test_good_digests(text: str) -> None:
    digest = oci.Digest(text)
    assert digest == text
    assert f"{digest.algorithm}:{digest.encoded}" == text


def test_digest_of() -> None:
    assert oci.Digest.of(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_good_documents() -> None:
    assert oci.check_manifest(MANIFEST) == MANIFEST
    assert oci.check_manifest(MANIFEST, oci.MANIFEST + "; charset=utf-8") == MANIFEST
    assert oci.check_index(INDEX) == INDEX
    assert oci.check_config(CONFIG) == CONFIG


def test_docker_documents() -> None:
    config = {**MANIFEST["config"], "mediaType": oci.DOCKER_CONFIG}
    manifest = {**MANIFEST, "mediaType": oci.DOCKER_MANIFEST, "config": config}
    assert oci.check_media_type(manifest) == oci.DOCKER_MANIFEST
    assert oci.check_manifest(manifest, oci.DOCKER_MANIFEST) == manifest
    assert oci.check_media_type({"schemaVersion": 2, "manifests": []}, oci.DOCKER_INDEX) == oci.DOCKER_INDEX


@pytest.mark.parametrize(("change", "content_type"), [
    ({"manifests": []}, None),
    ({"manifests": INDEX["manifests"]}, oci.INDEX),
    ({"mediaType": oci.INDEX}, None),
    ({}, oci.INDEX),
    ({}, oci.DOCKER_MANIFEST),
    ({}, "text/html"),
    ({"mediaType": "text/html"}, None),
    ({"mediaType": None, "layers": None, "config": None}, "text/html"),
    ({"mediaType": 5}, None),
    ({"schemaVersion": 1}, None),
    ({"schemaVersion": "2"}, None),
    ({"config": LAYER}, None),
    ({"config": None}, None),
    ({"config": {**MANIFEST["config"], "mediaType": "application/vnd.oci.empty.v1+json"}}, None),
    ({"config": {**MANIFEST["config"], "size": 5 << 20}}, None),
    ({"layers": None}, None),
    ({"layers": {}}, None),
    ({"layers": [None]}, None),
    ({"layers": [LAYER] * 1001}, None),
    ({"layers": [{**LAYER, "mediaType": oci.CONFIG}]}, None),
    ({"layers": [{**LAYER, "size": -5}]}, None),
    ({"layers": [{**LAYER, "size": 1 << 62}]}, None),
    ({"layers": [{**LAYER, "size": True}]}, None),
    ({"layers": [{**LAYER, "size": 1.0}]}, None),
    ({"layers": [{**LAYER, "size": "1"}]}, None),
    ({"layers": [{"mediaType": oci.LAYER, "digest": DIGEST}]}, None),
    ({"layers": [{**LAYER, "urls": "http://x"}]}, None),
    ({"annotations": {"a": 1}}, None),
    ({"annotations": []}, None),
    *(({"layers": [{**LAYER, "digest": digest}]}, None) for digest in BAD_DIGESTS),
])
def test_refused_manifests(change: dict[str, Any], content_type: str | None) -> None:
    with pytest.raises(StorageError):
        oci.check_manifest({**MANIFEST, **change}, content_type)


@pytest.mark.parametrize("change", [
    {"layers": []}, {"config": {}}, {"mediaType": oci.MANIFEST}, {"manifests": None}, {"manifests": {}},
    {"manifests": [1]}, {"manifests": [{}]}, {"manifests": [{**INDEX["manifests"][0], "platform": "linux"}]},
    {"manifests": [{**INDEX["manifests"][0], "platform": {"os": 1}}]}, {"schemaVersion": None}])
def test_refused_indexes(change: dict[str, Any]) -> None:
    with pytest.raises(StorageError):
        oci.check_index({**INDEX, **change})


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside a document."""
    if path:
        yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(item, (*path, key))


def replaced(document: Any, path: tuple[Any, ...], value: object) -> Any:
    changed = copy.deepcopy(document)
    node = changed
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return changed


def wrong_for(value: Any) -> list[Any]:
    wrong: list[Any] = [12.5, [[]]]
    if not isinstance(value, dict):  # of an object, unknown fields are passed over
        wrong.append({"": []})
    if not isinstance(value, str):
        wrong.append("text")
    if not isinstance(value, int) or isinstance(value, bool):
        wrong.append(7)
    return wrong


@pytest.mark.parametrize("path", list(places(CONFIG)), ids=lambda path: ".".join(map(str, path)))
def test_a_wrong_type_in_any_field_of_a_configuration(path: tuple[Any, ...]) -> None:
    value = CONFIG
    for key in path:
        value = value[key]
    for wrong in wrong_for(value):
        with pytest.raises(StorageError):
            oci.check_config(replaced(CONFIG, path, wrong))


@pytest.mark.parametrize("path", list(places(CONFIG)), ids=lambda path: ".".join(map(str, path)))
def test_null_is_absent_in_an_object_and_refused_in_a_list(path: tuple[Any, ...]) -> None:
    """Go writes null for an empty list; an entry that is null means nothing."""
    changed = replaced(CONFIG, path, None)
    parent: Any = CONFIG
    for key in path[:-1]:
        parent = parent[key]
    required = path in (("rootfs",), ("rootfs", "type"))
    inside_map = path[-2:-1] in (("Labels",), )
    if isinstance(parent, list) or required or inside_map:
        with pytest.raises(StorageError):
            oci.check_config(changed)
    else:
        assert "None" not in str(oci.check_config(changed))


@pytest.mark.parametrize("text", ["\0", "a\0b", "\ud800", "\udc80"])
@pytest.mark.parametrize("field", ["User", "WorkingDir", "StopSignal"])
def test_text_that_cannot_be_an_argument(field: str, text: str) -> None:
    changes: list[dict[str, Any]] = [{field: text}, {"Env": [text]}, {"Labels": {text: ""}}, {"Volumes": {text: {}}}]
    for change in changes:
        with pytest.raises(StorageError):
            oci.check_config({**CONFIG, "config": change})


@given(anything)
def test_no_document_escapes_as_another_error(document: Any) -> None:
    for check in (oci.check_manifest, oci.check_index, oci.check_config, oci.check_descriptor, oci.check_media_type):
        try:
            check(document)
        except StorageError as error:
            assert len(error.message) < 400


def test_host_platform() -> None:
    platform = oci.host_platform()
    assert platform["os"] == "linux"
    assert platform["architecture"]
