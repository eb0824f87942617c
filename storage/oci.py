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
        from hashlib import sha256

        return cls(f"sha256:{sha256(data).hexdigest()}")


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
