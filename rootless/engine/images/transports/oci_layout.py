"""OCI image layouts (image-layout.md): a directory, or the archive of one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rootless.engine.images import source as image_source
from rootless.engine.images.platform import Wanted, choose
from rootless.engine.images.transports.files import Files, Target
from rootless.engine.images.worker import Send
from rootless.errors import RootlessError
from storage import jsonfast, oci
from storage.errors import StorageError
from storage.store import Store

if TYPE_CHECKING:
    from storage.oci import Descriptor

MAX_NESTING = 3
CONTAINERD_NAME = "io.containerd.image.name"


@dataclass(frozen=True)
class Found:
    """One entry of the layout's index; ``name`` is what its annotations call it, '' for nothing."""

    descriptor: Descriptor
    name: str


def is_layout(files: Files) -> bool:
    """Whether ``files`` are those of an image layout."""
    return files.document("index.json") is not None and files.document("oci-layout") is not None


def entries(files: Files, where: str) -> list[Found]:
    """What the index lists. Raises RootlessError if it is missing or malformed."""
    data = files.document("index.json")
    if data is None:
        raise RootlessError(f"cannot read {where}: it has no index.json", "is it an OCI image layout?")
    try:
        index = oci.check_index(jsonfast.loads_strict(data))
    except StorageError as error:
        raise RootlessError(f"cannot read {where}: {error.message}", error.hint) from None
    found = []
    for entry in index["manifests"]:
        annotations = entry.get("annotations", {})
        found.append(Found(entry, annotations.get(CONTAINERD_NAME) or annotations.get(oci.REF_NAME, "")))
    return found


def select(found: list[Found], wanted_name: str, where: str) -> Found:
    """The entry of that name; without a name the only one. Raises RootlessError that lists what there is."""
    if wanted_name:
        for entry in found:
            if wanted_name in (entry.name, entry.descriptor.get("annotations", {}).get(oci.REF_NAME)):
                return entry
    elif len(found) == 1:
        return found[0]
    names = ", ".join(sorted(entry.name for entry in found if entry.name))[:300]
    raise RootlessError(
        f"cannot find image {wanted_name} in {where}" if wanted_name else f"cannot choose an image in {where}",
        f"it has: {names}" if names else "it has no images",
    )


def take(
    store: Store, files: Files, entry: Found, names: list[str], platform: Wanted, where: str, send: Send
) -> None:
    """Copy one image into the store and announce it. Raises RootlessError, StorageError."""
    send({"kind": "trying", "name": where})
    data, descriptor = _manifest(files, entry.descriptor, platform, where)
    manifest = image_source.read_manifest(data, descriptor["mediaType"], where)
    config_blob = manifest["config"]
    files.copy(dict(_wanted([config_blob])), store.blobs, lambda _: None)
    config = image_source.read_config(store.blobs.read(config_blob["digest"], verify=True), manifest, where)
    image_source.check_platform(config, platform, where, send)
    missing = image_source.missing_blobs(store, manifest)
    image_source.check_space(store, missing)
    send(image_source.image_message(data, descriptor["mediaType"], manifest, config, names))
    files.copy(
        dict(_wanted(missing)),
        store.blobs,
        lambda target: send(image_source.blob_message(target.digest, target.size, target.size)),
    )
    store.blobs.put(data)


def _wanted(descriptors: list[Descriptor]) -> Iterator[tuple[str, Target]]:
    for descriptor in descriptors:
        yield blob_name(descriptor["digest"]), Target(descriptor["digest"], descriptor["size"])


def blob_name(digest: str) -> str:
    """Where a layout keeps a blob. Raises StorageError for what is no digest."""
    checked = oci.Digest(digest)
    return f"blobs/{checked.algorithm}/{checked.encoded}"


def _manifest(files: Files, descriptor: Descriptor, platform: Wanted, where: str) -> tuple[bytes, Descriptor]:
    """The manifest that ``descriptor`` leads to, through indexes."""
    for _ in range(MAX_NESTING):
        data = files.document(blob_name(descriptor["digest"]))
        if data is None:
            raise RootlessError(f"cannot read {where}: blob {descriptor['digest']} is missing", "it is incomplete")
        if oci.Digest.of(data) != descriptor["digest"] or len(data) != descriptor["size"]:
            raise RootlessError(f"cannot use {where}: digest mismatch in {descriptor['digest']}", "it is damaged")
        if descriptor["mediaType"] not in oci.INDEX_TYPES:
            return data, descriptor
        try:
            index = oci.check_index(jsonfast.loads_strict(data), descriptor["mediaType"])
        except StorageError as error:
            raise RootlessError(f"cannot use {where}: {error.message}", error.hint) from None
        descriptor = choose(index, platform, where)
    raise RootlessError(f"cannot use {where}: its indexes are nested too deeply")
