"""Writing OCI image layouts (image-layout.md), into a directory or an archive: the blobs as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rootless.engine.images.transports.outgoing import Outgoing, OutgoingIndex, Report, converted, verified
from rootless.engine.images.transports.sinks import Sink
from rootless.errors import RootlessError
from storage import jsonfast, oci
from storage.errors import StorageError

if TYPE_CHECKING:
    from storage.oci import Descriptor

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


class LayoutWriter:
    """Adds images to a layout; ``index.json``, which names them, is written last.

    ``existing``: the index of a layout that is there already, whose entries are kept, but for those of the same names.
    """

    def __init__(self, sink: Sink, existing: bytes | None = None, where: str = "") -> None:
        """Raises RootlessError if ``existing`` is no index; ``where`` is what the user calls the layout."""
        self._sink = sink
        self._entries: list[Any] = []
        if existing is not None:
            try:
                self._entries = list(oci.check_index(jsonfast.loads_strict(existing))["manifests"])
            except StorageError as error:
                raise RootlessError(f"cannot write {where}: {error.message}", "it holds something else") from None
        sink.put("oci-layout", LAYOUT)

    def add(self, image: Outgoing | OutgoingIndex, names: tuple[str, ...], report: Report) -> str:
        """Write one image under ``names`` (of ``org.opencontainers.image.ref.name``); the digest it has there.

        A manifest of Docker's format is converted: a layout has OCI's alone. Raises RootlessError, StorageError.
        """
        if isinstance(image, OutgoingIndex):
            for each in image.images:
                self._add_one(each, report)
            self._put(image.digest, image.data)
            found: Descriptor = {"mediaType": image.media_type, "digest": image.digest, "size": len(image.data)}
        else:
            image = converted(image, docker=False)
            self._add_one(image, report)
            found = image.descriptor
        named = set(names)
        self._entries = [
            entry for entry in self._entries
            if entry.get("annotations", {}).get(oci.REF_NAME) not in named
            and not (entry["digest"] == found["digest"] and oci.REF_NAME not in entry.get("annotations", {}))
        ]  # fmt: skip
        for name in dict.fromkeys(names):
            self._entries.append({**found, "annotations": {oci.REF_NAME: name}})
        if not names:
            self._entries.append(found)
        return found["digest"]

    def finish(self) -> None:
        """Write the index."""
        index = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": self._entries}
        self._sink.put("index.json", jsonfast.dumps(index).encode())

    def _add_one(self, image: Outgoing, report: Report) -> None:
        document = image.document
        for blob in {layer["digest"]: layer for layer in document["layers"]}.values():
            name = blob_name(blob["digest"])
            if self._sink.has(name, blob["size"]):
                report(blob["digest"], blob["size"], blob["size"])
                continue
            self._sink.stream(name, blob["size"], verified(image, blob, report))
        self._put(document["config"]["digest"], image.config)
        self._put(image.digest, image.manifest)

    def _put(self, digest: str, data: bytes) -> None:
        if not self._sink.has(blob_name(digest), len(data)):
            self._sink.put(blob_name(digest), data)


def blob_name(digest: str) -> str:
    """Where a layout keeps a blob. Raises StorageError for what is no digest."""
    checked = oci.Digest(digest)
    return f"blobs/{checked.algorithm}/{checked.encoded}"
