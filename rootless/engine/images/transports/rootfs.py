"""``import``: an image of one layer out of a tar archive of a root file system."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from rootless.engine.context import Engine
from rootless.engine.events import note
from rootless.engine.images import platform as image_platform
from rootless.engine.images import source as image_source
from rootless.engine.images.changes import apply_changes
from rootless.engine.images.install import install
from rootless.engine.images.limits import limits_of
from rootless.engine.images.names import local_name
from rootless.engine.images.transports.files import CHUNK, failures
from rootless.engine.images.trust import check as trust
from rootless.engine.images.worker import Send
from rootless.engine.progress import Progress
from rootless.errors import RootlessError
from storage import atomic, jsonfast, oci
from storage.archive.stream import compression, decoded
from storage.errors import os_error
from storage.store import Store
from storage.work import WorkDirectory

if TYPE_CHECKING:
    from storage.oci import ImageConfig, Manifest

# Layers may be compressed so; other archives are stored uncompressed.
_LAYER_TYPES = {"plain": oci.LAYER, "gzip": oci.LAYER_GZIP, "zstd": oci.LAYER_ZSTD}


def import_image(
    engine: Engine, source: str, name: str, values: Mapping[str, Any], progress: Progress | None = None
) -> str:
    """Make an image of the archive at the path or URL ``source`` and call it ``name`` ('': nothing).

    ``source`` ``-`` is standard input. ``values``: ``change``, ``message``, ``os``, ``arch``, ``variant``. Returns its
    id. Raises RootlessError, UsageError, StorageError.
    """
    names = [local_name(name)] if name else []
    trust.check_local("tarball", source, "")
    platform = image_platform.wanted({key: values.get(key) for key in ("os", "arch", "variant")})
    remote = source.startswith(("http://", "https://"))
    origin = "standard input" if source == "-" else os.path.basename(source.partition("?")[0] if remote else source)
    message = values.get("message") or f"imported from {origin}"
    config: dict[str, Any] = {
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "architecture": platform.architecture,
        "os": platform.os,
        **({"variant": platform.variant} if platform.explicit and platform.variant else {}),
        "config": apply_changes({}, values.get("change") or []),
        "history": [{"created_by": "rootless import", "comment": message}],
    }
    config["history"][0]["created"] = config["created"]
    most = limits_of(engine).bytes
    with WorkDirectory(engine.store.layout) as directory:

        def work(send: Send) -> None:
            path = source
            if remote:
                path = f"{directory.path}/fetched"
                _fetch(source, path, most, send)
            with _open(path, origin) as stream:
                status = os.fstat(stream.fileno())
                if stat.S_ISREG(status.st_mode) and not remote:
                    image_source.check_space(engine.store, [{"mediaType": "", "digest": "", "size": status.st_size}])
                archive = _copy(stream, f"{directory.path}/layer", origin, most)
            _store(engine.store, archive, config, names, send)

        image_id = install(engine, work, progress or Progress())[0].image.id
    note(engine, "image", "import", image_id, {"name": names[0] if names else image_id})
    return image_id


def _fetch(url: str, path: str, most: int, send: Send) -> None:
    from rootless.registry.fetch import fetch
    from rootless.registry.options import ConnectionOptions

    send({"kind": "trying", "name": url.partition("?")[0]})
    fetch(url, path, ConnectionOptions(say=lambda text: send({"kind": "note", "text": text})), most)


class _Archive(NamedTuple):
    """The archive in the file ``path``: as it came where layers may be compressed so, else uncompressed."""

    path: str
    media_type: str
    digest: str
    size: int
    diff_id: str


class _Tee:
    """A stream whose bytes are written to ``out`` (unless that is negative) and hashed as they are read."""

    def __init__(self, stream: IO[bytes], out: int) -> None:
        self._stream = stream
        self._out = out
        self.hash = hashlib.sha256()
        self.size = 0

    def read(self, size: int, /) -> bytes:
        """Read at most ``size`` bytes."""
        data = self._stream.read(size)
        self.take(data)
        return data

    def take(self, data: bytes) -> None:
        """Write and hash what was read already."""
        if self._out >= 0:
            _write(self._out, data)
            self.hash.update(data)
            self.size += len(data)


def _open(path: str, where: str) -> IO[bytes]:
    try:
        return open(0 if path == "-" else path, "rb", buffering=0, closefd=path != "-")
    except OSError as error:
        raise RootlessError(f"cannot import {where}: {error.strerror}") from None


def _copy(stream: IO[bytes], path: str, where: str, most: int) -> _Archive:
    """Read the archive, once, into the new file ``path``. Raises RootlessError, StorageError.

    It may not be empty, nor have more than ``most`` bytes uncompressed.
    """
    out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with failures(f"cannot import {where}"):
            first = stream.read(CHUNK)
            media_type = _LAYER_TYPES.get(compression(first))
            packed = media_type not in (None, oci.LAYER)
            source = _Tee(stream, out if packed else -1)
            source.take(first)
            plain, plain_size = hashlib.sha256(), 0
            for chunk in decoded(source, first) if first else ():
                plain.update(chunk)
                plain_size += len(chunk)
                if plain_size > most:
                    raise RootlessError(
                        f"cannot import {where}: it has more than {most} bytes when it is decompressed",
                        "the archive may be a decompression bomb",
                    )
                if not packed:
                    _write(out, chunk)
    finally:
        os.close(out)
    if plain_size < 512:
        raise RootlessError(f"cannot import {where}: it is not a tar archive")
    diff_id = f"sha256:{plain.hexdigest()}"
    if not packed:
        return _Archive(path, oci.LAYER, diff_id, plain_size, diff_id)
    return _Archive(path, str(media_type), f"sha256:{source.hash.hexdigest()}", source.size, diff_id)


def _write(fd: int, data: bytes) -> None:
    try:
        atomic.write_all(fd, data)
    except OSError as error:
        raise os_error("cannot store the archive", error) from error


def _store(store: Store, archive: _Archive, config: ImageConfig, names: list[str], send: Send) -> None:
    """Store the layer, the configuration made for it and the manifest; announce the image."""
    config = {**config, "rootfs": {"type": "layers", "diff_ids": [archive.diff_id]}}
    config_blob = store.blobs.put(jsonfast.dumps(config).encode(), oci.CONFIG)
    manifest: Manifest = {
        "schemaVersion": 2,
        "mediaType": oci.MANIFEST,
        "config": config_blob,
        "layers": [{"mediaType": archive.media_type, "digest": archive.digest, "size": archive.size}],
    }
    document = jsonfast.dumps(manifest).encode()
    store.blobs.adopt(archive.path, archive.digest, archive.size)
    send(image_source.image_message(document, oci.MANIFEST, manifest, oci.check_config(config), names))
    send(image_source.blob_message(archive.digest, archive.size, archive.size))
    store.blobs.put(document)
