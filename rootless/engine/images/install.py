"""From a source to an image in the store: the event loop of every pull, load and import.

::

    this process ──fork─→ source     puts blobs into the store (downloads them, or reads an archive)
         │
         └──────fork─→ unpacker   one per image; unpacks each layer as soon as its blob is there

This process stays small and single-threaded; it passes the news on, and gives the images their names when the last
layer is on disk. Until then nothing refers to what was stored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from rootless.engine.context import Engine
from rootless.engine.images.unpack import Unpacker
from rootless.engine.images.worker import Message, Send, Worker, ready
from rootless.engine.progress import Progress
from rootless.errors import RootlessError
from rootless.registry.errors import TransientError
from storage import gc
from storage.errors import StorageError
from storage.images import INDEX_DIGEST, Image

_UNPACKED_AT_ONCE = 2  # images; the layers of each are unpacked side by side


class Installed(NamedTuple):
    """An image that is in the store now, and the names that this installation gave it."""

    image: Image
    names: list[str]


def install(engine: Engine, source: Callable[[Send], None], progress: Progress) -> list[Installed]:
    """Run ``source`` (see ``image_source``), unpack its layers and record its images; return them in its order.

    Raises RootlessError or StorageError; the processes are ended then and nothing is recorded. What was stored is
    removed again, unless the network failed: then the next pull goes on from it.
    """
    try:
        with gc.adding(engine.store.layout):
            installer = _Installer(engine, source, progress)
            try:
                installer.run()
                progress.recording()
                return installer.record()
            finally:
                installer.stop()
                progress.close()
    except (RootlessError, StorageError) as error:
        if not isinstance(error, TransientError):
            gc.collect(engine.store, engine.delete_tree)
        gc.sweep(engine.store, engine.delete_tree)
        raise


class _Installer:
    """The state of one installation."""

    def __init__(self, engine: Engine, source: Callable[[Send], None], progress: Progress) -> None:
        self._engine = engine
        self._progress = progress
        self._images: list[Message] = []
        self._unpackers: list[Unpacker] = []
        self._waiting: deque[Message] = deque()  # images to unpack, when there is room
        self._by_diff_id: dict[str, str] = {}
        self._source = Worker(source)
        self._workers = [self._source]

    def run(self) -> None:
        """Take messages until the source and all unpackers are done."""
        while self._workers:
            for worker in ready(self._workers):
                messages = worker.receive()
                if messages is None:
                    self._ended(worker)
                for message in messages or ():
                    self._take(message)
        if not self._images:
            raise RootlessError("cannot find an image in what was read")
        for digest in self._by_diff_id.values():
            self._progress.unpacked(digest)

    def _ended(self, worker: Worker) -> None:
        self._workers.remove(worker)
        if worker is not self._source:
            self._unpackers = [unpacker for unpacker in self._unpackers if unpacker.worker is not worker]
            self._unpack_waiting()
        if self._source not in self._workers:
            for unpacker in self._unpackers:
                unpacker.finish()

    def _take(self, message: Message) -> None:
        kind = message["kind"]
        if kind == "note":
            self._progress.note(message["text"])
        elif kind == "trying":
            self._progress.trying(message["name"])
        elif kind == "image":
            self._announce(message)
        elif kind == "unpacking":
            self._progress.unpacking(self._by_diff_id[message["diff_id"]])
        elif kind == "blob":
            self._progress.downloaded(message["digest"], message["done"], message["size"])
            if message["done"] == message["size"]:
                for unpacker in self._unpackers:
                    unpacker.add(message["digest"])

    def _announce(self, image: Message) -> None:
        """An image's layers are known: those whose blobs are there can be unpacked at once."""
        self._images.append(image)
        self._progress.config(image["config"])
        for digest, layer in {layer["digest"]: layer for layer in image["layers"]}.items():
            self._by_diff_id[layer["diff_id"]] = digest
            if self._engine.store.blobs.has(digest, layer["size"]):
                self._progress.found(digest, layer["size"])
            else:
                self._progress.waiting(digest, layer["size"])
        self._waiting.append(image)
        self._unpack_waiting()

    def _unpack_waiting(self) -> None:
        """Begin with the next images, a few at once however many an archive has."""
        while self._waiting and len(self._unpackers) < _UNPACKED_AT_ONCE:
            image = self._waiting.popleft()
            if not self._engine.layers.missing([layer["diff_id"] for layer in image["layers"]]):
                continue
            unpacker = Unpacker(self._engine, image)
            self._unpackers.append(unpacker)
            self._workers.append(unpacker.worker)
            for digest, layer in {layer["digest"]: layer for layer in image["layers"]}.items():
                if self._engine.store.blobs.has(digest, layer["size"]):
                    unpacker.add(digest)

    def record(self) -> list[Installed]:
        """Give the images their names: the last step."""
        images = self._engine.store.images
        recorded = []
        for image in self._images:
            entry: dict[str, Any] = image["manifest"]
            annotations = {INDEX_DIGEST: image["index"]} if image.get("index") else {}
            added = images.add(entry["digest"], entry["size"], entry["mediaType"], image["names"], annotations)
            recorded.append(Installed(added, image["names"]))
        return recorded

    def stop(self) -> None:
        """End what still runs (after an error or Ctrl-C)."""
        for unpacker in self._unpackers:
            unpacker.finish()
        for worker in self._workers:
            worker.kill()
