"""``volume export`` and ``volume import``: what is in a volume, as a tar archive.

Containers may use the volume meanwhile, and be hostile: both sides work in the user namespace on descriptors below the
volume's directory, and follow no link (CVE-2023-0778, CVE-2025-11395).
"""

from __future__ import annotations

import os

from rootless.engine.containers.export import pack_in_userns
from rootless.engine.containers.volumes import source
from rootless.errors import RootlessError
from storage.archive.limits import Limits
from storage.archive.pack import Packer, pack_tree
from storage.archive.put import Putter
from storage.archive.stream import LayerStream
from storage.archive.tar_writer import TarWriter
from storage.errors import StorageError, os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.engine.context import Engine

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_ANY_SIZE = Limits(bytes=1 << 60, entries=1 << 40)


def export(engine: Engine, name: str, output: int, where: str) -> None:
    """Write the archive of a volume to the descriptor ``output``, which the user calls ``where``.

    Owners are those that containers see, times have fractions of seconds. Raises RootlessError, StorageError.
    """
    found = engine.store.volumes.find(name)

    def work() -> None:
        directory = _open(engine, found)
        try:
            pack(directory, output)
        finally:
            os.close(directory)

    pack_in_userns(engine, work, f"volume {found}", f" to {where}")


def pack(directory: int, output: int) -> None:
    """Write the archive of what is in an open directory."""
    writer = TarWriter(output, exact_times=True)
    pack_tree(Packer(writer), directory, b"", _unreadable)
    writer.finish()


def _unreadable(path: str, error: OSError) -> None:
    raise RootlessError(f"cannot read {path} in the volume: {error.strerror}")


def import_archive(engine: Engine, name: str, archive: int, where: str) -> None:
    """Place the members of the archive behind the descriptor ``archive``, compressed or not, into a volume.

    What is in the volume stays, unless a member has its name. Devices are left out, of which the user is told. Raises
    RootlessError, StorageError.
    """
    found = engine.store.volumes.find(name)

    def work() -> bytes:
        directory = _open(engine, found)
        placing = Putter(directory, keep_owners=not engine.idmap.single(), overwrite=True, skip_devices=True)
        umask = os.umask(0)
        try:
            with open(archive, "rb", buffering=0, closefd=False) as file:
                placing.put(LayerStream(file, _ANY_SIZE), _ANY_SIZE)
        finally:
            os.umask(umask)
            os.close(directory)
        return b"%d %d" % (len(placing.skipped), placing.unset)

    try:
        skipped, unset = map(int, engine.in_userns(work).split())
    except OSError as error:
        at = f" ({error.filename})" if isinstance(error.filename, str) else ""
        raise os_error(f"cannot import {where} into volume {found}{at}", error) from None
    except StorageError as error:
        raise RootlessError(f"cannot import {where} into volume {found}: {error.message}", error.hint) from None
    if skipped:
        engine.tell(f"WARNING: {skipped} devices are left out")
    if unset:
        engine.tell(f"WARNING: {unset} extended attributes are left out: they could not be set")


def _open(engine: Engine, name: str) -> int:
    """The directory that the volume stands for."""
    path = source(engine, engine.store.volumes.load(name))[0]
    return os.open(path, _DIRECTORY)
