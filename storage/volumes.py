"""Volumes: a directory each, whose ``_data`` containers see."""

from __future__ import annotations

import errno
import os
import time

from storage import atomic, jsonfast, reserve, trees
from storage.errors import DamagedError, NameInUseError, NotFoundError, StorageError, os_error, shown
from storage.layout import names_in
from storage.locks import Lock
from storage.names import is_name
from storage.work import WorkDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from storage.layout import Layout
    from storage.trees import DeleteTree

    Record = dict[str, Any]
    """``name driver labels options anonymous created`` (RFC 3339), and what the engine adds."""
    Records = list[Record]
    Damage = list[tuple[str, str]]

_MAX_RECORD = 1 << 20


def _no_such(name: str) -> NotFoundError:
    return NotFoundError(f"no volume with name {shown(name)} found: no such volume")


def _rfc3339(seconds: float) -> str:
    """A time as RFC 3339 text in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _record(
    name: str, driver: str, labels: dict[str, str], options: dict[str, str], anonymous: bool, created: str
) -> Record:
    return {"name": name, "driver": driver, "labels": labels, "options": options, "anonymous": anonymous,
            "created": created}


class Volumes:
    """The volumes of one store. Names are checked before they become paths."""

    __slots__ = ("_layout", "damaged")

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.damaged: Damage = []
        """Volumes that the last ``list`` left out, as (name, problem)."""

    def path(self, name: str) -> str:
        """The directory that containers see, there or not. Raises ``NotFoundError`` for what is no name."""
        if not is_name(name):
            raise _no_such(name)
        return self._layout.volume_data(name)

    def exists(self, name: str) -> bool:
        """Is there a volume of exactly this name?"""
        return is_name(name) and os.path.lexists(self._layout.volume(name))

    def find(self, name: str) -> str:
        """Return the name of the volume that a user means: the name, or the beginning of one.

        Raises ``NotFoundError``, and ``StorageError`` if several begin so.
        """
        if self.exists(name):
            return name
        found = [known for known in self._names() if known.startswith(name)] if is_name(name) else []
        if len(found) > 1:
            raise StorageError(f"cannot tell which volume {shown(name)} is: several names begin so", "give more of it")
        if not found:
            raise _no_such(name)
        return found[0]

    def create(
        self, name: str | None = None, driver: str = "local", labels: dict[str, str] | None = None,
        options: dict[str, str] | None = None, anonymous: bool = False, durable: bool = True,
    ) -> Record:
        """Make a volume and return its record; without a name it gets 64 random hex digits.

        The volume appears complete by one rename. Raises ``NameInUseError`` and, for what is no name, ``StorageError``.
        """
        if name is None:
            name = os.urandom(32).hex()
        if not is_name(name):
            raise StorageError(f"cannot use {shown(name)} as the name of a volume: names must match "
                               "[a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument")
        record = _record(name, driver, labels or {}, options or {}, anonymous, _rfc3339(time.time()))
        with WorkDirectory(self._layout) as work:
            data = f"{work.path}/_data"
            try:
                os.mkdir(data, 0o755)
                os.chmod(data, 0o755)  # whatever the umask: a container's other users have to reach it
                atomic.write_new(f"{work.path}/volume.json", jsonfast.seal(jsonfast.dump_bytes(record)), durable)
                if durable:
                    atomic.sync_directory(work.path)
                # rename(2) replaces no directory that holds something, and a volume always does.
                work.publish(self._layout.volume(name))
            except OSError as error:
                if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                    raise NameInUseError(f"volume with name {name} already exists: volume already exists") from None
                raise os_error(f"cannot create the volume {name}", error) from error
        if durable:
            try:
                atomic.sync_directory(self._layout.volumes)
            except StorageError:
                self._take_back(name)
                raise
        return record

    def _take_back(self, name: str) -> None:
        """Remove a volume just made, unless somebody has put something into it by now."""
        try:
            os.rmdir(self._layout.volume_data(name))
        except OSError:
            return
        trees.empty(trees.to_trash(self._layout, self._layout.volume(name)))

    def load(self, name: str) -> Record:
        """Return the record of a volume. Raises ``NotFoundError`` or ``DamagedError``."""
        if not is_name(name):
            raise _no_such(name)
        path = self._layout.volume_record(name)
        try:
            data = atomic.read(path, _MAX_RECORD)
        except FileNotFoundError:
            if self.exists(name):
                raise DamagedError(f"the record of volume {name} is missing", path) from None
            raise _no_such(name) from None
        except OSError as error:
            raise os_error(f"cannot read the record of volume {name}", error) from error
        try:
            record = jsonfast.loads(data)
        except jsonfast.JSONError as error:
            raise DamagedError(f"the record of volume {name} is damaged: {error.message}", path) from None
        if not _is_record(record, name):
            raise DamagedError(f"the record of volume {name} is damaged: a field is missing or of the wrong type", path)
        record.pop(jsonfast.CHECKSUM, None)
        return record  # type: ignore[no-any-return]

    def save(self, name: str, record: Record, durable: bool = True) -> None:
        """Replace the record of a volume that exists."""
        if not self.exists(name):
            raise _no_such(name)
        atomic.write(self._layout.volume_record(name), jsonfast.seal(jsonfast.dump_bytes(record)), durable=durable)

    def rebuild_record(self, name: str) -> None:
        """Write the record of a volume anew from what its directory shows; labels and options are lost."""
        created = _rfc3339(os.lstat(self._layout.volume(name)).st_mtime)
        anonymous = len(name) == 64 and not name.strip("0123456789abcdef")
        self.save(name, _record(name, "local", {}, {}, anonymous, created))

    def _names(self) -> list[str]:
        return [name for name in names_in(self._layout.volumes) if is_name(name)]

    def list(self) -> Records:
        """Return the records of all volumes by name; those that cannot be read are put down in ``damaged``."""
        found: Records = []
        self.damaged = []
        for name in sorted(self._names()):
            try:
                found.append(self.load(name))
            except NotFoundError:
                continue  # removed while we looked
            except StorageError as error:
                self.damaged.append((name, error.message))
        return found

    def lock(self, name: str) -> Lock:
        """Return the lock of a volume, not yet held. It is on the directory itself and vanishes with it."""
        if not is_name(name):
            raise _no_such(name)
        return Lock(self._layout.volume(name), create=False)

    def remove(self, name: str, delete_tree: DeleteTree | None = None) -> None:
        """Remove a volume and its data; its record may be damaged. Whether it is in use the engine knows.

        Files of subordinate ids are deleted by ``delete_tree``, or stay in the trash until ``storage.gc.sweep``.
        """
        if not is_name(name):
            raise _no_such(name)
        try:
            trash = trees.to_trash(self._layout, self._layout.volume(name))
        except NotFoundError:
            raise _no_such(name) from None
        trees.empty(trash, delete_tree)
        reserve.fill(self._layout)


def _is_record(record: object, name: str) -> bool:
    if not isinstance(record, dict) or record.get("name") != name:
        return False
    shapes = {"driver": str, "labels": dict, "options": dict, "anonymous": bool, "created": str}
    return all(isinstance(record.get(key), shape) for key, shape in shapes.items())
