"""Documents of strangers: whatever is in them, the answer is a value or one of our errors."""

from __future__ import annotations

import io
import json
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.engine.images import source as image_source
from rootless.engine.images.platform import choose, wanted
from rootless.engine.images.transports import docker_archive, oci_layout
from rootless.engine.images.transports.files import TarFiles
from rootless.errors import RootlessError
from rootless.registry import authfile, registries_conf
from rootless.registry.client import document_type
from storage import oci
from storage.errors import StorageError

OURS = (RootlessError, StorageError)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
DIGESTS = st.sampled_from(["sha256:" + "0" * 64, "sha256:../../x", "md5:1", "", "sha256:" + "A" * 64])
TYPES = st.sampled_from([oci.MANIFEST, oci.INDEX, oci.DOCKER_MANIFEST, oci.CONFIG, oci.LAYER_GZIP, "text/html", ""])
DESCRIPTORS = st.fixed_dictionaries(
    {},
    optional={
        "mediaType": TYPES | JSON,
        "digest": DIGESTS | JSON,
        "size": st.integers(-5, 2**65) | JSON,
        "platform": st.fixed_dictionaries({}, optional={"os": st.just("linux") | JSON, "architecture": JSON}) | JSON,
        "annotations": JSON,
        "urls": JSON,
    },
)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "schemaVersion": st.just(2) | JSON,
        "mediaType": TYPES | JSON,
        "config": DESCRIPTORS | JSON,
        "layers": st.lists(DESCRIPTORS, max_size=3) | JSON,
        "manifests": st.lists(DESCRIPTORS, max_size=3) | JSON,
    },
)


@given(DOCUMENTS | JSON, TYPES)
def test_manifests_and_indexes(document: Any, content_type: str) -> None:
    data = json.dumps(document).encode()
    try:
        media_type = document_type(data, content_type, "name")
        if media_type in oci.INDEX_TYPES:
            choose(oci.check_index(document, media_type), wanted({}), "app")
        else:
            manifest = image_source.read_manifest(data, media_type, "app")
            assert all(oci.is_digest(layer["digest"]) for layer in manifest["layers"])
    except OURS:
        return


@given(st.binary(max_size=200), TYPES)
def test_any_bytes_as_a_manifest(data: bytes, content_type: str) -> None:
    with pytest.raises(OURS):
        document_type(data, content_type, "name")


@given(st.dictionaries(st.sampled_from(["auths", "credHelpers"]), JSON | st.dictionaries(st.text(), JSON)))
def test_auth_files(document: Any) -> None:
    try:
        for key, value in (document.get("auths") or {}).items() if isinstance(document.get("auths"), dict) else ():
            if isinstance(value, dict):
                authfile.decode_entry("auth.json", key, value)
        authfile.canonical_key("".join(document))
    except OURS:
        return


CONF = st.fixed_dictionaries(
    {},
    optional={
        "unqualified-search-registries": st.lists(st.text(max_size=10)) | JSON,
        "short-name-mode": JSON,
        "aliases": st.dictionaries(st.text(max_size=5), st.text(max_size=10)) | JSON,
        "registry": st.lists(st.dictionaries(st.sampled_from(["prefix", "location", "mirror"]), JSON)) | JSON,
    },
)


@given(CONF, st.text(max_size=20))
def test_registries_conf(table: dict[str, Any], name: str) -> None:
    conf = registries_conf.RegistriesConf()
    try:
        registries_conf.merge(conf, table)
        for candidate in conf.candidates(name):
            conf.endpoints(candidate, by_digest=False)
    except (*OURS, registries_conf.BadConfError):
        return


@given(st.text(alphabet='[]="registy.\nabc#', max_size=80))
def test_registries_conf_as_text(text: str) -> None:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    try:
        registries_conf.merge(registries_conf.RegistriesConf(), table)
    except registries_conf.BadConfError:
        return


@given(JSON, DOCUMENTS | JSON)
def test_lists_of_images_in_archives(tmp_path_factory: pytest.TempPathFactory, saved: Any, index: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "archive.tar"
    write_archive(path, {"manifest.json": json.dumps(saved).encode(), "index.json": json.dumps(index).encode()})
    try:
        with path.open("rb", buffering=0) as stream:
            files = TarFiles(stream, "archive", str(path.parent))
        for reader in (docker_archive.entries, oci_layout.entries):
            try:
                reader(files, "archive")
            except OURS:
                continue
    except OURS:
        return


def write_archive(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
