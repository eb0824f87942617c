"""A COPY or ADD as a layer, made without mounting anything.

::

    this process ──fork─→ worker ──fork─→ in the user namespace: sources, destination → archive
         └─ hashes and compresses what comes through the pipe
"""

from __future__ import annotations

import os
import posixpath
import time
from typing import TYPE_CHECKING

from rootless.build.copy import modes, owners, remote, request
from rootless.build.copy.archive import Unpacking, is_archive
from rootless.build.copy.content import Item, Spool, SpoolContent, write_item
from rootless.build.copy.placing import Placing
from rootless.build.copy.rules import Excluded, Rules
from rootless.build.copy.source import Source, source_of
from rootless.build.copy.view import Node, View
from rootless.engine.containers import stack as stacks
from rootless.engine.images.layerfile import pack
from rootless.engine.images.limits import limits_of
from rootless.errors import RootlessError
from storage.archive.tar_reader import DIRECTORY, REGULAR
from storage.archive.tar_writer import TarWriter
from storage.errors import StorageError, os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rootless.build.copy.request import Request
    from rootless.build.job import Job
    from rootless.build.state import State
    from rootless.containerfile import model
    from rootless.engine.images.layerfile import LayerFile
    from rootless.engine.images.worker import Send
    from storage.archive.limits import Limits
    from storage.union import Entry

_DOCUMENT_MODE = 0o644
_FETCHED_MODE = 0o600


def make_layer(job: Job, state: State, step: model.Copy | model.Add) -> LayerFile:
    """Make the layer of an instruction whose variables are expanded. Raises ContainerfileError."""
    wanted = request.read(state, step)
    try:
        return _layer(job, state, wanted)
    except (RootlessError, StorageError) as error:
        raise step.origin.error(error.message, error.hint) from None
    except OSError as error:
        failed = os_error("cannot fetch or copy", error)
        raise step.origin.error(failed.message, failed.hint) from None


def _layer(job: Job, state: State, wanted: Request) -> LayerFile:
    fetched = [remote.fetch(job, wanted, word) for word in wanted.remote]
    source = source_of(job, wanted) if wanted.paths else None

    def work(writer: int, send: Send) -> None:
        odd = job.engine.in_userns(lambda: _Copying(job, state, wanted, source, fetched).run(writer))
        for path in odd.decode("utf-8", "surrogateescape").split("\0"):
            if path:
                send({"kind": "odd", "path": path})

    return pack(job.engine, work, f"{job.work}/copied-{os.urandom(6).hex()}")


class _Copying:
    """In the user namespace: from sources to the archive of a layer."""

    def __init__(
        self,
        job: Job,
        state: State,
        wanted: Request,
        source: Callable[[], Source] | None,
        fetched: list[remote.Remote],
    ) -> None:
        stacks.raise_open_files()
        self._job = job
        self._wanted = wanted
        self._fetched = fetched
        self._limits: Limits = limits_of(job.engine)
        self._layers = layers = stacks.of_layers(job.engine, state.diff_ids)
        self._view = View(None if wanted.link else layers)
        self._source = source() if source is not None else None
        self._spool: Spool | None = None
        owner = None
        if wanted.chown:
            with View(layers) as image:
                owner = owners.owner(image, wanted.chown)
        self._owner = owner or (0, 0)
        self._placing = Placing(
            self._view, wanted.destination, is_directory=wanted.is_directory, owner=owner,
            mode=modes.parse(wanted.chmod) if wanted.chmod else None,
        )  # fmt: skip

    def run(self, output: int) -> bytes:
        """Write the archive; what it cannot hold, each with a NUL behind. Raises RootlessError, StorageError."""
        try:
            self._place()
            if self._wanted.link:
                self._leave_directories()
            write(self._view, output, self._job.mtime)
        except BrokenPipeError:
            raise
        except OSError as error:
            where = f" {error.filename!r}" if isinstance(error.filename, str) else ""
            raise os_error(f"cannot copy{where}", error) from None
        odd = [f"/{path}\0" for path in self._view.odd]
        return "".join(odd).encode("utf-8", "surrogateescape")

    def _place(self) -> None:
        if self._source is not None:
            self._copy_paths(self._source)
        for each in self._fetched:
            self._copy_fetched(each)
        for name, content in self._wanted.documents:
            now = self._job.epoch * 1_000_000_000 if self._job.epoch is not None else time.time_ns()
            item = Item(REGULAR, _DOCUMENT_MODE, (0, 0), now, content=self._spooled().take(content))
            self._placing.file(name, item, alone=True)

    def _leave_directories(self) -> None:
        """Let directories that nothing describes, and the image has, be as they are there."""
        left = {""}
        with View(self._layers) as image:
            for path, node in self._view.nodes():
                if path.rpartition("/")[0] in left and self._placing.has_made(node):
                    _, _, found = image.find(path)
                    if isinstance(found, Node) or (found is not None and found.is_directory):
                        left.add(path)
                        node.silent = True

    def _spooled(self) -> Spool:
        if self._spool is None:
            self._spool = Spool(self._job.work, self._limits.bytes)
        return self._spool

    def _copy_paths(self, source: Source) -> None:
        chosen = source.choose(self._wanted.paths)
        others = len(self._wanted.remote) + len(self._wanted.documents)
        alone = len(chosen) + others == 1
        for each in chosen:
            found = source.open(each.path)
            if isinstance(found, Node):
                below = None
                if self._wanted.parents:
                    above = _parents(source, each.path, each.kept)
                    below = self._placing.parents(above, found.item.mtime_ns)
                self._placing.tree(items(source, found), found.item.mtime_ns, below)
                continue
            if source.excludes(each.name):
                continue
            if self._wanted.unpack and self._unpacks(source, found):
                continue
            item = source.item(found)
            if item is None:
                continue
            if self._wanted.parents:
                above = _parents(source, posixpath.dirname(each.path), posixpath.dirname(each.kept))
                self._placing.tree([(each.name, item)], item.mtime_ns, self._placing.parents(above, item.mtime_ns))
            else:
                self._placing.file(each.name, item, alone=alone and item.kind == REGULAR)

    def _unpacks(self, source: Source, found: Entry) -> bool:
        """Unpack a file that is an archive; False if it is none."""
        try:
            fd = source.view.reader.open(found.tree, found.path)
        except FileNotFoundError:
            return False
        try:
            return self._unpack(fd, found.status.st_mtime_ns)
        finally:
            os.close(fd)

    def _unpack(self, fd: int, mtime_ns: int) -> bool:
        if not is_archive(fd):
            return False
        base = self._placing.base(mtime_ns)
        Unpacking(self._view, base, self._spooled(), self._limits, (0, 0)).unpack(fd)
        return True

    def _copy_fetched(self, fetched: remote.Remote) -> None:
        if fetched.is_directory:
            exclude = Excluded(self._wanted.exclude) if self._wanted.exclude else None
            source = Source.of_directory(fetched.path, Rules(exclude=exclude), self._limits.bytes, "the repository")
            try:
                self._placing.tree(items(source, source.view.root), fetched.time * 1_000_000_000)
            finally:
                source.close()
            return
        fd = os.open(fetched.path, os.O_RDONLY | os.O_CLOEXEC)  # open until the archive is written
        if self._wanted.unpack_remote and self._unpack(fd, fetched.time * 1_000_000_000):
            return
        content = SpoolContent(fd, 0, os.fstat(fd).st_size)
        item = Item(REGULAR, _FETCHED_MODE, (0, 0), fetched.time * 1_000_000_000, content=content)
        self._placing.file(fetched.name, item, alone=True)


def write(view: View, output: int, mtime: Callable[[int], int]) -> None:
    """Write what was put into a view, with the directories above it, as an archive; ``mtime`` gives its times."""
    writer = TarWriter(output)
    first: dict[int, bytes] = {}
    for path, node in view.nodes():
        if node.silent:
            continue
        item = node.item
        name = os.fsencode(path)
        write_item(writer, name + b"/" if item.kind == DIRECTORY else name, item, mtime(item.mtime_ns), first)
        if node.opaque:
            writer.add(name + b"/.wh..wh..opq", REGULAR, 0, 0, 0, 0)
    writer.finish()


def items(source: Source, node: Node) -> Iterator[tuple[str, Item]]:
    """What is in a directory of a source, each with its path in it."""
    for path, entry in source.members(node):
        item = source.item(entry)
        if item is not None:
            yield path, item


def _parents(source: Source, path: str, kept: str) -> list[tuple[str, Item]]:
    """(name, item) of each directory of ``kept``, which is the end of the directory ``path``."""
    names, kept_names = [[name for name in text.split("/") if name] for text in (path, kept)]
    skipped = len(names) - len(kept_names)
    found = []
    for number, name in enumerate(kept_names, 1):
        node = source.open("/".join(names[: skipped + number]))
        if not isinstance(node, Node):
            raise RootlessError(f"{path!r} has something in it that is not a directory")
        found.append((name, source.node_item(node)))
    return found
