"""The layer of a container with few changes, made by one process in the user namespace: archive, blob and tree.

The archive is held in memory. Loaded is only what a few files need, and while the namespace is being made.
"""

from __future__ import annotations

import errno
import os

from rootless.linux.libc import getrlimit, setrlimit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.engine.containers.container import Container
    from rootless.engine.context import Engine
    from rootless.engine.images.layerfile import LayerFile

LARGEST = 16 << 20
"""Bytes of an archive that is held in memory."""
_FSIZE = 1  # RLIMIT_FSIZE of setrlimit(2)
_GZIP = 31  # zlib's windowBits for a gzip stream


def load() -> None:
    """Load what :func:`make` needs."""
    import zlib

    from rootless.engine.images import layerfile, limits
    from rootless.security import confine
    from storage import layers_unpack, sha256

    del zlib, layerfile, limits, confine, layers_unpack, sha256


def make(engine: Engine, container: Container, path: str, below: list[str], packed: Callable[[], None]) -> bytes:
    """Called in the user namespace: what :func:`read` takes; empty if the archive is too large.

    Raises RootlessError, StorageError, OSError.
    """
    import zlib

    from rootless.engine.containers import stack as stacks
    from rootless.engine.images.layerfile import write_changes
    from rootless.engine.images.limits import limits_of
    from rootless.security.confine import prepare_unpacker, unpacker
    from storage import atomic, layers_unpack
    from storage.sha256 import hexdigest

    stack = stacks.of_container(engine, container)
    memory = os.memfd_create("layer")
    soft, hard = getrlimit(_FSIZE)
    setrlimit(_FSIZE, min(LARGEST, soft), hard)
    try:
        odd = write_changes(stack, memory)
    except OSError as error:
        if error.errno == errno.EFBIG:
            return b""
        raise
    finally:
        setrlimit(_FSIZE, soft, hard)
    packed()
    data = os.pread(memory, LARGEST, 0)
    diff_id = f"sha256:{hexdigest(data)}"
    squeeze = zlib.compressobj(1, zlib.DEFLATED, _GZIP)
    blob = squeeze.compress(data) + squeeze.flush()
    atomic.write_new(path, blob, durable=False)
    if engine.layers.missing([diff_id]):
        prepare_unpacker()
        layers_unpack.unpack(
            engine.store.layout,
            [layers_unpack.LayerSource(diff_id, f"/proc/self/fd/{memory}")],
            [*below, diff_id],
            in_userns=lambda run: run(),
            confine=unpacker,
            limits=limits_of(engine),
        )
    return f"{diff_id} sha256:{hexdigest(blob)} {len(blob)}\n".encode() + odd


def read(engine: Engine, answer: bytes, path: str) -> LayerFile | None:
    """The layer that :func:`make` has made, and told of what it left out; None if it has not."""
    if not answer:
        return None
    from rootless.engine.images.layerfile import LayerFile, tell_odd

    head, _, odd = answer.partition(b"\n")
    diff_id, digest, size = head.decode().split()
    tell_odd(engine, odd.decode("utf-8", "surrogateescape").split("\0"))
    return LayerFile(path, digest, int(size), diff_id)
