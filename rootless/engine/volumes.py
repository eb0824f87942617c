"""The commands of volumes: create, list, inspect, remove, prune."""

from __future__ import annotations

from rootless.engine.containers.volumes import check_options, source, users
from rootless.engine.events import note
from rootless.errors import InUseError, RootlessError, UsageError
from storage.errors import NameInUseError, NotFoundError, StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from rootless.engine.context import Engine


def create(engine: Engine, name: str | None, values: Mapping[str, Any]) -> str:
    """Make a volume and return its name; a random one when none is given.

    ``label``, ``opt``: ``key=value`` words. ``driver``: local is the only one. ``ignore``: an existing one will do.
    """
    if values.get("driver") not in (None, "", "local"):
        hint = "the only driver is local"
        raise RootlessError(f"cannot create a volume with the driver {str(values['driver'])[:40]!r}", hint)
    from rootless.engine.options.env import parse_labels

    labels = parse_labels(values.get("label") or [])
    options = parse_labels(values.get("opt") or [], flag="--opt")
    check_options(options)
    try:
        record = engine.store.volumes.create(name or None, "local", labels, options)
    except NameInUseError:
        if name and values.get("ignore"):
            return name
        raise
    note(engine, "volume", "create", "", {"name": record["name"]})
    return str(record["name"])


def _shape(engine: Engine, record: Mapping[str, Any], count: int) -> dict[str, Any]:
    return {
        "Name": record["name"],
        "Driver": record["driver"],
        "Mountpoint": source(engine, record)[0],
        "CreatedAt": record["created"],
        "Labels": record["labels"],
        "Scope": "local",
        "Options": record["options"],
        "MountCount": count,
        "NeedsCopyUp": not count,
        "NeedsChown": not count,
        "Anonymous": record["anonymous"],
    }


def inspect(engine: Engine, name: str) -> dict[str, Any]:
    """One volume in the shape of ``podman volume inspect``. Raises when there is none."""
    found = engine.store.volumes.find(name)
    return _shape(engine, engine.store.volumes.load(found), len(users(engine).get(found, [])))


def list_volumes(engine: Engine, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All volumes, by name, in the shape of ``podman volume ls --format json``.

    ``filter``: name, label, label!, driver, dangling, since, until, scope, opt.
    """
    used = users(engine)
    rows = [_shape(engine, record, len(used.get(record["name"], []))) for record in engine.store.volumes.list()]
    words = values.get("filter") or []
    if words:
        from rootless.engine.filters import has_label, pattern, split
        from rootless.engine.options.values import parse_bool
        from rootless.engine.times import parse_moment, parse_rfc3339

        for key, wanted in split(words).items():
            if key == "name":
                patterns = [pattern(text) for text in wanted]
                rows = [row for row in rows if any(one.search(row["Name"]) for one in patterns)]
            elif key == "label":
                rows = [row for row in rows if all(has_label(row["Labels"], text) for text in wanted)]
            elif key == "label!":
                rows = [row for row in rows if not any(has_label(row["Labels"], text) for text in wanted)]
            elif key in ("driver", "scope"):
                rows = [row for row in rows if row[key.capitalize()] in wanted]
            elif key == "opt":
                rows = [row for row in rows if any(has_label(row["Options"], text) for text in wanted)]
            elif key == "dangling":
                dangling = {parse_bool(text, "--filter dangling") for text in wanted}
                rows = [row for row in rows if (row["MountCount"] == 0) in dangling]
            elif key in ("until", "since", "after"):
                moment = parse_moment(wanted[-1], f"--filter {key}")
                before = key == "until"
                rows = [row for row in rows if (parse_rfc3339(row["CreatedAt"]) < moment) == before]
            else:
                raise UsageError(f"cannot use the filter {key[:40]!r}: invalid volume filter")
    return rows


def remove(engine: Engine, names: Iterable[str], values: Mapping[str, Any]) -> list[str]:
    """Remove volumes; the names as they were given. One that fails does not keep the others from it.

    ``force``: the containers that use one go first, and a missing one is no failure. Raises the first failure at the
    end: NotFoundError, InUseError, or what went wrong.
    """
    removed: list[str] = []
    failure: RootlessError | StorageError | None = None
    used = users(engine)
    for name in names:
        try:
            found = engine.store.volumes.find(name)
            _remove_one(engine, found, used.get(found, []), bool(values.get("force")))
            removed.append(name)
        except NotFoundError as error:
            if not values.get("force"):
                failure = failure or error
        except (RootlessError, StorageError) as error:
            failure = failure or error
    if failure is not None:
        raise failure
    return removed


def _remove_one(engine: Engine, name: str, containers: list[str], force: bool) -> None:
    if containers and not force:
        ids = ", ".join(container_id[:12] for container_id in containers)
        message = f"cannot remove volume {name}: it is being used by container {ids}"
        raise InUseError(message, "remove them first, or use --force")
    if containers:
        from rootless.engine.containers.removal import remove as remove_containers

        remove_containers(engine, containers, {"force": True})
    engine.store.volumes.remove(name, engine.delete_tree)
    note(engine, "volume", "remove", "", {"name": name})


def exists(engine: Engine, name: str) -> bool:
    """Whether there is a volume of exactly this name."""
    return engine.store.volumes.exists(name)


def prune(engine: Engine, values: Mapping[str, Any]) -> list[str]:
    """Remove the volumes that no container uses; the names of those removed.

    ``filter``: label, label!, until; ``all=true`` is understood (named and anonymous are both pruned).
    """
    words = [word for word in values.get("filter") or [] if not word.startswith("all=")]
    rows = list_volumes(engine, {"filter": [*words, "dangling=true"]})
    removed = remove(engine, [row["Name"] for row in rows], {})
    for name in removed:
        note(engine, "volume", "prune", "", {"name": name})
    return removed
