"""What every source of images has in common: the messages it sends, and the checks before anything is fetched.

A source is a function ``work(send)`` that runs in a child process (:mod:`.worker`). It puts blobs into the store and
sends, in this order: any number of ``trying`` and ``note``; for each image one ``image`` message; a ``blob`` message
whenever a layer is in the store, and while it arrives. Manifests are stored when all their blobs are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rootless.engine.images.platform import Wanted
from rootless.engine.images.worker import Message, Send
from rootless.errors import RootlessError
from storage import jsonfast, oci
from storage.errors import StorageError
from storage.store import Store

if TYPE_CHECKING:
    from storage.oci import Descriptor, ImageConfig, Manifest

SPACE_MARGIN = 16 * 1024 * 1024


def image_message(data: bytes, media_type: str, manifest: Manifest, config: ImageConfig, names: list[str]) -> Message:
    """Announce an image: its manifest's bytes are ``data``, ``names`` are the references to record."""
    diff_ids = config["rootfs"]["diff_ids"]
    layers = [
        {"digest": str(layer["digest"]), "size": layer["size"], "diff_id": str(diff_id)}
        for layer, diff_id in zip(manifest["layers"], diff_ids, strict=True)
    ]
    return {
        "kind": "image",
        "names": names,
        "manifest": {"mediaType": media_type, "digest": str(oci.Digest.of(data)), "size": len(data)},
        "config": str(manifest["config"]["digest"]),
        "layers": layers,
    }


def read_manifest(data: bytes, media_type: str, name: str) -> Manifest:
    """Parse and check a manifest. Raises RootlessError that names the image."""
    try:
        return oci.check_manifest(jsonfast.loads_strict(data), media_type)
    except StorageError as error:
        raise RootlessError(f"cannot use the manifest of {name}: {error.message}", error.hint) from None


def read_config(data: bytes, manifest: Manifest, name: str) -> ImageConfig:
    """Parse and check a configuration, which must list as many layers as the manifest. Raises RootlessError."""
    try:
        config = oci.check_config(jsonfast.loads_strict(data))
    except StorageError as error:
        raise RootlessError(f"cannot use the configuration of {name}: {error.message}", error.hint) from None
    if len(config["rootfs"]["diff_ids"]) != len(manifest["layers"]):
        raise RootlessError(f"cannot use {name}: its configuration and its manifest list different numbers of layers")
    return config


def check_platform(config: ImageConfig, platform: Wanted, name: str, send: Send) -> None:
    """Refuse an image of another platform than the user named; warn if it is only not this machine's."""
    if platform.matches(config):
        return
    has = "/".join(str(config[key]) for key in ("os", "architecture", "variant") if config.get(key))
    if platform.explicit:
        raise RootlessError(f"cannot use {name}: it is for platform {has}, not {platform}", "leave out --platform")
    send({"kind": "note", "text": f"WARNING: image platform ({has}) does not match the expected platform ({platform})"})


def check_space(store: Store, descriptors: Iterable[Descriptor]) -> None:
    """Refuse to begin what the disk cannot hold, where it tells how much that is. Raises RootlessError."""
    check_free(store.layout.tmp, sum({entry["digest"]: entry["size"] for entry in descriptors}.values()))


def check_free(directory: str, needed: int) -> None:
    """As `check_space`, for ``needed`` bytes on the disk that holds a directory of the store."""
    status = os.statvfs(directory)
    free = status.f_bavail * status.f_frsize
    if needed and status.f_blocks and needed + SPACE_MARGIN > free:
        raise RootlessError(
            f"cannot store the image: it needs {needed >> 20} MiB and {SPACE_MARGIN >> 20} MiB to spare, "
            f"and {free >> 20} MiB are free on the disk of the store",
            "free some space, for example with 'rootless system prune'",
        )


def missing_blobs(store: Store, manifest: Manifest) -> list[Descriptor]:
    """The layers whose blobs are not in the store, each once, the largest first."""
    unique: dict[Any, Descriptor] = {layer["digest"]: layer for layer in manifest["layers"]}
    missing = [layer for layer in unique.values() if not store.blobs.has(layer["digest"], layer["size"])]
    return sorted(missing, key=lambda layer: -layer["size"])


def blob_message(digest: str, done: int, size: int) -> Message:
    """``done`` of ``size`` bytes of a layer are in the store; when equal, it is complete and verified."""
    return {"kind": "blob", "digest": str(digest), "done": done, "size": size}
