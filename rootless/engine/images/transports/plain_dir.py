"""``dir:``, the directory of files that ``skopeo copy … dir:PATH`` writes: manifest.json, and blobs named by hex."""

from __future__ import annotations

from rootless.engine.images import source as image_source
from rootless.engine.images.platform import Wanted
from rootless.engine.images.transports.files import Files, Target
from rootless.engine.images.worker import Send
from rootless.errors import RootlessError
from storage import jsonfast, oci
from storage.errors import StorageError
from storage.store import Store


def take(store: Store, files: Files, names: list[str], platform: Wanted, where: str, send: Send) -> None:
    """Copy the image into the store and announce it. Raises RootlessError, StorageError."""
    send({"kind": "trying", "name": where})
    data = files.document("manifest.json")
    if data is None:
        raise RootlessError(f"cannot read {where}: it has no manifest.json", "is it a directory that skopeo wrote?")
    try:
        media_type = oci.check_media_type(jsonfast.loads_strict(data))
    except StorageError as error:
        raise RootlessError(f"cannot use {where}: {error.message}", error.hint) from None
    manifest = image_source.read_manifest(data, media_type, where)
    config_blob = manifest["config"]
    found = {
        oci.Digest(entry["digest"]).encoded: Target(entry["digest"], entry["size"])
        for entry in image_source.missing_blobs(store, manifest)
    }
    config_name = oci.Digest(config_blob["digest"]).encoded
    files.copy({config_name: Target(config_blob["digest"], config_blob["size"])}, store.blobs, lambda _: None)
    config = image_source.read_config(store.blobs.read(config_blob["digest"], verify=True), manifest, where)
    image_source.check_platform(config, platform, where, send)
    image_source.check_space(store, image_source.missing_blobs(store, manifest))
    send(image_source.image_message(data, media_type, manifest, config, names))
    files.copy(
        found,
        store.blobs,
        lambda target: send(image_source.blob_message(target.digest, target.size, target.size)),
    )
    store.blobs.put(data)
