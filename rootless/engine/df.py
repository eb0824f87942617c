"""``system df``: the space that images, containers and volumes take."""

from __future__ import annotations

import time

from rootless.engine.containers.listing import status_text
from rootless.engine.containers.status import status
from rootless.engine.containers.volumes import source, users, volumes_of
from rootless.engine.sizes import container_size, size_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rootless.engine.context import Engine

    Rows = list[dict[str, Any]]


def report(engine: Engine) -> dict[str, Rows]:
    """See ``system.df``."""
    now = time.time_ns()
    records = engine.store.containers.list()
    images = _images(engine, records)
    containers: Rows = []
    for container_id, record in records:
        current = status(engine, container_id)
        containers.append({
            "ContainerID": container_id, "Image": record.get("image", "")[:12], "Command": record.get("command", []),
            "LocalVolumes": len(volumes_of(record)), "Size": container_size(engine, container_id)["rwSize"],
            "Created": record.get("created", 0) // 1_000_000_000, "Status": current.state,
            "Names": record["name"], "StatusText": status_text(current, now),
        })  # fmt: skip
    used = users(engine)
    volumes: Rows = []
    for volume in engine.store.volumes.list():
        size = 0 if volume["options"] else size_of(engine, source(engine, volume)[0])
        volumes.append({"VolumeName": volume["name"], "Links": len(used.get(volume["name"], [])), "Size": size})
    running = [row for row in containers if row["Status"] == "running"]
    total = sum(row["UniqueSize"] for row in images) + _shared(engine)
    return {
        "summary": [
            {
                "Type": "Images", "Total": len(images), "Active": sum(1 for row in images if row["Containers"]),
                "RawSize": total, "RawReclaimable": sum(row["UniqueSize"] for row in images if not row["Containers"]),
            },
            {
                "Type": "Containers", "Total": len(containers), "Active": len(running),
                "RawSize": sum(row["Size"] for row in containers),
                "RawReclaimable": sum(row["Size"] for row in containers if row["Status"] != "running"),
            },
            {
                "Type": "Local Volumes", "Total": len(volumes), "Active": sum(1 for row in volumes if row["Links"]),
                "RawSize": sum(row["Size"] for row in volumes),
                "RawReclaimable": sum(row["Size"] for row in volumes if not row["Links"]),
            },
        ],
        "images": images,
        "containers": containers,
        "volumes": volumes,
    }  # fmt: skip


def _layer_users(engine: Engine) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for image in engine.store.images.list():
        for diff_id in image.diff_ids:
            found.setdefault(diff_id, set()).add(image.id)
    return found


def _shared(engine: Engine) -> int:
    """Bytes of the layers that several images have."""
    images = engine.store.images
    return sum(images.layer_size(diff_id, 0) for diff_id, ids in _layer_users(engine).items() if len(ids) > 1)


def _images(engine: Engine, records: list[tuple[str, dict[str, Any]]]) -> Rows:
    owners = _layer_users(engine)
    images = engine.store.images
    counts: dict[str, int] = {}
    for _, record in records:
        counts[record.get("image", "")] = counts.get(record.get("image", ""), 0) + 1
    rows: Rows = []
    for image in images.list():
        sizes = [(images.layer_size(diff_id, 0), len(owners[diff_id])) for diff_id in image.diff_ids]
        unique = sum(size for size, users_of_it in sizes if users_of_it == 1)
        name = image.names[0] if image.names else "<none>:<none>"
        repository, _, tag = name.rpartition(":")
        rows.append({
            "Repository": repository, "Tag": tag, "ImageID": image.id, "Created": _seconds(image.created),
            "Size": sum(size for size, _ in sizes), "SharedSize": sum(size for size, many in sizes if many > 1),
            "UniqueSize": unique, "Containers": counts.get(image.id, 0),
        })  # fmt: skip
    return rows


def _seconds(created: str) -> int:
    from rootless.engine.times import parse_rfc3339

    try:
        return parse_rfc3339(created) // 1_000_000_000
    except ValueError:
        return 0
