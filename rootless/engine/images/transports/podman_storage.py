"""``containers-storage:``, the images that podman, buildah and skopeo keep of the same user. Nothing is written there.

podman keeps no archives: a layer's is made again from its files (``tar_split``), and is uncompressed then, so that the
image has another manifest here, whose layers are named by their DiffIDs. Its id, the digest of the configuration, is
the same. Files of subordinate ids are read in the user namespace.
"""

from __future__ import annotations

import base64
import fcntl
import os
import string
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from rootless.engine.images import source as image_source
from rootless.engine.images.platform import Wanted
from rootless.engine.images.transports.podman_conf import Place, places
from rootless.engine.images.transports.tar_split import archive
from rootless.engine.images.worker import Send
from rootless.errors import NotFoundError, RootlessError
from storage import jsonfast, oci, reference
from storage.errors import StorageError, shown

if TYPE_CHECKING:
    from rootless.engine.context import Engine
    from storage.oci import Descriptor, Manifest

_LARGEST_LIST = 256 << 20  # bytes of images.json or layers.json
_PLAIN_NAME = frozenset(string.ascii_lowercase + string.digits + ".")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _Stored(NamedTuple):
    """An image of a store of podman's: its entry in images.json, and what it is to be called here."""

    place: Place
    entry: dict[str, Any]
    names: list[str]


def take(engine: Engine, rest: str, platform: Wanted, where: str, send: Send) -> None:
    """Copy an image into the store and announce it. Raises RootlessError, StorageError."""
    send({"kind": "trying", "name": where})
    store = engine.store
    stored = _find(rest, where)
    with _locked(stored.place, "images"):
        manifest_data = _big_data(stored, "manifest", where)
        media_type = oci.check_media_type(jsonfast.loads_strict(manifest_data))
        original = image_source.read_manifest(manifest_data, media_type, where)
        config_data = _big_data(stored, str(original["config"]["digest"]), where)
    if oci.Digest.of(config_data) != original["config"]["digest"]:
        raise RootlessError(f"cannot use {where}: digest mismatch in its configuration", "it is damaged")
    config = image_source.read_config(config_data, original, where)
    image_source.check_platform(config, platform, where, send)
    with _locked(stored.place, "layers"):
        chain = _chain(stored, config["rootfs"]["diff_ids"], where)
        layers = [_descriptor(layer, media_type) for layer in chain]
        made: dict[str, Any] = {**original, "mediaType": media_type, "layers": layers}
        manifest: Manifest = made  # type: ignore[assignment]
        data = jsonfast.dumps(manifest).encode()
        missing = {str(layer["digest"]) for layer in image_source.missing_blobs(store, manifest)}
        image_source.check_space(store, [layer for layer in layers if layer["digest"] in missing])
        store.blobs.put(config_data)
        send(image_source.image_message(data, media_type, manifest, config, stored.names))
        for layer, blob in zip(chain, layers, strict=True):
            if blob["digest"] in missing:
                missing.discard(str(blob["digest"]))
                _copy(engine, stored.place, layer, blob)
                send(image_source.blob_message(blob["digest"], blob["size"], blob["size"]))
    store.blobs.put(data)


@contextmanager
def _locked(place: Place, kind: str) -> Iterator[None]:
    """Hold the lock under which podman reads ``kind``, images or layers: it changes nothing of them meanwhile."""
    try:
        fd = os.open(f"{place.root}/{place.driver}-{kind}/{kind}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield  # a store that nobody writes to has none
        return
    try:
        fcntl.lockf(fd, fcntl.LOCK_SH)
        yield
    finally:
        os.close(fd)


def _list(place: Place, kind: str) -> list[dict[str, Any]]:
    path = f"{place.root}/{place.driver}-{kind}/{kind}.json"
    try:
        with open(path, "rb") as file:
            data = file.read(_LARGEST_LIST + 1)
        found = jsonfast.loads(data) if data.strip() else []
    except OSError as error:
        raise RootlessError(f"cannot read {path}: {error.strerror}") from None
    except StorageError as error:
        raise RootlessError(f"cannot read {path}: {error.message}") from None
    if not isinstance(found, list) or not all(isinstance(entry, dict) and _is_id(entry.get("id")) for entry in found):
        raise RootlessError(f"cannot read {path}: it is no list of {kind}")
    return found


def _is_id(text: object) -> bool:
    return isinstance(text, str) and 0 < len(text) <= 128 and text.isascii() and text.isalnum()


def _find(rest: str, where: str) -> _Stored:
    """The image that is meant: by a name of it, or the beginning of its id (``@ID`` too)."""
    stores, name = places(rest)
    name = name.removeprefix("@")
    if not name:
        raise RootlessError(f"cannot use {where}: it names no image", "write containers-storage:NAME")
    candidates = _candidates(name)
    for place in stores:
        with _locked(place, "images"):
            entries = _list(place, "images")
        for candidate in candidates:
            for entry in entries:
                if candidate in (entry.get("names") or []):
                    return _Stored(place, entry, [candidate])
        identified = [entry for entry in entries if entry["id"].startswith(name.removeprefix("sha256:"))]
        if len(identified) > 1:
            raise RootlessError(f"cannot tell which image {where} is: several ids begin so", "give more digits")
        if identified:
            return _Stored(place, identified[0], _usable(identified[0].get("names")))
    looked = ", ".join(sorted({place.root for place in stores})) or "there is no store of podman's"
    raise NotFoundError(f"cannot find {where}: no such image", f"looked in: {looked}" if stores else looked)


def _candidates(name: str) -> list[str]:
    """The full names that ``name`` may mean, the likeliest first."""
    try:
        full = reference.parse(name)
        if not reference.is_short(name):
            return [str(full)]
        return [str(reference.parse(f"localhost/{name}")), str(full)]
    except StorageError:
        return []


def _usable(names: object) -> list[str]:
    found = []
    for name in names if isinstance(names, list) else []:
        try:
            full = reference.parse(name) if isinstance(name, str) else None
        except StorageError:
            continue
        if full is not None and full.digest is None:
            found.append(str(full))
    return found


def _big_data(stored: _Stored, key: str, where: str) -> bytes:
    """A document that podman keeps beside an image."""
    name = key if _PLAIN_NAME.issuperset(key) else "=" + base64.b64encode(key.encode()).decode()
    path = f"{stored.place.root}/{stored.place.driver}-images/{stored.entry['id']}/{name.replace('/', '_')}"
    try:
        with open(path, "rb") as file:
            data = file.read(oci.MAX_DOCUMENT + 1)
    except OSError as error:
        raise RootlessError(f"cannot read {shown(key)} of {where}: {error.strerror}") from None
    if len(data) > oci.MAX_DOCUMENT:
        raise RootlessError(f"cannot read {shown(key)} of {where}: it is larger than {oci.MAX_DOCUMENT} bytes")
    return data


def _chain(stored: _Stored, diff_ids: list[str], where: str) -> list[dict[str, Any]]:
    """The entries of the image's layers, base first."""
    known = {entry["id"]: entry for entry in _list(stored.place, "layers")}
    chain: list[dict[str, Any]] = []
    current = stored.entry.get("layer") or ""
    while current:
        entry = known.get(current)
        if entry is None or len(chain) > len(diff_ids):
            raise RootlessError(f"cannot use {where}: its layers are not all there", "is it the copy of another store?")
        chain.insert(0, entry)
        current = entry.get("parent") or ""
    if [entry.get("diff-digest") for entry in chain] != list(diff_ids):
        raise RootlessError(f"cannot use {where}: its layers are not those of its configuration")
    return chain


def _descriptor(layer: dict[str, Any], media_type: str) -> Descriptor:
    size = layer.get("diff-size")
    if not isinstance(size, int) or not 0 <= size <= oci.MAX_BLOB:
        raise RootlessError(f"cannot use the layer {layer['id']}: podman has not noted its size")
    kind = oci.DOCKER_LAYER if media_type == oci.DOCKER_MANIFEST else oci.LAYER
    return {"mediaType": kind, "digest": oci.Digest(layer["diff-digest"]), "size": size}


def _copy(engine: Engine, place: Place, layer: dict[str, Any], blob: Descriptor) -> None:
    """Make a layer's archive again and store it, as root of the user namespace, who can read all of its files."""

    def work() -> bytes:
        try:
            notes = open(f"{place.root}/{place.driver}-layers/{layer['id']}.tar-split.gz", "rb", buffering=0)  # noqa: SIM115
        except OSError as error:
            hint = "podman has not unpacked it from an archive: save it with podman save, and load that"
            raise RootlessError(f"cannot read the notes of layer {layer['id']}: {error.strerror}", hint) from None
        tree = f"dir/{layer['id']}" if place.driver == "vfs" else f"{layer['id']}/diff"
        try:
            directory = os.open(f"{place.root}/{place.driver}/{tree}", _DIRECTORY)
        except OSError as error:
            notes.close()
            raise RootlessError(f"cannot read the files of layer {layer['id']}: {error.strerror}") from None
        with notes, engine.store.blobs.writer(blob["digest"], blob["size"]) as writer:
            try:
                if not writer.done:
                    writer.restart()
                    for chunk in archive(notes, directory):
                        writer.write(chunk)
                    writer.commit()
            finally:
                os.close(directory)
        return b""

    engine.in_userns(work)
