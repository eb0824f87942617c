"""``system df``: the space that images, containers and volumes take."""

from __future__ import annotations

import time

from rootless.engine.containers.listing import status_text
from rootless.engine.containers.status import status
from rootless.engine.containers.volumes import source, users, volumes_of
from rootless.engine.sizes import container_size, size_of
from storage.dedup import linked
from storage.layers import layer_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rootless.engine.context import Engine

    Rows = list[dict[str, Any]]


def report(engine: Engine) -> dict[str, Rows]:
    """See ``system.df``."""
    now = time.time_ns()
    records = engine.store.containers.list()
    layers = LayerSizes(engine)
    images = _images(engine, records, layers)
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
    return {
        "summary": [
            {
                "Type": "Images", "Total": len(images), "Active": sum(1 for row in images if row["Containers"]),
                "RawSize": layers.total(),
                "RawReclaimable": sum(row["UniqueSize"] for row in images if not row["Containers"]),
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
            *_builds(engine),
        ],
        "images": images,
        "containers": containers,
        "volumes": volumes,
    }  # fmt: skip


def _builds(engine: Engine) -> Rows:
    """What builds have kept for the next ones, where they have: layers of steps that no image has, and caches."""
    from storage.caches import Caches

    images = engine.store.images
    of_images = {diff_id for image in images.list() for diff_id in image.diff_ids}
    steps = engine.store.build_cache.needed()[1]
    caches = Caches(engine.store.layout).listed()
    if not steps and not caches:
        return []
    size = sum(images.layer_size(diff_id, 0) for diff_id in steps - of_images)
    size += size_of(engine, engine.store.layout.caches)
    return [{
        "Type": "Build Cache", "Total": len(steps) + len(caches), "Active": len(steps & of_images), "RawSize": size,
        "RawReclaimable": size,
    }]  # fmt: skip


class LayerSizes:
    """The bytes of the files in the layers of images: each file once in an image, and once in all of them.

    A layer counts once however often an image lists it. A file that several layers have by hard links
    (``storage.dedup``) counts once too, and is shared if their images are several.
    """

    def __init__(self, engine: Engine) -> None:
        self._layers: dict[str, list[str]] = {}  # of an image, by its manifest's digest
        self._sizes: dict[str, int] = {}
        self._users: dict[str, set[str]] = {}
        images = engine.store.images
        by_key = {}
        for image in images.list():
            own = self._layers[image.digest] = list(dict.fromkeys(image.diff_ids))
            for diff_id in own:
                by_key[layer_key(diff_id, engine.store.layout.map_key)] = diff_id
                self._sizes[diff_id] = images.layer_size(diff_id, 0)
                self._users.setdefault(diff_id, set()).add(image.digest)
        self._linked: list[tuple[int, set[str]]] = []
        for size, keys in linked(engine.store.layout, engine.in_userns):
            used = {by_key[key] for key in keys if key in by_key}
            if len(used) > 1:
                self._linked.append((size, used))

    def of_image(self, digest: str) -> tuple[int, int]:
        """All bytes of an image, and those that no other image has."""
        own = set(self._layers[digest])
        size = sum(self._sizes[diff_id] for diff_id in own)
        alone = {diff_id for diff_id in own if len(self._users[diff_id]) == 1}
        unique = sum(self._sizes[diff_id] for diff_id in alone)
        for bytes_of_it, layers in self._linked:
            if not own.isdisjoint(layers):
                size -= bytes_of_it * (len(own & layers) - 1)
                unique -= bytes_of_it * (len(alone & layers) - (layers <= alone))
        return size, unique

    def total(self) -> int:
        """The bytes of all images."""
        return sum(self._sizes.values()) - sum(size * (len(layers) - 1) for size, layers in self._linked)


def _images(engine: Engine, records: list[tuple[str, dict[str, Any]]], layers: LayerSizes) -> Rows:
    counts: dict[str, int] = {}
    for _, record in records:
        counts[record.get("image", "")] = counts.get(record.get("image", ""), 0) + 1
    rows: Rows = []
    for image in engine.store.images.list():
        size, unique = layers.of_image(image.digest)
        name = image.names[0] if image.names else "<none>:<none>"
        repository, _, tag = name.rpartition(":")
        rows.append({
            "Repository": repository, "Tag": tag, "ImageID": image.id, "Created": _seconds(image.created),
            "Size": size, "SharedSize": size - unique, "UniqueSize": unique, "Containers": counts.get(image.id, 0),
        })  # fmt: skip
    return rows


def _seconds(created: str) -> int:
    from rootless.engine.times import parse_rfc3339

    try:
        return parse_rfc3339(created) // 1_000_000_000
    except ValueError:
        return 0
