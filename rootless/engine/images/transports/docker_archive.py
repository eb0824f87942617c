"""The archive that ``docker save`` and ``podman save`` write: ``manifest.json``, configurations, layers.

It has no digests of its layers' bytes. An uncompressed layer is its own DiffID; a compressed one is hashed on the way.
The image is recorded under an OCI manifest made here; its id, the digest of the configuration, stays the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rootless.engine.images import source as image_source
from rootless.engine.images.platform import Wanted
from rootless.engine.images.transports.files import Files, Target
from rootless.engine.images.worker import Send
from rootless.errors import RootlessError
from storage import jsonfast, oci
from storage.errors import StorageError, shown
from storage.store import Store

if TYPE_CHECKING:
    from storage.oci import Descriptor, Manifest

_LAYER_TYPES = {"plain": oci.LAYER, "gzip": oci.LAYER_GZIP, "zstd": oci.LAYER_ZSTD}


@dataclass(frozen=True)
class SavedImage:
    """One entry of ``manifest.json``: names of members, and the image's tags."""

    config: str
    layers: tuple[str, ...]
    tags: tuple[str, ...]


def is_archive(files: Files) -> bool:
    """Whether ``files`` are those of a docker archive."""
    return files.document("manifest.json") is not None


def entries(files: Files, where: str) -> list[SavedImage]:
    """The images of the archive. Raises RootlessError if it has no list of them, or a malformed one."""
    data = files.document("manifest.json")
    if data is None:
        hint = "archives of docker before 1.10 must be saved again"
        raise RootlessError(f"cannot read {where}: it has no manifest.json", hint)
    try:
        document = jsonfast.loads_strict(data)
        found = []
        for entry in document:
            tags, layers = entry.get("RepoTags") or [], entry.get("Layers") or []
            texts = [entry["Config"], *tags, *layers]
            if not all(isinstance(text, str) for text in texts) or len(layers) > oci.MAX_LAYERS:
                raise ValueError
            found.append(SavedImage(entry["Config"], tuple(layers), tuple(tags)))
    except (StorageError, ValueError, TypeError, KeyError, AttributeError):
        raise RootlessError(f"cannot read {where}: its manifest.json is malformed", "the archive is broken") from None
    return found


def take(
    store: Store, files: Files, saved: SavedImage, names: list[str], platform: Wanted, where: str, send: Send
) -> None:
    """Copy one image into the store and announce it. Raises RootlessError, StorageError."""
    send({"kind": "trying", "name": where})
    data = files.document(saved.config)
    if data is None:
        raise RootlessError(f"cannot read {where}: {shown(saved.config)} is missing", "the archive is incomplete")
    try:
        diff_ids = oci.check_config(jsonfast.loads_strict(data))["rootfs"]["diff_ids"]
    except StorageError as error:
        raise RootlessError(f"cannot use {where}: {error.message}", error.hint) from None
    if len(diff_ids) != len(saved.layers):
        raise RootlessError(f"cannot use {where}: its configuration and its manifest.json list different layers")
    wanted: dict[str, Target] = {}
    layers: list[Descriptor] = []
    for member, diff_id in zip(saved.layers, diff_ids, strict=True):
        target, media_type = _layer(files, member, diff_id, where)
        wanted[member] = target
        layers.append({"mediaType": media_type, "digest": target.digest, "size": target.size})
    manifest: Manifest = {
        "schemaVersion": 2,
        "mediaType": oci.MANIFEST,
        "config": {"mediaType": oci.CONFIG, "digest": str(oci.Digest.of(data)), "size": len(data)},
        "layers": layers,
    }
    config = image_source.read_config(data, manifest, where)
    image_source.check_platform(config, platform, where, send)
    missing = {str(layer["digest"]) for layer in image_source.missing_blobs(store, manifest)}
    image_source.check_space(store, [layer for layer in layers if layer["digest"] in missing])
    store.blobs.put(data)
    document = jsonfast.dumps(manifest).encode()
    send(image_source.image_message(document, oci.MANIFEST, manifest, config, names))
    files.copy(
        {member: target for member, target in wanted.items() if target.digest in missing},
        store.blobs,
        lambda target: send(image_source.blob_message(target.digest, target.size, target.size)),
    )
    store.blobs.put(document)


def _layer(files: Files, member: str, diff_id: str, where: str) -> tuple[Target, str]:
    """What a member is as a blob, and its media type."""
    kind, size = files.compression(member), files.size(member)
    if size is None:
        raise RootlessError(f"cannot read {where}: {shown(member)} is missing", "the archive is incomplete")
    if kind not in _LAYER_TYPES:
        raise RootlessError(f"cannot use {where}: a layer is compressed with {kind}", "save the image again")
    if kind == "plain":
        return Target(diff_id, size), oci.LAYER  # whether it is that is seen when it is copied
    target = files.target(member)
    assert target is not None
    return target, _LAYER_TYPES[kind]
