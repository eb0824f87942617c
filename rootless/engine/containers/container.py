"""A container in memory, between its directory on disk and the runtime."""

from __future__ import annotations

import os

from rootless.errors import RootlessError
from rootless.idmaps import IdMap
from storage import atomic, jsonfast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rootless.engine.context import Engine
    from storage.drivers.base import RootfsMount


class Container:
    """``record`` is what ps and inspect read; ``spec``, ``extras``, ``rootfs`` and ``idmap`` are what a start needs."""

    __slots__ = ("directory", "extras", "id", "idmap", "record", "rootfs", "spec")

    def __init__(
        self,
        container_id: str,
        directory: str,
        record: dict[str, Any],
        spec: dict[str, Any],
        extras: dict[str, Any],
        rootfs: RootfsMount,
        idmap: IdMap,
    ) -> None:
        self.id = container_id
        self.directory = directory
        self.record = record
        self.spec = spec
        self.extras = extras
        self.rootfs = rootfs
        self.idmap = idmap

    def write(self, durable: bool, startable: bool = True) -> None:
        """Put the bundle's Spec into the container's directory, and what a later start needs if it is ``startable``."""
        atomic.write(f"{self.directory}/config.json", jsonfast.seal(jsonfast.dump_bytes(self.spec)), durable=durable)
        if not startable:
            return
        launch = {
            "extras": self.extras,
            "rootfs": self.rootfs,
            "idmap": {"uids": self.idmap.uids, "gids": self.idmap.gids, "name": self.idmap.name},
        }
        atomic.write(f"{self.directory}/launch.json", jsonfast.seal(jsonfast.dump_bytes(launch)), durable=durable)


def load(engine: Engine, container_id: str) -> Container:
    """The container as ``create`` left it on disk. Raises when it is not there or damaged."""
    from rootless.runtime import validate

    record = engine.store.containers.load(container_id)
    directory = engine.store.containers.path(container_id)
    spec = read_json(f"{directory}/config.json", container_id)
    launch = read_json(f"{directory}/launch.json", container_id)
    try:
        validate.check(spec)  # type: ignore[arg-type]
        list(spec["process"]["capabilities"]["bounding"])
    except (RootlessError, KeyError, TypeError):
        raise _damaged(container_id, "config.json") from None
    try:
        rows = launch["idmap"]
        idmap = IdMap([(a, b, c) for a, b, c in rows["uids"]], [(a, b, c) for a, b, c in rows["gids"]], rows["name"])
        return Container(container_id, directory, record, spec, launch["extras"], launch["rootfs"], idmap)
    except (KeyError, TypeError, ValueError):
        raise _damaged(container_id, "launch.json") from None


def read_json(path: str, container_id: str) -> dict[str, Any]:
    """A JSON object of the container's directory, without its checksum. Raises when it is not there or damaged."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            data = os.read(fd, os.fstat(fd).st_size + 1)
        finally:
            os.close(fd)
        value = jsonfast.loads(data)
    except (OSError, ValueError):
        raise _damaged(container_id, path.rpartition("/")[2]) from None
    if not isinstance(value, dict) or not jsonfast.is_intact(data):
        raise _damaged(container_id, path.rpartition("/")[2])
    value.pop(jsonfast.CHECKSUM, None)
    return value


def _damaged(container_id: str, name: str) -> RootlessError:
    message = f"cannot start container {container_id[:12]}: its {name} is missing or damaged"
    return RootlessError(message, f"remove it with `rootless rm {container_id[:12]}` and create it again")
