"""The OCI image specification's vocabulary: digests, descriptors, media types, platforms and the checks of documents.

Documents come from strangers. Whatever is not of the shape that the specification gives is refused here with a
``StorageError`` that names the field, before any part of it becomes a path, a URL or an argument.
Sources: image-spec descriptor.md, manifest.md, image-index.md, config.md.
"""

from __future__ import annotations

import os

from storage.errors import StorageError, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NotRequired, TypedDict

    class Platform(TypedDict):
        """``variant`` and ``os.version`` tell apart what shares an architecture (image-index.md)."""

        os: str
        architecture: str
        variant: NotRequired[str]

    class Descriptor(TypedDict):
        """What content is, by type, digest and size in bytes (descriptor.md)."""

        mediaType: str
        digest: str
        size: int
        annotations: NotRequired[dict[str, str]]
        platform: NotRequired[Platform]
        urls: NotRequired[list[str]]
        artifactType: NotRequired[str]

    class Manifest(TypedDict):
        """One image for one platform (manifest.md)."""

        schemaVersion: int
        mediaType: NotRequired[str]
        config: Descriptor
        layers: list[Descriptor]
        annotations: NotRequired[dict[str, str]]

    class Index(TypedDict):
        """A list of manifests, one per platform (image-index.md)."""

        schemaVersion: int
        mediaType: NotRequired[str]
        manifests: list[Descriptor]
        annotations: NotRequired[dict[str, str]]
        subject: NotRequired[Descriptor]

    ImageConfig = dict[str, Any]
    """The configuration of an image (config.md) after ``check_config``."""

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"

MANIFEST_TYPES = frozenset((MANIFEST, DOCKER_MANIFEST))
INDEX_TYPES = frozenset((INDEX, DOCKER_INDEX))
CONFIG_TYPES = frozenset((CONFIG, DOCKER_CONFIG))
LAYER_TYPES = frozenset((
    LAYER, LAYER_GZIP, LAYER_ZSTD, DOCKER_LAYER, DOCKER_LAYER_GZIP, "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
))

REF_NAME = "org.opencontainers.image.ref.name"
"""The annotation of an index entry that holds its name (image-layout.md)."""

MAX_DOCUMENT = 4 << 20
"""Bytes of a manifest, index or configuration at most."""
MAX_BLOB = 1 << 40
"""Bytes of a layer at most."""
MAX_LAYERS = 1000
MAX_MANIFESTS = 10_000

_ENCODED_LENGTH = {"sha256": 64, "sha512": 128}


class InvalidDocumentError(StorageError):
    """A document or descriptor is not of the shape that the specification gives."""


def is_digest(text: object) -> bool:
    """Is ``text`` a digest that is accepted here: ``sha256:`` and 64 or ``sha512:`` and 128 lower-case hex digits?"""
    if not isinstance(text, str):
        return False
    algorithm, _, encoded = text.partition(":")
    return len(encoded) == _ENCODED_LENGTH.get(algorithm) and not encoded.strip("0123456789abcdef")


class Digest(str):
    """A digest that was checked; as a string it is ``algorithm:encoded``. Raises ``StorageError`` when it is none."""

    __slots__ = ()

    def __new__(cls, text: object) -> Digest:
        if not is_digest(text):
            raise InvalidDocumentError(f"{shown(text)} is not a sha256 or sha512 digest")
        return super().__new__(cls, text)

    @property
    def algorithm(self) -> str:
        """``sha256`` or ``sha512``."""
        return self[:6]

    @property
    def encoded(self) -> str:
        """The hexadecimal digits."""
        return self[7:]

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """The sha256 digest of ``data``."""
        from storage.sha256 import hexdigest

        return cls(f"sha256:{hexdigest(data)}")


def _fail(what: str, why: str) -> InvalidDocumentError:
    return InvalidDocumentError(f"{what} {why}")


def _text(value: object, what: str) -> str:
    """A string that can be an argument, a variable or a file name: no NUL, no half of a surrogate pair."""
    if not isinstance(value, str):
        raise _fail(what, "is not a string")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _fail(what, "holds half of a surrogate pair") from None
    if "\0" in value:
        raise _fail(what, "holds a NUL character")
    return value


def _texts(value: object, what: str) -> list[str]:
    if not isinstance(value, list):
        raise _fail(what, "is not a list of strings")
    return [_text(item, f"an entry of {what}") for item in value]


def _text_map(value: object, what: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _fail(what, "is not an object of strings")
    return {_text(key, f"a key of {what}"): _text(item, f"{what}[{shown(key)}]") for key, item in value.items()}


def _set(value: object, what: str) -> dict[str, dict[str, Any]]:
    """An object whose keys are what counts, as Go writes a set (``{"/data": {}}``)."""
    if not isinstance(value, dict):
        raise _fail(what, "is not an object")
    for item in value.values():
        if item is not None and not isinstance(item, dict):
            raise _fail(what, "holds something else than empty objects")
    return {_text(key, f"a key of {what}"): {} for key in value}


def _integer(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 1 << 63:
        raise _fail(what, "is not a 64-bit integer")
    return value


def _boolean(value: object, what: str) -> bool:
    if not isinstance(value, bool):
        raise _fail(what, "is not true or false")
    return value


def _fields(value: object, what: str, checks: dict[str, Callable[[object, str], Any]]) -> dict[str, Any]:
    """Return a copy of an object without nulls, each field named in ``checks`` checked, others as they are.

    null means absent: Go programs write it for every empty list and map.
    """
    if not isinstance(value, dict):
        raise _fail(what, "is not an object")
    return {
        key: checks[key](item, f"{what}.{key}") if key in checks else item
        for key, item in value.items() if item is not None
    }


def _platform(value: object, what: str) -> dict[str, Any]:
    return _fields(value, what, {
        "os": _text, "architecture": _text, "variant": _text, "os.version": _text, "os.features": _texts})


def _size(value: object, what: str) -> int:
    size = _integer(value, what)
    if not 0 <= size <= MAX_BLOB:
        raise _fail(what, f"is {size}, not between 0 and {MAX_BLOB} bytes")
    return size


def _digest(value: object, what: str) -> Digest:
    if not is_digest(value):
        raise _fail(what, f"is {shown(value)}, not a sha256 or sha512 digest")
    return Digest(value)


_DESCRIPTOR: dict[str, Callable[[object, str], Any]] = {
    "mediaType": _text, "digest": _digest, "size": _size, "annotations": _text_map, "urls": _texts,
    "platform": _platform, "artifactType": _text,
}


def check_descriptor(value: object, what: str = "descriptor") -> Descriptor:
    """Return ``value`` as a descriptor: a media type, a digest and a size there must be."""
    found = _fields(value, what, _DESCRIPTOR)
    for name in ("mediaType", "digest", "size"):
        if name not in found:
            raise _fail(what, f"has no {name}")
    return found  # type: ignore[return-value]


def check_media_type(document: object, content_type: str | None = None) -> str:
    """Return the media type of a manifest or index, on which body, header and shape must agree.

    ``content_type`` is what the registry or the descriptor said (None: unknown). A document that could be read as
    both kinds, or is called something else than what it holds, is refused (CVE-2021-41190).
    """
    if not isinstance(document, dict):
        raise _fail("manifest", "is not an object")
    if document.get("schemaVersion") != 2:
        raise InvalidDocumentError(
            f"manifest has schemaVersion {shown(str(document.get('schemaVersion')))}, not 2",
            "an image of the old schema 1 must be pushed again by a current tool")
    has_layers = "layers" in document or "config" in document or "fsLayers" in document
    has_manifests = "manifests" in document
    if has_layers == has_manifests:
        raise _fail("manifest", "is ambiguous: it must have either layers or manifests")
    declared = content_type.partition(";")[0].strip() if content_type else None
    own = document.get("mediaType")
    if own is not None:
        _text(own, "manifest.mediaType")
        if declared is not None and own != declared:
            raise _fail("manifest", f"calls itself {shown(own)} but was announced as {shown(declared)}")
    media_type: str = own or declared or (INDEX if has_manifests else MANIFEST)
    if media_type not in (INDEX_TYPES if has_manifests else MANIFEST_TYPES):
        kind = "a list of manifests" if has_manifests else "a manifest"
        raise _fail("manifest", f"is {kind} but has the media type {shown(media_type)}")
    return media_type


def check_manifest(document: object, content_type: str | None = None) -> Manifest:
    """Return ``document`` as the manifest of a container image."""
    if check_media_type(document, content_type) not in MANIFEST_TYPES:
        raise _fail("manifest", "is a list of manifests, where one manifest is expected")
    found = _fields(document, "manifest", {"annotations": _text_map, "artifactType": _text})
    found["config"] = config = check_descriptor(found.get("config"), "manifest.config")
    if config["mediaType"] not in CONFIG_TYPES:
        raise InvalidDocumentError(
            f"manifest is not that of a container image: its config is {shown(config['mediaType'])}",
            "what is no image may be had with 'rootless artifact pull'")
    if config["size"] > MAX_DOCUMENT:
        raise _fail("manifest.config.size", f"is over the limit of {MAX_DOCUMENT} bytes")
    layers = found.get("layers")
    if not isinstance(layers, list) or len(layers) > MAX_LAYERS:
        raise _fail("manifest.layers", f"is not a list of at most {MAX_LAYERS} entries")
    found["layers"] = [check_descriptor(layer, f"manifest.layers[{n}]") for n, layer in enumerate(layers)]
    for n, layer in enumerate(found["layers"]):
        if layer["mediaType"] not in LAYER_TYPES:
            raise _fail(f"manifest.layers[{n}]", f"has the unknown type {shown(layer['mediaType'])}")
    return found  # type: ignore[return-value]


def check_index(document: object, content_type: str | None = None) -> Index:
    """Return ``document`` as an image index; its manifests may be of any media type."""
    if check_media_type(document, content_type) not in INDEX_TYPES:
        raise _fail("index", "is a manifest, where a list of manifests is expected")
    found = _fields(document, "index", {"annotations": _text_map, "artifactType": _text})
    manifests = found.get("manifests")
    if not isinstance(manifests, list) or len(manifests) > MAX_MANIFESTS:
        raise _fail("index.manifests", f"is not a list of at most {MAX_MANIFESTS} entries")
    found["manifests"] = [check_descriptor(entry, f"index.manifests[{n}]") for n, entry in enumerate(manifests)]
    return found  # type: ignore[return-value]


_HEALTHCHECK: dict[str, Callable[[object, str], Any]] = {
    "Test": _texts, "Interval": _integer, "Timeout": _integer, "StartPeriod": _integer, "StartInterval": _integer,
    "Retries": _integer,
}
_EXECUTION: dict[str, Callable[[object, str], Any]] = {
    "User": _text, "WorkingDir": _text, "StopSignal": _text, "Env": _texts, "Cmd": _texts, "Entrypoint": _texts,
    "Shell": _texts, "OnBuild": _texts, "Labels": _text_map, "Volumes": _set, "ExposedPorts": _set,
    "StopTimeout": _integer, "ArgsEscaped": _boolean,
    "Healthcheck": lambda value, what: _fields(value, what, _HEALTHCHECK),
}
_HISTORY: dict[str, Callable[[object, str], Any]] = {
    "created": _text, "created_by": _text, "author": _text, "comment": _text, "empty_layer": _boolean,
}


def check_history(value: object, what: str) -> list[dict[str, Any]]:
    """Return the history of an image (config.md, "history"), every field that is used checked for its type."""
    if not isinstance(value, list):
        raise _fail(what, "is not a list")
    return [_fields(step, f"{what}[{n}]", _HISTORY) for n, step in enumerate(value)]


def _rootfs(value: object, what: str) -> dict[str, Any]:
    found = _fields(value, what, {"type": _text})
    if found.get("type") != "layers":
        raise _fail(f"{what}.type", 'is not "layers"')
    diff_ids = found.get("diff_ids", [])
    if not isinstance(diff_ids, list) or len(diff_ids) > MAX_LAYERS:
        raise _fail(f"{what}.diff_ids", f"is not a list of at most {MAX_LAYERS} digests")
    found["diff_ids"] = [_digest(item, f"{what}.diff_ids[{n}]") for n, item in enumerate(diff_ids)]
    return found


_CONFIG: dict[str, Callable[[object, str], Any]] = {
    "architecture": _text, "os": _text, "variant": _text, "os.version": _text, "created": _text, "author": _text,
    "config": lambda value, what: _fields(value, what, _EXECUTION), "rootfs": _rootfs, "history": check_history,
}


def check_config(document: object) -> ImageConfig:
    """Return the configuration of an image, every field that is used checked for its type, without nulls.

    ``rootfs.diff_ids`` and ``config`` are there in the result. Raises ``StorageError`` that names the field.
    """
    found = _fields(document, "image config", _CONFIG)
    if "rootfs" not in found:
        raise _fail("image config", "has no rootfs")
    found.setdefault("config", {})
    return found


_ARCHITECTURES: dict[str, tuple[str, str]] = {
    "x86_64": ("amd64", ""), "i386": ("386", ""), "i486": ("386", ""), "i586": ("386", ""), "i686": ("386", ""),
    "aarch64": ("arm64", "v8"), "armv8l": ("arm", "v8"), "armv7l": ("arm", "v7"), "armv6l": ("arm", "v6"),
    "armv5tel": ("arm", "v5"), "ppc64le": ("ppc64le", ""), "ppc64": ("ppc64", ""), "s390x": ("s390x", ""),
    "riscv64": ("riscv64", ""), "loongarch64": ("loong64", ""), "mips64": ("mips64", ""), "mips": ("mips", ""),
}


def host_platform() -> Platform:
    """The platform of this machine in the names that images use (Go's); ``variant`` is empty where there is none."""
    machine = os.uname().machine
    architecture, variant = _ARCHITECTURES.get(machine, (machine, ""))
    return {"os": "linux", "architecture": architecture, "variant": variant}
