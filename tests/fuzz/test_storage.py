"""Generated input for what the store reads from strangers: references, OCI documents, JSON, index files."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import index, jsonfast, oci, reference
from storage.errors import StorageError

DIGEST = "sha256:" + "a" * 64
SIZES = st.integers(-5, 5) | st.integers() | st.just(1 << 70)
MEDIA_TYPES = st.sampled_from(sorted(
    oci.MANIFEST_TYPES | oci.INDEX_TYPES | oci.CONFIG_TYPES | oci.LAYER_TYPES | {"text/html", "", "\0"}))
DIGESTS = st.sampled_from([DIGEST, "sha512:" + "b" * 128, "sha256:../../x", DIGEST.upper(), "", DIGEST + "\0"])
SCALARS = st.none() | st.booleans() | SIZES | st.floats() | st.text(max_size=8) | MEDIA_TYPES | DIGESTS
FIELDS = st.sampled_from((
    "schemaVersion mediaType config layers manifests digest size annotations platform urls os architecture variant "
    "rootfs type diff_ids history created created_by empty_layer User Env Cmd Entrypoint Labels Volumes ExposedPorts "
    "WorkingDir StopSignal Healthcheck Test Interval Shell OnBuild org.opencontainers.image.ref.name").split())
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(FIELDS, inner, max_size=6))
DESCRIPTORS = st.fixed_dictionaries({"mediaType": MEDIA_TYPES, "digest": DIGESTS, "size": SIZES}) | DOCUMENTS
MANIFESTS = st.fixed_dictionaries(
    {"schemaVersion": st.just(2)},
    optional={"mediaType": MEDIA_TYPES | SCALARS, "config": DESCRIPTORS, "layers": st.lists(DESCRIPTORS, max_size=4),
              "manifests": st.lists(DESCRIPTORS, max_size=4), "annotations": DOCUMENTS})
CONFIGS = st.fixed_dictionaries(
    {"rootfs": DOCUMENTS | st.fixed_dictionaries(
        {"type": st.just("layers"), "diff_ids": st.lists(DIGESTS, max_size=3)})},
    optional={"config": DOCUMENTS, "history": DOCUMENTS, "os": SCALARS, "created": SCALARS})
REFERENCE_TEXT = st.text(alphabet="aZ09.:/@_-[]% \x00\n\x7fé٣", max_size=80) | st.text(max_size=300)
EXAMPLES = settings(
    max_examples=int(os.environ.get("ROOTLESS_TEST_FUZZ_EXAMPLES", "1000")), deadline=2000, database=None)


def walk(value: Any) -> list[Any]:
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return [value, *(found for item in inner for found in walk(item))]


@EXAMPLES
@given(REFERENCE_TEXT)
def test_references(text: str) -> None:
    """Refused with a printable message of bounded length, or parsed into parts that are safe in a path and a URL."""
    try:
        found = reference.parse(text)
    except StorageError as error:
        assert error.message.isprintable()
        assert len(error.message) < 600
        return
    full = str(found)
    assert str(reference.parse(full)) == full
    assert full.isascii()
    assert full.isprintable()
    assert not {"", ".", ".."} & set(found.repository.split("/"))
    assert " " not in full
    reference.is_short(text)


@EXAMPLES
@given(MANIFESTS | DOCUMENTS, MEDIA_TYPES | st.none())
def test_manifests(document: Any, content_type: str | None) -> None:
    """What is accepted has one meaning only, and nothing but valid digests and sizes in it."""
    kinds = 0
    for check in (oci.check_manifest, oci.check_index):
        try:
            accepted: Any = check(document, content_type)
        except StorageError as error:
            assert error.message.isprintable()
            continue
        kinds += 1
        for descriptor in (*accepted.get("layers", ()), *accepted.get("manifests", ())):
            assert oci.is_digest(descriptor["digest"])
            assert 0 <= descriptor["size"] <= oci.MAX_BLOB
    assert kinds <= 1


@EXAMPLES
@given(CONFIGS | DOCUMENTS)
def test_configurations(document: Any) -> None:
    """Every text of an accepted configuration that is used can be an argument of a system call."""
    try:
        accepted = oci.check_config(document)
    except StorageError as error:
        assert error.message.isprintable()
        return
    assert all(map(oci.is_digest, accepted["rootfs"]["diff_ids"]))
    for field in ("User", "WorkingDir", "StopSignal", "Env", "Cmd", "Entrypoint", "Volumes"):
        for value in walk(accepted["config"].get(field, "")):
            if isinstance(value, str):
                assert "\0" not in value
                value.encode()


@EXAMPLES
@given(st.binary(max_size=200)
       | st.text(alphabet='[]{}",:\\u0123456789.eE+-truefalsnd \n', max_size=80).map(str.encode))
def test_json(data: bytes) -> None:
    """Accepted is only what ``json`` reads to the same value; whatever else is one kind of error."""
    try:
        value = jsonfast.loads_strict(data)
    except jsonfast.JSONError as error:
        assert "\n" not in error.message
        return
    assert value == json.loads(data)
    assert jsonfast.loads(jsonfast.dump_bytes(value)) == value


@EXAMPLES
@given(st.lists(DESCRIPTORS, max_size=6))
def test_indexes(entries: list[Any]) -> None:
    """Each entry is either good or reported, in the form that is written here and in any other."""
    try:
        written = index.encode(entries)
    except ValueError:  # NaN and infinite numbers cannot be written
        return
    good, bad = index.parse(written, "index.json")
    assert len(good) + len(bad) == len(entries)
    assert all(text.isprintable() for finding in bad for text in finding)
    assert index.parse(json.dumps(json.loads(written), indent=1).encode(), "index.json") == (good, bad)


@pytest.mark.parametrize(
    "data", [b"[" * (4 << 20), b'{"a":' * (1 << 20), b"[" + b"1," * (1 << 20), b'"' + b"\\u0041" * (1 << 19)])
@pytest.mark.timeout(2)
def test_large_json(data: bytes) -> None:
    with pytest.raises(jsonfast.JSONError):
        jsonfast.loads_strict(data)
