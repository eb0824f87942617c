"""A new layer in a file: the changes of a stack of directories, or all that is in it, as a compressed archive.

::

    this process ──fork─→ worker ──fork─→ in the user namespace: files → archive
         └─ hashes and compresses what comes through the pipe
"""

from __future__ import annotations

import os
import stat

from rootless.engine.containers import stack as stacks
from rootless.engine.containers.diff import MADE_BY_THE_ENGINE
from rootless.engine.containers.export import pack_all, pack_one
from storage import union
from storage.archive.pack import Packer
from storage.archive.tar_reader import REGULAR
from storage.archive.tar_writer import TarWriter
from storage.changes import Change, attributes, changes
from storage.errors import os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from rootless.engine.containers.stack import Stack
    from rootless.engine.context import Engine
    from rootless.engine.images.worker import Send
    from storage.union import Entry

_CHUNK = 1 << 20
_WHITEOUT = ".wh."
_STUBS = MADE_BY_THE_ENGINE | {"etc/localtime"}
_GZIP = 31  # zlib's windowBits for a gzip stream


class LayerFile:
    """A layer in a file: of the file digest and size, and the digest of what it is uncompressed."""

    __slots__ = ("diff_id", "digest", "path", "size")

    def __init__(self, path: str, digest: str, size: int, diff_id: str) -> None:
        self.path = path
        self.digest = digest
        self.size = size
        self.diff_id = diff_id


def pack_stack(
    engine: Engine,
    stack: Stack,
    path: str,
    *,
    everything: bool = False,
    places: Container[str] = (),
    mtime: Callable[[int], int] = int,
) -> LayerFile:
    """Write the archive of a stack's own changes, or of ``everything`` in it, to the new file ``path``.

    ``places`` and ``mtime`` as in :func:`write_changes`. Raises RootlessError, StorageError.
    """

    def work(writer: int, send: Send) -> None:
        odd = engine.in_userns(
            lambda: _everything(stack, writer) if everything else write_changes(stack, writer, places, mtime)
        )
        for line in odd.decode("utf-8", "surrogateescape").split("\0"):
            if line:
                send({"kind": "odd", "path": line})

    return pack(engine, work, path)


def pack(engine: Engine, work: Callable[[int, Send], None], path: str) -> LayerFile:
    """Compress the archive that ``work(descriptor, send)`` writes, in a process of its own, to the new file ``path``.

    ``work`` may send ``{"kind": "odd", "path": …}`` for what it had to leave out. Raises RootlessError, StorageError.
    """
    from rootless.engine.images.worker import Worker

    reader, writer = os.pipe()

    def child(send: Send) -> None:
        os.close(reader)
        work(writer, send)

    packing = Worker(child)
    os.close(writer)
    try:
        try:
            layer = compress(iter(lambda: os.read(reader, _CHUNK), b""), path)
        finally:
            os.close(reader)
        while (messages := packing.receive()) is not None:
            tell_odd(engine, [message["path"] for message in messages])
    except BaseException:
        packing.kill()
        raise
    return layer


def tell_odd(engine: Engine, paths: Iterable[str]) -> None:
    """Warn of the paths that a layer cannot have."""
    for path in paths:
        if path:
            engine.tell(f"WARNING: {path!r} is left out: in an image its name means a deletion")


def compress(chunks: Iterable[bytes], path: str) -> LayerFile:
    """Compress an archive with gzip into the new file ``path``. Raises StorageError, and what ``chunks`` raises."""
    import hashlib

    from isal import isal_zlib

    plain, packed, size = hashlib.sha256(), hashlib.sha256(), 0
    squeeze = isal_zlib.compressobj(1, isal_zlib.DEFLATED, _GZIP)
    try:
        with open(path, "xb", buffering=0) as file:
            for chunk in chunks:
                plain.update(chunk)
                data = squeeze.compress(chunk)
                packed.update(data)
                size += _write(file.fileno(), data)
            data = squeeze.flush()
            packed.update(data)
            size += _write(file.fileno(), data)
    except OSError as error:
        raise os_error("cannot store the layer", error) from error
    return LayerFile(path, f"sha256:{packed.hexdigest()}", size, f"sha256:{plain.hexdigest()}")


def _write(fd: int, data: bytes) -> int:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    return len(data)


def _everything(stack: Stack, output: int) -> bytes:
    """The archive of all that the container sees; returns the paths that cannot be in one, each with a NUL behind."""
    odd: list[str] = []

    def leave_out(entry: Entry) -> bool:
        own = entry.tree is stack.trees[0] and not entry.below
        return _is_odd(entry.path, odd) or (own and _is_stub(entry.path, entry.status))

    pack_all(stack, output, leave_out)
    return "".join(odd).encode("utf-8", "surrogateescape")


def write_changes(
    stack: Stack, output: int, places: Container[str] = (), mtime: Callable[[int], int] = int
) -> bytes:
    """The archive of the changes; returns the paths that cannot be in one, each with a NUL behind.

    ``places``: paths where something was made for a mount alone. What stands there is left out while it is empty; a
    directory is kept for what else is in it. ``mtime`` says which time of change (ns) a file with a given one gets.
    """
    stacks.raise_open_files()
    odd: list[str] = []
    writer = TarWriter(output, mtime=mtime)
    packer = Packer(writer, root=stack.root)
    held: list[Change] = []
    with union.top(stack.trees[: stack.own]) as upper, union.top(stack.trees[stack.own :]) as lower:
        for change in changes(upper, lower, whole=stack.whole):
            while held and not change.path.startswith(held[-1].path + "/"):
                held.pop()
            if _is_odd(change.path, odd):
                continue
            if change.entry is not None and _is_own_doing(change, places):
                if change.entry.is_directory:
                    held.append(change)  # open as long as what is in it comes
                continue
            for directory in held:
                assert directory.entry is not None
                pack_one(stack, packer, directory.entry)
            held.clear()
            if change.entry is not None:
                pack_one(stack, packer, change.entry)
            else:
                head, _, base = change.path.rpartition("/")
                hidden = f"{head}/{_WHITEOUT}{base}" if head else _WHITEOUT + base
                writer.add(os.fsencode(hidden), REGULAR, 0, 0, 0, 0)
    writer.finish()
    return "".join(odd).encode("utf-8", "surrogateescape")


def _is_odd(path: str, odd: list[str]) -> bool:
    """Whether the path would be read as the mark of a deletion (image-spec layer.md, "Whiteouts"), which ``odd`` notes.
    """
    if not (path.startswith(_WHITEOUT) or f"/{_WHITEOUT}" in path):
        return False
    if path.rpartition("/")[2].startswith(_WHITEOUT):
        odd.append(f"/{path}\0")
    return True


def _is_own_doing(change: Change, places: Container[str]) -> bool:
    """Whether a change is no more than that the place of a mount was made, or that something was made in a directory.
    """
    assert change.entry is not None
    now, before = change.entry, change.below
    if before is None:
        return _is_stub(change.path, now.status, places)
    if not now.is_directory or not (change.path in _STUBS or change.path in places):
        return False
    same = now.status.st_mode == before.status.st_mode and now.owner() == before.owner()
    return same and (change.path in _STUBS or attributes(now) == attributes(before))


def _is_stub(path: str, found: os.stat_result, places: Container[str] = ()) -> bool:
    """Whether it is nothing but the place of a mount of the engine's own, or among ``places``."""
    if path not in _STUBS and path not in places:
        return False
    return stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and not found.st_size)
