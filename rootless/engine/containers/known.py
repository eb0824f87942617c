"""A container as it is on disk, also one that is gone when it ends and has put down no more than its Spec."""

from __future__ import annotations

import os

from rootless.engine.containers.container import Container, load, read_json
from rootless.engine.containers.rootfs import directory_root, image_root
from rootless.errors import RootlessError
from rootless.idmaps import IdMap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rootless.engine.context import Engine


def known(engine: Engine, container_id: str) -> Container:
    """The container. Raises when it is not there or damaged."""
    directory = engine.store.containers.path(container_id)
    if os.path.lexists(f"{directory}/launch.json"):
        return load(engine, container_id)
    record = engine.store.containers.load(container_id)
    spec = read_json(f"{directory}/config.json", container_id)
    try:
        idmap = _idmap(engine, spec["linux"])
    except (KeyError, TypeError):
        raise RootlessError(f"cannot use container {container_id[:12]}: its config.json is damaged") from None
    if record["rootfs"]:
        overlay = record["driver"] != ""
        rootfs = directory_root(engine, record["rootfs"], directory, idmap, overlay)
    else:
        image = engine.store.images.find(record["image"])
        if image is None:
            raise RootlessError(f"cannot use container {container_id[:12]}: its image was removed")
        rootfs = image_root(engine, image, directory, idmap, ephemeral=True)
    return Container(container_id, directory, record, spec, {"user": record["user"]}, rootfs, idmap)


def _idmap(engine: Engine, linux: Mapping[str, Any]) -> IdMap:
    uids, gids = (
        [(row["containerID"], row["hostID"], row["size"]) for row in linux[key]]
        for key in ("uidMappings", "gidMappings")
    )
    found = IdMap(uids, gids)
    return engine.idmap if found == engine.idmap else found
