"""``export``: what a container's root file system holds, as a tar archive; what is mounted in it is not part of it."""

from __future__ import annotations

import os
import stat

from rootless.engine.containers import stack as stacks
from rootless.engine.containers.known import known
from storage import union
from storage.archive.pack import Packer
from storage.archive.tar_writer import TarWriter
from storage.errors import os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.engine.containers.stack import Stack
    from rootless.engine.context import Engine
    from storage.union import Entry


def export(engine: Engine, name: str, output: int) -> None:
    """Write the archive of a container, running or not, to the descriptor ``output``. Raises StorageError, OSError."""
    container = known(engine, engine.store.containers.find(name))
    stack = stacks.of_container(engine, container)

    pack_in_userns(engine, lambda: pack_all(stack, output), f"container {name}")


def pack_in_userns(engine: Engine, pack: Callable[[], None], what: str, where: str = "") -> None:
    """Have an archive of ``what`` written in the user's namespace. ``where`` ends the message of what goes wrong.

    Raises StorageError, which names the file, if any; BrokenPipeError if nobody reads any more.
    """

    def work() -> bytes:
        pack()
        return b""

    try:
        engine.in_userns(work)
    except BrokenPipeError:
        raise
    except OSError as error:
        at = f" ({error.filename})" if isinstance(error.filename, str) else ""
        raise os_error(f"cannot export {what}{at}{where}", error) from None


def pack_all(stack: Stack, output: int, leave_out: Callable[[Entry], bool] = lambda entry: False) -> None:
    """The merged tree of a stack as an archive; called in the namespace in which its ids are seen."""
    stacks.raise_open_files()
    writer = TarWriter(output)
    packer = Packer(writer, root=stack.root)
    with union.top(stack.merged()) as level:
        union.walk(level, lambda entry: None if leave_out(entry) else pack_one(stack, packer, entry))
    writer.finish()


def pack_one(stack: Stack, packer: Packer, entry: Entry) -> None:
    """Add one entry, as what it truly is. What vanishes meanwhile is left out."""
    truth = stacks.true_entry(stack, entry)
    try:
        packer.add(
            os.fsencode(entry.path), entry.directory, entry.name, entry.status, entry.owner(),
            shift=entry.tree.shift, truth=truth,
        )  # fmt: skip
    except FileNotFoundError:
        if stat.S_ISDIR(entry.status.st_mode):
            raise
