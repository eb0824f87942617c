"""``import``: an image of one layer out of a tar archive of a root file system."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

from rootless.engine.context import Engine
from rootless.engine.events import note
from rootless.engine.images import platform as image_platform
from rootless.engine.images import source as image_source
from rootless.engine.images.changes import apply_changes
from rootless.engine.images.install import install
from rootless.engine.images.names import local_name
from rootless.engine.images.transports.files import CHUNK, spool
from rootless.engine.images.unpack import limits_of
from rootless.engine.images.worker import Send
from rootless.engine.progress import Progress
from rootless.errors import RootlessError
from storage import jsonfast, oci
from storage.archive.stream import compression, decoded
from storage.errors import StorageError
from storage.store import Store
from storage.work import WorkDirectory

if TYPE_CHECKING:
    from storage.oci import ImageConfig, Manifest

# Layers may be compressed so; other archives are stored uncompressed.
_LAYER_TYPES = {"plain": oci.LAYER, "gzip": oci.LAYER_GZIP, "zstd": oci.LAYER_ZSTD}


def import_image(
    engine: Engine, source: str, name: str, values: Mapping[str, Any], progress: Progress | None = None
) -> str:
    """Make an image of the archive at path ``source`` (``-``: standard input) and call it ``name`` ('': nothing).

    ``values``: ``change``, ``message``, ``os``, ``arch``, ``variant``. Returns its id. Raises RootlessError,
    UsageError, StorageError.
    """
    if source.startswith(("http://", "https://")):
        raise RootlessError(f"cannot import {source}: not a file", f"curl -fL {source} | rootless import -")
    names = [local_name(name)] if name else []
    platform = image_platform.wanted({key: values.get(key) for key in ("os", "arch", "variant")})
    origin = "standard input" if source == "-" else os.path.basename(source)
    message = values.get("message") or f"imported from {origin}"
    config: dict[str, Any] = {
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "architecture": platform.architecture,
        "os": platform.os,
        **({"variant": platform.variant} if platform.explicit and platform.variant else {}),
        "config": {},
        "history": [{"created_by": "rootless import", "comment": message}],
    }
    config["history"][0]["created"] = config["created"]
    apply_changes(config["config"], values.get("change") or [])
    most = limits_of(engine).bytes
    with WorkDirectory(engine.store.layout) as directory:
        path = source
        if source == "-":
            path = f"{directory.path}/archive"
            spool(sys.stdin.buffer, path)

        def work(send: Send) -> None:
            _take(engine.store, _measure(path, origin, most), path, origin, config, names, send)

        image_id = install(engine, work, progress or Progress())[0].image.id
    note(engine, "image", "import", image_id, {"name": names[0] if names else image_id})
    return image_id


@dataclass(frozen=True)
class _Archive:
    """Digests and sizes of an archive as it is and uncompressed."""

    kind: str
    digest: str
    size: int
    diff_id: str
    plain_size: int


class _Hashing:
    """A file whose bytes are hashed as they are read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.hash = hashlib.sha256()
        self.size = 0

    def read(self, size: int, /) -> bytes:
        """Read at most ``size`` bytes."""
        data = self._stream.read(size)
        self.hash.update(data)
        self.size += len(data)
        return data


def _open(path: str, where: str) -> IO[bytes]:
    try:
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise RootlessError(f"cannot import {where}: {error.strerror}") from None


def _measure(path: str, where: str, most: int) -> _Archive:
    """Read the archive once. Raises RootlessError if it is empty, or cannot be decompressed to ``most`` bytes."""
    plain, plain_size = hashlib.sha256(), 0
    with _open(path, where) as stream:
        source = _Hashing(stream)
        try:
            first = source.read(CHUNK)
            for chunk in decoded(source, first) if first else ():
                plain.update(chunk)
                plain_size += len(chunk)
                if plain_size > most:
                    raise RootlessError(
                        f"cannot import {where}: it has more than {most} bytes when it is decompressed",
                        "the archive may be a decompression bomb",
                    )
        except OSError as error:
            raise RootlessError(f"cannot import {where}: {error.strerror}") from None
        except StorageError as error:
            raise RootlessError(f"cannot import {where}: {error.message}", "the archive is broken") from None
    if plain_size < 512:
        raise RootlessError(f"cannot import {where}: it is not a tar archive")
    digests = (f"sha256:{source.hash.hexdigest()}", f"sha256:{plain.hexdigest()}")
    return _Archive(compression(first), digests[0], source.size, digests[1], plain_size)


def _take(
    store: Store, archive: _Archive, path: str, where: str, config: ImageConfig, names: list[str], send: Send
) -> None:
    """Store the layer, the configuration made for it and the manifest; announce the image."""
    media_type = _LAYER_TYPES.get(archive.kind)
    digest, size = (archive.digest, archive.size) if media_type else (archive.diff_id, archive.plain_size)
    config = {**config, "rootfs": {"type": "layers", "diff_ids": [archive.diff_id]}}
    config_blob = store.blobs.put(jsonfast.dumps(config).encode(), oci.CONFIG)
    manifest: Manifest = {
        "schemaVersion": 2,
        "mediaType": oci.MANIFEST,
        "config": config_blob,
        "layers": [{"mediaType": media_type or oci.LAYER, "digest": digest, "size": size}],
    }
    document = jsonfast.dumps(manifest).encode()
    image_source.check_space(store, image_source.missing_blobs(store, manifest))
    send(image_source.image_message(document, oci.MANIFEST, manifest, oci.check_config(config), names))
    with _open(path, where) as stream, store.blobs.writer(digest, size) as writer:
        if not writer.done:
            writer.restart()
            for chunk in _chunks(stream) if media_type else decoded(stream):
                writer.write(chunk)
            writer.commit()
    send(image_source.blob_message(digest, size, size))
    store.blobs.put(document)


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK):
        yield chunk
