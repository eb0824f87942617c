"""Stores for the tests of ``storage``, and faults injected between any two of its steps.

A fault is raised from an audit hook, which the interpreter calls before each open, rename, mkdir, …: the real code
meets the real kernel up to that step. Hooks stay for the life of a process, so everything runs in a forked child.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from storage import jsonfast, oci
from storage.errors import StorageError
from storage.images import Image
from storage.store import Store

STEPS = frozenset((
    "open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.chmod", "os.truncate",
    "os.listdir", "os.scandir", "fcntl.flock",
))

FINISHED, REFUSED, KILLED, ESCAPED, COPED = 0, 10, 11, 12, 13


@contextmanager
def store_at(path: Path) -> Iterator[Store]:
    """Open the store below ``path``, and put the umask back that it changes."""
    umask = os.umask(0o022)
    try:
        yield Store.open(str(path / "data"), str(path / "run"))
    finally:
        os.umask(umask)


def add_image(store: Store, *names: str, content: bytes = b"layer", config: dict[str, Any] | None = None) -> Image:
    """Store an image of one layer that holds ``content`` (no archive: it is never unpacked)."""
    layer = store.blobs.put(content, oci.LAYER)
    document = {
        "architecture": "amd64", "os": "linux", "created": "2024-01-01T00:00:00Z", "config": config or {},
        "rootfs": {"type": "layers", "diff_ids": [oci.Digest.of(content)]}}
    described = store.blobs.put(jsonfast.dump_bytes(document), oci.CONFIG)
    manifest = {"schemaVersion": 2, "mediaType": oci.MANIFEST, "config": described, "layers": [layer]}
    entry = store.blobs.put(jsonfast.dump_bytes(manifest), oci.MANIFEST)
    return store.images.add(entry["digest"], entry["size"], entry["mediaType"], list(names))


def add_layer(store: Store, diff_id: str, size: int = 1) -> str:
    """Make what unpacking leaves; return the directory of the layer."""
    from storage.layers import layer_key, link

    key = layer_key(diff_id)
    path = store.layout.layer(key)
    os.makedirs(f"{path}/diff/etc")
    Path(path, "diff/etc/file").write_bytes(b"x" * size)
    Path(path, "layer.json").write_text(f'{{"diff_id":"{diff_id}","map":"","size":{size}}}')
    link(store.layout, key)
    return path


def in_child(function: Callable[[], object]) -> int:
    """Run ``function`` in a fork; return its exit code: FINISHED, REFUSED (a StorageError) or ESCAPED (any other)."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = ESCAPED
    try:
        function()
        code = FINISHED
    except StorageError:
        code = REFUSED
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _at_step(number: int, action: Callable[[], None]) -> None:
    """Call ``action`` before the step ``number`` (from 1) of this process that touches a file system."""
    left = number

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in STEPS and left > 0 and "site-packages" not in str(arguments) and ".py" not in str(arguments[0]):
            left -= 1
            if left == 0:
                action()

    sys.addaudithook(hook)


def killed_at(number: int, function: Callable[[], object]) -> int:
    """Run ``function`` in a fork that dies before its step ``number``; FINISHED if it has fewer."""

    def run() -> None:
        _at_step(number, lambda: os._exit(KILLED))
        function()

    return in_child(run)


def failing_at(number: int, function: Callable[[], object], error: int = errno.ENOSPC) -> int:
    """Run ``function`` in a fork whose step ``number`` fails with ``error``.

    FINISHED if it has fewer steps, COPED if it succeeded nevertheless.
    """
    failed = False

    def fail() -> None:
        nonlocal failed
        failed = True
        raise OSError(error, os.strerror(error))

    def run() -> None:
        _at_step(number, fail)
        function()
        if failed:
            os._exit(COPED)

    return in_child(run)
