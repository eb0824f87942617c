"""Unpacking an image's layers side by side: blob → tree, verified, and published by one rename each.

::

    caller ── in_userns ─→ coordinator ──fork─→ one confined worker per layer (as many at a time as processors)
                               │                   decode + hash (thread) → tar reader → extractor
                               └─ parents' metadata → layer.json → one syncfs → rename to layers/KEY → link l/NAME

Everything is made in one locked directory below tmp/; after a crash it is unlocked, and so known to be rubbish.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterable

from storage import atomic, jsonfast, trees
from storage import sys as calls
from storage.archive.extract import Extractor
from storage.archive.limits import Limits
from storage.archive.stream import LayerStream, Source, load_decoder_for, load_decoders
from storage.archive.tar_reader import TarReader
from storage.errors import StorageError, os_error
from storage.layer_parents import complete_parents
from storage.layers import Layers, layer_key
from storage.layers_publish import publish
from storage.layout import Layout
from storage.ownership import Ids, OwnersWriter
from storage.work import WorkDirectory

Progress = Callable[[str, int], None]
Confine = Callable[[int], None]
InUserns = Callable[[Callable[[], bytes]], bytes]

_PROGRESS_STEP = 1 << 20  # compressed bytes between two reports


class LayerSource:
    """One layer to unpack: its DiffID and its blob, a path or an open source of compressed bytes."""

    __slots__ = ("blob", "diff_id")

    def __init__(self, diff_id: str, blob: str | Source) -> None:
        self.diff_id = diff_id
        self.blob = blob


def unpack(
    layout: Layout,
    sources: Iterable[LayerSource],
    diff_ids: list[str],
    *,
    in_userns: InUserns,
    confine: Confine,
    progress: Progress | None = None,
    limits: Limits | None = None,
    workers: int = 0,
) -> list[str]:
    """Unpack those of ``sources`` that the store lacks and return the DiffIDs that are new in it.

    ``diff_ids``: all layers of the image, base first. ``sources`` may come in any order and is iterated over in the
    child in the user namespace; it may wait for blobs that are still on their way. ``in_userns`` runs a function as
    root of a namespace with the user's default map and returns its bytes. ``confine`` is called in each worker with
    the descriptor of the only directory that it will write to, before a byte of the archive is read.
    ``progress(DiffID, compressed bytes read)`` is called in the workers, so that it should write to a pipe; the last
    call for a layer says that it is complete.
    ``workers`` (0: one for each processor) work at a time.

    Raises StorageError: a broken or hostile archive, a DiffID that is not the content's, a full disk. Then nothing
    new is in the store.
    """
    with WorkDirectory(layout) as work:
        job = Job(layout, work.path, confine, progress, limits or Limits())
        answer = in_userns(lambda: job.run(sources, diff_ids, workers or len(os.sched_getaffinity(0))))
    new: list[str] = jsonfast.loads(answer)
    return new


class _Worker:
    """A child that unpacks one layer, seen from the coordinator."""

    __slots__ = ("diff_id", "fd", "pid")

    def __init__(self, pid: int, fd: int, diff_id: str) -> None:
        self.pid = pid
        self.fd = fd
        self.diff_id = diff_id


class Job:
    """What the coordinator does inside the user namespace."""

    extractor: type[Extractor] = Extractor
    """What unpacks a layer."""

    def __init__(
        self, layout: Layout, build: str, confine: Confine, progress: Progress | None, limits: Limits
    ) -> None:
        self.layout = layout
        self.build = build
        self.map_key = layout.map_key
        self._confine = confine
        self._progress = progress
        self._limits = limits
        self._running: list[_Worker] = []
        self.records: dict[str, dict[str, object]] = {}

    def run(self, sources: Iterable[LayerSource], diff_ids: list[str], workers: int) -> bytes:
        """Unpack, finish, and return what came of it as JSON: the new DiffIDs."""
        started: set[str] = set()
        try:
            for source in sources:
                if source.diff_id in started or not self.wants(source.diff_id):
                    continue
                started.add(source.diff_id)
                while len(self._running) >= workers:
                    self._await_one()
                self._start(source)
            while self._running:
                self._await_one()
            result = self.finish(diff_ids) if started else []
        except OSError as error:
            raise os_error("cannot unpack a layer", error) from error
        finally:
            self._end_workers()
            self._clean()
        return jsonfast.dump_bytes(result)

    def wants(self, diff_id: str) -> bool:
        """Whether the layer is to be unpacked."""
        return not Layers(self.layout).has(diff_id, self.map_key)

    def key(self, diff_id: str) -> str:
        """The name of the layer's directory."""
        return layer_key(diff_id, self.map_key)

    # Workers.

    def _start(self, source: LayerSource) -> None:
        reader, writer = os.pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.close(reader)
                calls.die_with_parent()
                if os.getppid() == parent:
                    os.write(writer, jsonfast.dump_bytes(self._work(source)))
                    code = 0
            finally:
                os._exit(code)
        os.close(writer)
        self._running.append(_Worker(pid, reader, source.diff_id))

    def _work(self, source: LayerSource) -> dict[str, object]:
        """In the worker: unpack one layer; returns its record, or ``error`` and ``hint``."""
        try:
            return self._unpack_layer(source)
        except StorageError as error:
            return {"error": error.message, "hint": error.hint}
        except OSError as error:
            failure = os_error("cannot unpack a layer", error)
            return {"error": failure.message, "hint": failure.hint}
        except MemoryError:
            return {"error": "cannot unpack a layer: out of memory", "hint": ""}
        except (ValueError, OverflowError, RecursionError) as error:
            return {"error": f"cannot read the archive: {error}", "hint": ""}

    def _unpack_layer(self, source: LayerSource) -> dict[str, object]:
        os.umask(0)
        directory = f"{self.build}/{self.key(source.diff_id)}"
        os.mkdir(directory, 0o700)
        os.mkdir(f"{directory}/diff", 0o755)
        root = os.open(f"{directory}/diff", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        owners_fd = os.open(f"{directory}/owners", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.fchmod(root, 0o755)  # a set-group-ID bit or an ACL of the store must not reach the image
        owners = OwnersWriter(owners_fd)
        ids = Ids.of_process()
        if isinstance(source.blob, str):
            file = open(source.blob, "rb", buffering=0)  # noqa: SIM115
            load_decoder_for(file.fileno())
            blob: Source = file
        else:
            load_decoders()
            blob = source.blob
        self._confine(root)
        stream = LayerStream(blob, self._limits, self._reporter(source.diff_id))
        extractor = self.extractor(root, owners, ids, self._limits)
        try:
            extractor.unpack(TarReader(stream, self._limits))
        finally:
            stream.close()
        if stream.digest() != source.diff_id:
            raise StorageError(
                f"cannot use the layer {source.diff_id}: its content is {stream.digest()}",
                hint="the image's configuration does not belong to its layers; tell who made it",
            )
        if self._progress is not None:
            self._progress(source.diff_id, stream.consumed)
        return {
            "diff_id": source.diff_id,
            "map": self.map_key,
            "size": extractor.bytes,
            "entries": extractor.entries,
            "archive": stream.size,
            "owners": owners.size,
            "implicit": [os.fsdecode(path) for path in extractor.tree.implicit],
        }

    def _reporter(self, diff_id: str) -> Callable[[int], None] | None:
        progress = self._progress
        if progress is None:
            return None
        reported = 0

        def report(done: int) -> None:
            nonlocal reported
            if done - reported >= _PROGRESS_STEP:
                reported = done
                progress(diff_id, done)

        return report

    def _await_one(self) -> None:
        """Wait for a worker to end and take its record. Raises StorageError with its failure."""
        poll = select.poll()
        for worker in self._running:
            poll.register(worker.fd, select.POLLIN)
        ready = {fd for fd, _ in poll.poll()}
        worker = next(worker for worker in self._running if worker.fd in ready)
        answer = bytearray()
        while part := os.read(worker.fd, 1 << 16):
            answer += part
        self._running.remove(worker)
        os.close(worker.fd)
        os.waitpid(worker.pid, 0)
        if not answer:
            raise StorageError(f"cannot unpack the layer {worker.diff_id}: its worker was killed")
        record = jsonfast.loads(bytes(answer))
        if "error" in record:
            name = worker.diff_id[:19]
            message = record["error"]
            raise StorageError(
                message if worker.diff_id in message else f"cannot unpack the layer {name}: {message}", record["hint"]
            )
        self.records[worker.diff_id] = record

    def _end_workers(self) -> None:
        for worker in self._running:
            os.kill(worker.pid, 9)
            os.close(worker.fd)
            os.waitpid(worker.pid, 0)
        self._running.clear()

    # Publishing.

    def finish(self, diff_ids: list[str]) -> list[str]:
        """Make the finished layers durable, then visible; returns the DiffIDs that are new."""
        complete_parents(self.tree_of, diff_ids, self.records)
        for diff_id, record in self.records.items():
            directory = f"{self.build}/{self.key(diff_id)}"
            if not record.pop("owners"):
                os.unlink(f"{directory}/owners")
            record.pop("implicit")
            atomic.write_new(f"{directory}/layer.json", jsonfast.dump_bytes(record), durable=False)
        keys = {self.key(diff_id): diff_id for diff_id in self.records}
        return [keys[key] for key in publish(self.layout, self.build, list(keys))]

    def tree_of(self, diff_id: str) -> str:
        """The tree of a layer of this image, which may be published or about to be."""
        key = self.key(diff_id)
        return f"{self.build}/{key}/diff" if diff_id in self.records else self.layout.layer_diff(key)

    def _clean(self) -> None:
        """Empty the build directory: what is left failed, or was already there."""
        for name in os.listdir(self.build):
            trees.delete(f"{self.build}/{name}")
