"""The process that unpacks an image: it is told which blobs are there, and hands them to ``layers_unpack``."""

from __future__ import annotations

import os
from collections.abc import Iterator

from rootless.engine.context import Engine
from rootless.engine.images.limits import limits_of
from rootless.engine.images.worker import Message, Send, Worker
from rootless.security.confine import prepare_unpacker, unpacker
from storage import layers_unpack
from storage.archive.stream import load_decoders
from storage.layers_unpack import LayerSource


class Unpacker:
    """Unpacks the layers of one image, in a child process, each as soon as ``add`` names it."""

    def __init__(self, engine: Engine, image: Message) -> None:
        diff_ids = [layer["diff_id"] for layer in image["layers"]]
        reader, writer = os.pipe()
        self._orders = writer
        self._wanted = {layer["digest"]: layer["diff_id"] for layer in image["layers"]}

        def work(send: Send) -> None:
            os.close(writer)
            prepare_unpacker()
            load_decoders()  # once, before the workers are forked
            layers_unpack.unpack(
                engine.store.layout,
                _sources(engine, reader),
                diff_ids,
                in_userns=engine.in_userns,
                confine=unpacker,
                progress=lambda diff_id, done: send({"kind": "unpacking", "diff_id": diff_id, "done": done}),
                limits=limits_of(engine),
            )

        self.worker = Worker(work)
        os.close(reader)

    def add(self, digest: str) -> None:
        """The blob ``digest`` is in the store; nothing happens if it is no layer of the image."""
        diff_id = self._wanted.pop(digest, "")
        if diff_id and self._orders >= 0:
            try:
                os.write(self._orders, f"{digest} {diff_id}\n".encode())
            except BrokenPipeError:
                pass  # it has ended: its own messages, or the want of them, tell why
            if not self._wanted:
                self.finish()

    def finish(self) -> None:
        """No more blobs will come."""
        if self._orders >= 0:
            os.close(self._orders)
            self._orders = -1


def _sources(engine: Engine, reader: int) -> Iterator[LayerSource]:
    """The layers in the order in which their blobs came."""
    blobs = engine.store.blobs
    with open(reader, "rb", buffering=0, closefd=False) as orders:
        rest = b""
        while data := orders.read(4096):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                digest, _, diff_id = line.decode("ascii").partition(" ")
                yield LayerSource(diff_id, blobs.path(digest))
