"""Containers: a directory each, and a name that is a link to the id, taken by making the link."""

from __future__ import annotations

import os

from storage import atomic, jsonfast, reserve, trees
from storage.errors import DamagedError, NameInUseError, NotFoundError, StorageError, os_error, shown
from storage.layout import names_in
from storage.locks import Lock
from storage.names import is_name, random_name
from storage.work import WorkDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from storage.layout import Layout
    from storage.trees import DeleteTree

    Record = dict[str, Any]
    """What the engine knows of a container; ``id`` and ``name`` are set here."""
    Records = list[tuple[str, Record]]
    Damage = list[tuple[str, str]]
    Texts = list[str]

ID_LENGTH = 64
SHORT_ID_LENGTH = 12
"""Digits of an id in what people see. A name that is as long as that must not look like another's id."""
_MAX_RECORD = 16 << 20
_HEX = "0123456789abcdef"


def is_id(text: str) -> bool:
    """Is ``text`` a whole container id: 64 lower-case hex digits?"""
    return len(text) == ID_LENGTH and not text.strip(_HEX)


def _no_such(name: str) -> NotFoundError:
    return NotFoundError(f"no container with name or ID {shown(name)} found: no such container")


def _damaged(container_id: str, why: str, path: str) -> DamagedError:
    return DamagedError(f"the record of container {container_id[:SHORT_ID_LENGTH]} is damaged: {why}", path)


def _in_use(name: str, holder: str) -> NameInUseError:
    return NameInUseError(
        f"cannot name a container {shown(name)}: the name is already in use by {holder}",
        f"remove that container with `rootless rm {name}`, or choose another name")


class Containers:
    """The containers of one store. Every method takes whole ids and refuses what is none, before it makes a path."""

    __slots__ = ("_layout", "damaged")

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.damaged: Damage = []
        """Containers that the last ``list`` left out, as (id, problem)."""

    # Finding

    def path(self, container_id: str) -> str:
        """The directory of a container, there or not."""
        if not is_id(container_id):
            raise _no_such(container_id)
        return self._layout.container(container_id)

    def find(self, name: str) -> str:
        """Return the id of the container that a user means: by name, by id, or by the beginning of one id.

        Raises ``NotFoundError``, and ``StorageError`` if several ids begin so.
        """
        if is_name(name):
            holder = self._holder(name)
            if holder and os.path.lexists(self._layout.container(holder)):
                return holder
            if not name.strip(_HEX):
                found = [known for known in self.ids() if known.startswith(name)]
                if len(found) == 1:
                    return found[0]
                if found:
                    raise StorageError(
                        f"cannot tell which container {shown(name)} is: several ids begin so", "give more digits")
        raise _no_such(name)

    def _holder(self, name: str) -> str:
        """The id that ``name`` is linked to; empty if the name is free or its link is none of ours."""
        try:
            target = os.readlink(self._layout.name(name))
        except OSError:
            return ""
        return target if is_id(target) else ""

    def ids(self) -> Texts:
        """The ids of all containers, in no order."""
        return [name for name in names_in(self._layout.containers) if is_id(name)]

    def has_name(self, container_id: str, name: str) -> bool:
        """Whether ``name`` leads to the container."""
        return self._holder(name) == container_id

    def names(self) -> dict[str, str]:
        """Every name that is taken, and the id that it is linked to (which may be gone: see ``storage.check``)."""
        return {name: self._holder(name) for name in names_in(self._layout.names)}

    def load(self, container_id: str) -> Record:
        """Return the record of a container. Raises ``NotFoundError`` or ``DamagedError``."""
        self.path(container_id)
        path = self._layout.container_record(container_id)
        try:
            data = atomic.read(path, _MAX_RECORD)
        except FileNotFoundError:
            if os.path.lexists(self._layout.container(container_id)):
                short = container_id[:SHORT_ID_LENGTH]
                raise DamagedError(f"the record of container {short} is missing", path) from None
            raise _no_such(container_id) from None
        except OSError as error:
            raise os_error(f"cannot read the record of container {container_id[:SHORT_ID_LENGTH]}", error) from error
        try:
            record = jsonfast.loads(data)
        except jsonfast.JSONError as error:
            raise _damaged(container_id, error.message, path) from None
        if not isinstance(record, dict) or record.get("id") != container_id or not isinstance(record.get("name"), str):
            raise _damaged(container_id, "it does not hold its id and name", path)
        record.pop(jsonfast.CHECKSUM, None)
        return record

    def list(self) -> Records:
        """Return (id, record) of every container; those that cannot be read are put down in ``damaged``."""
        found: Records = []
        self.damaged = []
        for container_id in self.ids():
            try:
                found.append((container_id, self.load(container_id)))
            except NotFoundError:
                continue  # removed while we looked
            except StorageError as error:
                self.damaged.append((container_id, error.message))
        return found

    def is_unwritten(self, container_id: str) -> bool:
        """Is this what a power cut left of a container that was not to outlive one (``durable=False``)?

        Its record is empty, and so is whatever else was written to its directory: of any other container the record is
        on disk before it has its place there.
        """
        try:
            if os.lstat(self._layout.container_record(container_id)).st_size:
                return False
            with os.scandir(self._layout.container(container_id)) as entries:
                return not any(entry.is_file(follow_symlinks=False) and entry.stat().st_size for entry in entries)
        except OSError:
            return False

    # Changing

    def lock(self, container_id: str) -> Lock:
        """Return the lock of a container, not yet held. It is on the directory itself and vanishes with it."""
        return Lock(self.path(container_id), create=False)

    def create(self, record: Record, name: str | None, durable: bool = True) -> str:
        """Make a container and return its id; with ``name`` None it gets a random name.

        Sets ``id`` and ``name`` in ``record``. The directory appears with its record by one rename, then the name is
        taken. ``durable=False`` is for containers that need not outlive a power cut (``run --rm``). Raises
        ``NameInUseError``.
        """
        if name is not None:
            self._check_new_name(name)
        container_id = os.urandom(ID_LENGTH // 2).hex()
        chosen = name if name is not None else random_name()
        record["id"] = container_id
        record["name"] = chosen
        target = self._layout.container(container_id)
        with WorkDirectory(self._layout) as work:
            atomic.write_new(f"{work.path}/container.json", jsonfast.seal(jsonfast.dump_bytes(record)), durable)
            try:
                os.rename(work.path, target)
            except OSError as error:
                raise os_error("cannot create the container", error) from error
            work.path = target  # until the name is ours, a failure takes the directory away again
            while not self._take(chosen, container_id):
                if name is not None:
                    raise _in_use(chosen, self._holder(chosen)[:SHORT_ID_LENGTH])
                record["name"] = chosen = random_name(unique=True)
                self._write(self._layout.container_record(container_id), record, durable)
            try:
                if durable:
                    for directory in (target, self._layout.containers, self._layout.names):
                        atomic.sync_directory(directory)
            except StorageError:
                self._give_up(chosen, container_id)
                raise
            work.path = ""
        return container_id

    def _write(self, path: str, record: Record, durable: bool) -> None:
        atomic.write(path, jsonfast.seal(jsonfast.dump_bytes(record)), durable=durable)

    def _check_new_name(self, name: str) -> None:
        if not is_name(name):
            raise StorageError(f"cannot use {shown(name)} as the name of a container: names must match "
                               "[a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument")
        if not self._is_stale(name):
            raise _in_use(name, self._holder(name)[:SHORT_ID_LENGTH])
        if len(name) >= SHORT_ID_LENGTH and not name.strip(_HEX):
            for holder in self.ids():
                if holder.startswith(name):
                    raise _in_use(name, f"{holder[:SHORT_ID_LENGTH]}, whose id begins so")

    def _take(self, name: str, container_id: str) -> bool:
        """Link ``name`` to the container; return False if it is taken by one that exists."""
        link = self._layout.name(name)
        while True:
            try:
                os.symlink(container_id, link)
                return True
            except FileExistsError:
                if not self.free_if_stale(name):
                    return False
            except OSError as error:
                raise os_error(f"cannot take the name {shown(name)}", error) from error

    def _is_stale(self, name: str) -> bool:
        """Is the name linked to a container that is gone? (Its directory always comes before its name.)"""
        holder = self._holder(name)
        return not holder or not os.path.lexists(self._layout.container(holder))

    def free_if_stale(self, name: str) -> bool:
        """Remove a name whose container is gone; return whether it was one.

        One at a time: a second process could otherwise remove the name that a first has freed and taken.
        """
        if not self._is_stale(name):
            return False
        with Lock(f"{self._layout.run_locks}/names"):
            if not self._is_stale(name):
                return False
            try:
                os.unlink(self._layout.name(name))
            except FileNotFoundError:
                pass
            except OSError as error:
                raise os_error(f"cannot free the name {name}", error) from error
        return True

    def free_if_second(self, name: str) -> bool:
        """Remove a name of a container that has another, as a killed ``rename`` leaves it; tell if it was one."""
        holder = self._holder(name)
        try:
            if not holder or self.load(holder)["name"] == name:
                return False
            with self._record_lock(holder):  # nobody renames it now
                if self.load(holder)["name"] == name:
                    return False
                self._give_up(name, holder)
        except StorageError:
            return False  # gone or damaged: `system check` names it
        return True

    def claim_name(self, container_id: str) -> None:
        """Link a container's recorded name to it again. Raises ``NameInUseError`` if another has taken it."""
        name: str = self.load(container_id)["name"]
        if self._holder(name) != container_id and not self._take(name, container_id):
            raise _in_use(name, self._holder(name)[:SHORT_ID_LENGTH])

    def save(self, container_id: str, record: Record, durable: bool = True) -> None:
        """Replace the record of a container. Raises ``NotFoundError`` if there is no such container."""
        path = self.path(container_id)
        try:
            self._write(self._layout.container_record(container_id), record, durable)
        except StorageError:
            if not os.path.lexists(path):
                raise _no_such(container_id) from None
            raise

    def update(self, container_id: str, change: Callable[[Record], None]) -> Record:
        """Let ``change`` alter the record of a container, and return it as it is then.

        Two at once come one after the other, whether the container runs or not. Id and name stay (see ``rename``).
        Raises ``NotFoundError``.
        """
        with self._record_lock(container_id):
            record = self.load(container_id)
            name: str = record["name"]
            change(record)
            record["id"], record["name"] = container_id, name
            self.save(container_id, record)
        return record

    def _record_lock(self, container_id: str) -> Lock:
        """The lock of who changes the record: the container's own is held as long as it runs."""
        self.path(container_id)
        lock = Lock(self._layout.container_record_lock(container_id))
        try:
            lock.acquire()
        except NotFoundError:
            raise _no_such(container_id) from None
        return lock

    def rename(self, container_id: str, name: str) -> str:
        """Give a container, running or not, another name; return the one before. Raises ``NameInUseError``."""
        with self._record_lock(container_id):
            record = self.load(container_id)
            old: str = record["name"]
            if name == old:
                for second, holder in self.names().items():  # which a killed rename may have left
                    if holder == container_id and second != name:
                        self._give_up(second, container_id)
                return old
            if self._holder(name) != container_id:  # else a rename was killed here
                self._check_new_name(name)
                if not self._take(name, container_id):
                    raise _in_use(name, self._holder(name)[:SHORT_ID_LENGTH])
            record["name"] = name
            try:
                self.save(container_id, record)
            except BaseException:
                kept = self.load(container_id)["name"]  # the new one, if only the directory could not be synced
                self._give_up(old if kept == name else name, container_id)
                raise
            self._give_up(old, container_id)
        atomic.sync_directory(self._layout.names)
        return old

    def _give_up(self, name: str, container_id: str) -> None:
        """Free a name of the container."""
        if self._holder(name) != container_id:
            return
        try:
            os.unlink(self._layout.name(name))
        except FileNotFoundError:
            return
        except OSError as error:
            raise os_error(f"cannot give the name {shown(name)} up", error) from error

    def remove(self, container_id: str, delete_tree: DeleteTree | None = None, durable: bool = True) -> None:
        """Remove a container whose name may then be taken again; its record may be damaged.

        The directory goes to the trash in one step. Files of subordinate ids are deleted by ``delete_tree``, or stay in
        the trash until ``storage.gc.sweep``. ``durable`` is as it was in ``create``. Raises ``NotFoundError``.
        """
        lock = self._lock_for_removal(container_id)
        try:
            trash = self._discard(container_id)
        finally:
            lock.release()
        try:
            if durable:
                trees.settle(self._layout, self._layout.containers)
        except StorageError:
            return  # the container is gone; its files go with the next sweep
        trees.empty(trash, delete_tree)
        reserve.fill(self._layout)

    def _lock_for_removal(self, container_id: str) -> Lock:
        """The lock of who changes the record, so that none is renamed while it goes; not held where it takes space that
        a full disk does not have."""
        try:
            return self._record_lock(container_id)
        except NotFoundError:
            raise
        except StorageError:
            return Lock(self._layout.container_record_lock(container_id))

    def _discard(self, container_id: str) -> str:
        """Move a container to the trash and free its names; returns where it is now."""
        try:
            name = self.load(container_id)["name"]
        except NotFoundError:
            raise
        except StorageError:
            names = [known for known, holder in self.names().items() if holder == container_id]
        else:
            names = [name] if is_name(name) and self._holder(name) == container_id else []
        try:
            trash = trees.to_trash(self._layout, self.path(container_id))
        except NotFoundError:
            raise _no_such(container_id) from None
        for known in names:
            try:
                os.unlink(self._layout.name(known))
            except OSError:
                continue  # a name whose container is gone counts as free
        return trash
