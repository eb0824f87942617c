"""Artifacts: files that a registry, and this store, keep under a name as an image's parts (manifest.md, "Guidelines for
Artifact Usage").

Their blobs are those of the image layout; their names are in an index of their own, ``artifacts.json``, so that an
artifact may be called as an image is, and is none. The index is written with the first artifact.
"""

from __future__ import annotations

import os

from storage import locks, oci, reference, reserve
from storage.errors import DamagedError, NotFoundError, StorageError, shown
from storage.images import is_hex, is_id, named
from storage.index import Described, IndexFile, digest_of, name_of, with_names, without_names
from storage.locks import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from storage.blobs import Blobs
    from storage.layout import Layout
    from storage.oci import Descriptor, Manifest

    Found = list["Artifact"]
    Texts = list[str]

EMPTY = "application/vnd.oci.empty.v1+json"
"""Media type of the configuration ``{}`` of an artifact that needs none."""
UNKNOWN = "application/vnd.unknown.artifact.v1"
"""The type of an artifact of which nothing else is known."""
TITLE = "org.opencontainers.image.title"
"""Annotation of a layer: what its file is called."""
CREATED = "org.opencontainers.image.created"


def check_artifact(document: object, media_type: str | None = None) -> Manifest:
    """Return ``document`` as the manifest of an artifact, or of an image: what it names may be of any media type."""
    if oci.check_media_type(document, media_type) not in oci.MANIFEST_TYPES or not isinstance(document, dict):
        raise oci.InvalidDocumentError("manifest is a list of manifests, where one manifest is expected")
    found: dict[str, Any] = {key: value for key, value in document.items() if value is not None}
    layers = found.get("layers", [])
    if not isinstance(layers, list) or len(layers) > oci.MAX_LAYERS:
        raise oci.InvalidDocumentError(f"manifest.layers is not a list of at most {oci.MAX_LAYERS} entries")
    found["layers"] = [oci.check_descriptor(layer, f"manifest.layers[{n}]") for n, layer in enumerate(layers)]
    found["config"] = oci.check_descriptor(found.get("config"), "manifest.config")
    # Its artifactType and annotations are of the shape that those of a descriptor have.
    about = {key: found[key] for key in ("annotations", "artifactType") if key in found}
    oci.check_descriptor({**found["config"], **about}, "manifest")
    return found  # type: ignore[return-value]


class Artifact(Described):
    """One artifact. Its manifest is read and checked when it is first asked for."""

    __slots__ = ("_artifacts", "_manifest", "names")

    def __init__(self, artifacts: Artifacts, descriptor: Descriptor, names: list[str]) -> None:
        super().__init__(descriptor)
        self.names = names
        self._artifacts = artifacts
        self._manifest: Manifest | None = None

    @property
    def manifest(self) -> Manifest:
        """The checked manifest. Raises ``DamagedError``."""
        if self._manifest is None:
            self._manifest = self._artifacts.read(self)
        return self._manifest

    @property
    def files(self) -> list[Descriptor]:
        """Descriptors of the files."""
        return self.manifest["layers"]

    @property
    def size(self) -> int:
        """Bytes of the files."""
        return sum(layer["size"] for layer in self.files)


class Artifacts:
    """The artifacts of one store."""

    __slots__ = ("_blobs", "_layout", "index")

    def __init__(self, blobs: Blobs, layout: Layout) -> None:
        self._blobs = blobs
        self._layout = layout
        self.index = IndexFile(layout, layout.artifacts, layout.artifacts_copy)

    def is_there(self) -> bool:
        """Whether there is an index: there is none before the first artifact."""
        return os.path.lexists(self._layout.artifacts) or os.path.lexists(self._layout.artifacts_copy)

    def list(self) -> Found:
        """Every artifact once, in the order of the index. Raises ``DamagedError`` if that cannot be read."""
        found: dict[str, Artifact] = {}
        for entry in self.index.entries() if self.is_there() else []:
            name = name_of(entry)
            known = found.setdefault(entry["digest"], Artifact(self, entry, []))
            known.names.extend([name] if name else [])
        return [*found.values()]

    def find(self, name: str) -> Artifact | None:
        """Return the artifact that a user means by ``name``: a name, a short one, a digest or its beginning; or None.

        Raises ``StorageError`` if that fits several, or is neither a reference nor a digest.
        """
        known = self.list()
        encoded = name.removeprefix("sha256:")
        found = [] if is_id(encoded) else named(known, name, reference.parse(name))
        if not found and is_hex(encoded):
            found = [each for each in known if oci.Digest(each.digest).encoded.startswith(encoded)]
        return _one(found, name)

    def read(self, artifact: Artifact) -> Manifest:
        """The checked manifest of an artifact. Raises ``DamagedError``."""
        document = self._blobs.read_document(artifact.digest)
        try:
            return check_artifact(document, artifact.media_type)
        except oci.InvalidDocumentError as error:
            name = artifact.names[0] if artifact.names else artifact.digest
            raise DamagedError(f"cannot use the artifact {name}: {error.message}") from None

    def needed(self) -> Iterator[str]:
        """Digests of all blobs that artifacts need. Raises ``DamagedError``."""
        for each in self.list():
            yield each.digest
            yield each.manifest["config"]["digest"]
            yield from (layer["digest"] for layer in each.files)
        if self.index.damaged:
            raise StorageError("the index of artifacts is damaged")

    # Writing

    def add(self, descriptor: Descriptor, name: str, expected: str | None = None) -> Artifact:
        """Record the artifact whose manifest is the blob of ``descriptor`` as ``name``, which moves here.

        ``expected``: the digest of what has the name now ('': nothing may have it; None: whatever has). An artifact
        whose last name that was is forgotten. Raises ``StorageError``: a blob is missing, or another has the name.
        """
        manifest = check_artifact(self._blobs.read_document(descriptor["digest"]), descriptor["mediaType"])
        for part in (manifest["config"], *manifest["layers"]):
            if not self._blobs.has(part["digest"], part["size"]):
                raise StorageError(f"cannot add the artifact {name}: its blob {part['digest']} was removed meanwhile")
        with locks.shared(self._layout.content_lock), Lock(self._layout.images_lock):
            entries = self.index.raw_entries() if self.is_there() else []
            holder = next((digest_of(entry) for entry in entries if name_of(entry) == name), "")
            if expected is not None and holder != expected:
                raise StorageError(f"cannot add the artifact {name}: that name was given away meanwhile")
            kept = [entry for entry in without_names(entries, [name]) if name_of(entry)]
            self.index.replace(with_names(kept, descriptor, [name]))
        return Artifact(self, descriptor, [name])

    def remove(self, artifact: Artifact) -> Texts:
        """Forget an artifact with all its names; return them. ``storage.gc.collect`` deletes its blobs afterwards."""
        with Lock(self._layout.images_lock):
            entries = self.index.raw_entries()
            gone = [entry for entry in entries if digest_of(entry) == artifact.digest]
            if not gone:
                raise NotFoundError(f"cannot remove the artifact {artifact.digest}: it was removed")
            kept = [entry for entry in entries if entry not in gone]
            reserve.deleting(self._layout, lambda: self.index.replace(kept), "cannot write the index of artifacts")
        return [name for entry in gone if (name := name_of(entry))]


def _one(found: Found, name: str) -> Artifact | None:
    if len(found) > 1:
        raise StorageError(f"cannot tell which artifact {shown(name)} is: it fits several", "give its full name")
    return found[0] if found else None
