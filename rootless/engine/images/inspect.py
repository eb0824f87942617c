"""``image inspect`` and ``history``."""

from __future__ import annotations

from rootless.engine.images.listing import created_ns, labels, repo_digests, tags
from rootless.engine.times import parse_rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rootless.engine.context import Engine
    from storage.images import Image


def inspect(engine: Engine, image: Image) -> dict[str, Any]:
    """An image in the shape of ``podman image inspect``."""
    config = image.config
    settings = config["config"]
    steps = config.get("history", [])
    size = image.size
    found: dict[str, Any] = {
        "Id": image.id,
        "Digest": image.digest,
        "RepoTags": tags(image),
        "RepoDigests": repo_digests(image),
        "Parent": "",
        "Comment": steps[-1].get("comment", "") if steps else "",
        "Created": image.created or None,
        "Config": {key: value for key, value in settings.items() if key != "Healthcheck" and value},
        "Version": config.get("docker_version", ""),
        "Author": config.get("author", ""),
        "Architecture": config.get("architecture", ""),
        "Os": config.get("os", ""),
        "Size": size,
        "VirtualSize": size,
        "GraphDriver": {"Name": engine.driver.name, "Data": _layers(engine, image)},
        "RootFS": {"Type": "layers", "Layers": list(image.diff_ids)},
        "Labels": labels(image) or None,
        "Annotations": dict(image.manifest.get("annotations", {})),
        "ManifestType": image.media_type,
        "User": settings.get("User", ""),
        "History": [_step(step) for step in steps],
        "NamesHistory": list(image.names),
    }
    if config.get("variant"):
        found["Variant"] = config["variant"]
    if settings.get("Healthcheck"):
        found["Healthcheck"] = settings["Healthcheck"]
    return found


def _layers(engine: Engine, image: Image) -> dict[str, str]:
    """Where the unpacked layers are, topmost first, in the words of podman's overlay driver."""
    if engine.layers.missing(image.diff_ids):
        return {}
    paths = engine.layers.paths(image.diff_ids)[::-1]
    return {"LowerDir": ":".join(paths[1:]), "UpperDir": paths[0]} if paths[1:] else {"UpperDir": "".join(paths)}


def _step(step: dict[str, Any]) -> dict[str, Any]:
    return {key: step[key] for key in ("created", "created_by", "author", "comment", "empty_layer") if step.get(key)}


def history(engine: Engine, image: Image) -> list[dict[str, Any]]:
    """The steps of an image, the last first; sizes are those of the unpacked layers, in bytes."""
    sizes = [
        engine.store.images.layer_size(diff_id, layer["size"])
        for diff_id, layer in zip(image.diff_ids, image.layers, strict=True)
    ]
    steps = image.config.get("history") or [{"created": image.created} for _ in sizes]
    rows: list[dict[str, Any]] = []
    for step in steps:
        size = 0 if step.get("empty_layer") or not sizes else sizes.pop(0)
        rows.append(
            {
                "id": "<missing>",
                "created": _seconds(step.get("created", "")),
                "createdBy": step.get("created_by", ""),
                "size": size,
                "comment": step.get("comment", ""),
                "tags": [],
            }
        )
    rows.reverse()
    if rows:
        rows[0].update(id=image.id, tags=tags(image))
    else:
        rows = [{"id": image.id, "created": created_ns(image) // 10**9, "createdBy": "", "size": 0, "comment": "",
                 "tags": tags(image)}]  # fmt: skip
    return rows


def _seconds(text: str) -> int:
    try:
        return parse_rfc3339(text) // 1_000_000_000
    except ValueError:
        return 0
