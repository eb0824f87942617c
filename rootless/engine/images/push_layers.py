"""The layers of an image that is pushed, compressed anew where that is asked for, or where they are not compressed."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import zstandard
from isal import isal_zlib

from rootless.engine.images.kinds import as_kind
from rootless.engine.images.transports.outgoing import Outgoing, Stream, converted
from rootless.errors import UsageError
from storage import jsonfast, oci
from storage.archive.limits import Limits
from storage.archive.stream import LayerStream, compression
from storage.atomic import write_all
from storage.errors import DamagedError, os_error

if TYPE_CHECKING:
    from storage.oci import Descriptor

FORMATS = ("gzip", "zstd", "zstd:chunked")
_LEVELS = {"gzip": range(1, 10), "zstd": range(1, 21), "zstd:chunked": range(1, 21)}
_DEFAULT_ZSTD = 3
_QUICK = 1  # isal's level, whose output is as small as that of zlib's lowest
_GZIP = 31  # zlib's windowBits for a gzip stream
_AT_ONCE = 4


@dataclass(frozen=True)
class Recipe:
    """How layers are compressed: ``format``, ``level`` (None: the format's own choice), and which of them.

    Plain layers always are, others only with ``everything``, if their format is another one.
    """

    format: str = "gzip"
    level: int | None = None
    everything: bool = False


class _Squeeze(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


def recipe(values: Mapping[str, Any]) -> Recipe:
    """What ``--compression-format``, ``--compression-level`` ask for. Raises UsageError."""
    asked = values.get("compression_format")
    kind = asked or "gzip"
    if kind not in FORMATS:
        raise UsageError(f"cannot compress with {kind[:40]!r}", f"use one of {', '.join(FORMATS)}")
    text = values.get("compression_level")
    level = None if text is None else int(str(text))
    if level is not None and level not in _LEVELS[kind]:
        raise UsageError(f"cannot use --compression-level={level}", f"{kind} has the levels 1 to {_LEVELS[kind][-1]}")
    if values.get("force_compression") and not asked:
        raise UsageError("cannot use --force-compression without --compression-format", "say which format to force")
    return Recipe(kind, level, bool(asked))


def repacked(image: Outgoing, how: Recipe, directory: str, keep: Callable[[Descriptor], bool]) -> Outgoing:
    """The image with its layers compressed as ``how`` says, in files in ``directory``: itself if they all are.

    A compressed layer that ``keep`` is true of stays as it is. Raises DamagedError, StorageError.
    """
    docker = image.media_type == oci.DOCKER_MANIFEST
    document = image.document
    diff_ids = dict(zip((layer["digest"] for layer in document["layers"]), image.diff_ids, strict=True))
    wanted: dict[str, Descriptor] = {}
    for layer in document["layers"]:
        if layer["digest"] not in wanted and _is_wanted(image, layer, how, keep):
            wanted[layer["digest"]] = layer
    if not wanted:
        return image
    if how.format != "gzip" and docker:
        image, docker = converted(image, docker=False), False  # Docker's manifests know no zstd
        document = image.document
    files: dict[str, str] = {}
    made: dict[str, Descriptor] = {}

    def pack(number: int, layer: Descriptor) -> None:
        path = f"{directory}/{number}"
        packed = _pack(image, layer, diff_ids[layer["digest"]], how, path)
        files[packed["digest"]] = path
        made[layer["digest"]] = as_kind(packed, docker)

    with ThreadPoolExecutor(max_workers=min(_AT_ONCE, os.cpu_count() or 1)) as pool:
        for future in [pool.submit(partial(pack, *each)) for each in enumerate(wanted.values())]:
            future.result()

    def open_blob(digest: str) -> Stream:
        return open(files[digest], "rb", buffering=0) if digest in files else image.open_blob(digest)

    new: dict[str, Any] = {**document, "mediaType": image.media_type}
    new["layers"] = [made.get(layer["digest"], layer) for layer in document["layers"]]
    return replace(image, manifest=jsonfast.dumps(new).encode(), open_blob=open_blob)


def _is_wanted(image: Outgoing, layer: Descriptor, how: Recipe, keep: Callable[[Descriptor], bool]) -> bool:
    stream = image.open_blob(layer["digest"])
    try:
        kind = compression(stream.read(6))
    finally:
        stream.close()
    if kind == "plain":
        return layer["size"] > 0
    # What is zstd may be zstd:chunked or not: its descriptor tells.
    same = kind == how.format or (how.format == "zstd:chunked" and kind == "zstd" and _is_chunked(layer))
    return how.everything and not same and not keep(layer)


def _is_chunked(layer: Descriptor) -> bool:
    from storage.archive.chunked import POSITION

    return POSITION in layer.get("annotations", {})


def _pack(image: Outgoing, layer: Descriptor, diff_id: str, how: Recipe, path: str) -> Descriptor:
    """One layer, compressed into the new file ``path``."""
    source = image.open_blob(layer["digest"])
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            packed, found = _chunked(source, fd, how) if how.format == "zstd:chunked" else _squeezed(source, fd, how)
        finally:
            os.close(fd)
    except OSError as error:
        raise os_error("cannot compress a layer", error) from error
    finally:
        source.close()
    if found != diff_id:
        raise DamagedError(f"cannot push layer {layer['digest']}: its files are not those of its DiffID {diff_id}")
    return packed


def _chunked(source: Stream, fd: int, how: Recipe) -> tuple[Descriptor, str]:
    from storage.archive import chunked_write

    made = chunked_write.convert(source, fd, level=how.level or chunked_write.LEVEL)
    packed: Descriptor = {"mediaType": oci.LAYER_ZSTD, "digest": made.digest, "size": made.size}
    if made.annotations:
        packed["annotations"] = made.annotations
    return packed, made.diff_id


def _squeezed(source: Stream, fd: int, how: Recipe) -> tuple[Descriptor, str]:
    squeeze: _Squeeze
    if how.format == "zstd":
        squeeze = zstandard.ZstdCompressor(level=how.level or _DEFAULT_ZSTD, write_checksum=True).compressobj()
    elif how.level is None:
        squeeze = isal_zlib.compressobj(_QUICK, isal_zlib.DEFLATED, _GZIP)
    else:
        squeeze = zlib.compressobj(how.level, zlib.DEFLATED, _GZIP)
    found, size = hashlib.sha256(), 0
    stream = LayerStream(source, Limits())
    try:
        for chunk in stream:
            size += _write(fd, found, squeeze.compress(chunk))
        size += _write(fd, found, squeeze.flush())
    finally:
        stream.close()
    media_type = oci.LAYER_ZSTD if how.format == "zstd" else oci.LAYER_GZIP
    return {"mediaType": media_type, "digest": f"sha256:{found.hexdigest()}", "size": size}, stream.digest()


def _write(fd: int, found: Any, data: bytes) -> int:
    if data:
        found.update(data)
        write_all(fd, data)
    return len(data)
