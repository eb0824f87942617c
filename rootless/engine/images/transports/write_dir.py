"""Writing ``dir:``, the directory of plain files that skopeo and podman read: manifest.json, and blobs named by hex."""

from __future__ import annotations

from rootless.engine.images.transports.outgoing import Outgoing, OutgoingIndex, Report, verified
from rootless.engine.images.transports.sinks import DirectorySink
from rootless.errors import RootlessError
from storage import oci

VERSION = b"Directory Transport Version: 1.1\n"
_HEX = frozenset("0123456789abcdef")


def write(sink: DirectorySink, image: Outgoing | OutgoingIndex, report: Report) -> str:
    """Make the directory that of ``image`` alone; the digest of its manifest.

    What an earlier image left there is removed; a directory that holds other files is refused. Raises RootlessError,
    StorageError.
    """
    _clear(sink)
    sink.put("version", VERSION)
    if isinstance(image, OutgoingIndex):
        for each in image.images:
            _blobs(sink, each, report)
            sink.put(f"{oci.Digest(each.digest).encoded}.manifest.json", each.manifest)
        sink.put("manifest.json", image.data)
    else:
        _blobs(sink, image, report)
        sink.put("manifest.json", image.manifest)
    return image.digest


def _clear(sink: DirectorySink) -> None:
    names = sink.names()
    if not names:
        return
    strangers = [name for name in names if not _is_ours(name)]
    if strangers or sink.read("version", len(VERSION)) not in (VERSION, b"Directory Transport Version: 1.0\n"):
        raise RootlessError(
            f"cannot write {sink.path}: it holds other files than those of an image", "choose an empty directory"
        )
    for name in names:
        sink.remove(name)


def _is_ours(name: str) -> bool:
    stem = name.removesuffix(".manifest.json")
    kept = name in ("version", "manifest.json") or (name.startswith("signature-") and name[10:].isdigit())
    return kept or (len(stem) in (64, 128) and _HEX.issuperset(stem))


def _blobs(sink: DirectorySink, image: Outgoing, report: Report) -> None:
    document = image.document
    for blob in {layer["digest"]: layer for layer in document["layers"]}.values():
        name = oci.Digest(blob["digest"]).encoded
        if not sink.has(name, blob["size"]):
            sink.stream(name, blob["size"], verified(image, blob, report))
    sink.put(oci.Digest(document["config"]["digest"]).encoded, image.config)
