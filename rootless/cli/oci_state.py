"""What is kept of the OCI runtime's containers: a directory for each, whose name is the container's ID.

Making the directory takes the name. Whoever runs the container holds a lock on it, so what a killed one leaves behind
can be told from what is being made; it counts as stopped until it is deleted.
"""

from __future__ import annotations

import os

from rootless import paths
from rootless.errors import NotFoundError, RootlessError, UsageError
from rootless.runtime import bundle, state
from storage.locks import Lock, is_held

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rootless.runtime.spec import Spec
    from rootless.runtime.state import State

_LONGEST = 255
_EXTRA = frozenset("_+-.")


def root_directory(global_values: Mapping[str, Any]) -> str:
    """Where the directories of the containers are."""
    root = global_values.get("root")
    return os.path.abspath(root) if root else paths.oci_dir()


def identifiers(root: str) -> list[str]:
    """The IDs of all containers, in alphabetical order."""
    try:
        names = os.listdir(root)
    except FileNotFoundError:
        return []
    return sorted(name for name in names if valid(name) and os.path.isdir(f"{root}/{name}"))


def valid(identifier: str) -> bool:
    """Whether it can be the name of a container, and so of a directory."""
    plain = all(char.isascii() and (char.isalnum() or char in _EXTRA) for char in identifier)
    return plain and 0 < len(identifier) <= _LONGEST and identifier not in (".", "..")


class Record:
    """One container as it is stored. ``directory`` is its own."""

    __slots__ = ("directory", "id")

    def __init__(self, global_values: Mapping[str, Any], identifier: str) -> None:
        if not valid(identifier):
            raise UsageError(
                f"cannot use {identifier!r} as the ID of a container",
                f"an ID has 1 to {_LONGEST} letters, digits, and the characters _ + - .",
            )
        self.id = identifier
        self.directory = f"{root_directory(global_values)}/{identifier}"

    def reserve(self) -> Lock:
        """Take the name; the lock is to be held as long as the container runs. Raises ``RootlessError`` if taken."""
        os.makedirs(os.path.dirname(self.directory), 0o700, exist_ok=True)
        try:
            os.mkdir(self.directory, 0o700)
        except FileExistsError:
            hint = f"choose another ID, or free this one: rootless-oci delete {self.id}"
            raise RootlessError(f"cannot create the container {self.id}: the ID is in use", hint) from None
        lock = self.lock()
        lock.acquire()
        return lock

    def lock(self) -> Lock:
        """The lock of the container, not yet held."""
        return Lock(self.directory, create=False)

    def read(self) -> State:
        """What is known of it; of one that was never started only the ID. Raises ``NotFoundError``."""
        try:
            return state.read(self.directory)
        except FileNotFoundError:
            if not os.path.isdir(self.directory):
                raise NotFoundError(
                    f"container {self.id!r} does not exist", "rootless-oci list shows the containers"
                ) from None
            return {"id": self.id, "pid": 0, "bundle": ""}

    def known(self) -> tuple[State, bool]:
        """As `read`, also what a damaged state still tells; and whether it is whole. Raises ``NotFoundError``."""
        try:
            return self.read(), True
        except NotFoundError:
            raise
        except RootlessError:
            return state.remains(self.directory, self.id), False

    def spec(self) -> Spec:
        """The Spec as it was when the container was created; empty if that has not come so far."""
        kept = os.path.exists(f"{self.directory}/{bundle.CONFIG}")
        return bundle.read(self.directory) if kept else {}

    def write(self, found: State) -> None:
        """Store what is known of it."""
        state.write(self.directory, found)

    def status(self, found: State) -> str:
        """``creating``, ``created``, ``running``, ``paused`` or ``stopped`` (runtime.md, "State")."""
        if not found["pid"]:
            return "creating" if is_held(self.directory) else "stopped"
        status = state.status(found)
        if status == "running" and found.get("cgroup") and _is_frozen(found["cgroup"]):
            return "paused"
        return "stopped" if status == "exited" else status

    def delete(self) -> None:
        """Remove the directory and so free the name; the caller holds the lock."""
        from rootless.init.delete import delete_directory

        delete_directory(self.directory)


def _is_frozen(path: str) -> bool:
    from rootless.cgroups.v2 import Cgroup

    return Cgroup(path).frozen()
