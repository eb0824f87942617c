"""WORKDIR: the directory is made where there is none, as the image's user's, in a layer of its own."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from rootless.build.copy.content import Item, write_item
from rootless.build.copy.view import View
from rootless.engine.containers import stack as stacks
from rootless.engine.images.layerfile import pack
from rootless.errors import RootlessError
from rootless.init import identity
from storage.archive.tar_reader import DIRECTORY
from storage.archive.tar_writer import TarWriter

if TYPE_CHECKING:
    from rootless.build.job import Job
    from rootless.build.state import State
    from rootless.engine.images.layerfile import LayerFile
    from rootless.engine.images.worker import Send

_MODE = 0o755
_LIMIT = 4 << 20  # bytes of passwd and group


def make_directory(job: Job, state: State, path: str) -> LayerFile | None:
    """The layer that has the directory, or None where the image has one. Raises RootlessError, StorageError."""
    if job.engine.in_userns(lambda: b"1" if _exists(job, state, path) else b""):
        return None

    def work(writer: int, send: Send) -> None:
        job.engine.in_userns(lambda: _write(job, state, path, writer))

    return pack(job.engine, work, f"{job.work}/workdir-{os.urandom(6).hex()}")


def _view(job: Job, state: State) -> View:
    stacks.raise_open_files()
    return View(stacks.of_layers(job.engine, state.diff_ids))


def _exists(job: Job, state: State, path: str) -> bool:
    with _view(job, state) as view:
        try:
            view.directory(path)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _failure(path, error) from None
    return True


def _write(job: Job, state: State, path: str, output: int) -> bytes:
    with _view(job, state) as view:
        owner = (0, 0)
        user = state.settings.get("User")
        if user:
            owner = identity.owner(view.read("etc/passwd", _LIMIT), view.read("etc/group", _LIMIT), user)
        now = job.mtime(time.time_ns())
        try:
            view.directory(path, new=lambda: Item(DIRECTORY, _MODE, owner, now))
        except OSError as error:
            raise _failure(path, error) from None
        writer = TarWriter(output)
        for name, node in view.nodes():
            write_item(writer, os.fsencode(name) + b"/", node.item, job.mtime(node.item.mtime_ns), {})
        writer.finish()
    return b""


def _failure(path: str, error: OSError) -> RootlessError:
    return RootlessError(f"cannot make the directory {path}: {os.strerror(error.errno or 0).lower()}")
