"""``update``: other limits or another health check for a container, at once if it runs, and for its next start."""

from __future__ import annotations

from rootless.cgroups import manager, resources
from rootless.cgroups.v2 import Cgroup
from rootless.engine import events
from rootless.engine.containers import cgroup
from rootless.engine.containers.container import read_json
from rootless.engine.containers.status import ALIVE, status
from rootless.engine.options import resources as options
from rootless.engine.options.run import LIMITS, given_health
from rootless.errors import RootlessError, UsageError
from storage import atomic, jsonfast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from rootless.engine.context import Engine


def update(engine: Engine, container_id: str, values: Mapping[str, Any]) -> None:
    """Change what ``values`` name. Raises RootlessError where nothing can hold a limit; then none has changed.

    The controllers of a running container are those of its start.
    """
    record = engine.store.containers.load(container_id)
    given = given_health(values)
    apply = _health(engine, record, values, given) if given else None
    if apply is None or any(values.get(flag) is not None for flag in LIMITS):
        _limit(engine, record, values)
    if apply:
        apply()
    events.note(engine, "container", "update", container_id, record)


def _limit(engine: Engine, record: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    container_id = record["id"]
    old = record["options"].get("resources") or {}
    wanted = _read(values, old)
    merged = options.merge(old, wanted)
    limits = resources.convert(merged)
    changed = resources.convert(_touched(merged, wanted))
    if status(engine, container_id).state in ALIVE:
        Cgroup(cgroup.of_container(engine, container_id, "update")).change(changed)
    else:
        wish = cgroup.wished(engine, container_id, record["options"], limits)
        manager.refuse_unenforced(manager.choose(wish), limits)

    def change(found: dict[str, Any]) -> None:
        found["options"]["resources"] = merged

    engine.store.containers.update(container_id, change)
    path = engine.store.layout.container_spec(container_id)
    spec = read_json(path, container_id)
    spec["linux"]["resources"] = merged
    atomic.write(path, jsonfast.dump_bytes(spec))


def _health(
    engine: Engine, record: Mapping[str, Any], values: Mapping[str, Any], given: set[str]
) -> Callable[[], object]:
    """What gives the container the health check that the flags ask for. Raises RootlessError where that cannot be."""
    from rootless.engine.containers import healthcheck
    from rootless.engine.options import health

    old, container_id = record.get("health"), record["id"]
    wanted = health.change(old, health.HealthOptions(values, given), record["options"]["sdnotify"])
    if status(engine, container_id).state not in ALIVE:
        return lambda: engine.store.containers.update(container_id, lambda found: found.update(health=wanted))
    if old is None:
        raise RootlessError(
            f"cannot give container {record['name']} a health check while it runs: its monitor has no clock",
            f"stop it before: rootless stop {record['name']}",
        )
    return lambda: healthcheck.change(engine, container_id, wanted)


def _read(values: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """The limits on the command line, where one that needs another is given the container's own."""
    given = dict(values)
    memory = old.get("memory") or {}
    if given.get("memory_swap") is not None and given.get("memory") is None and memory.get("limit"):
        given["memory"] = str(memory["limit"])
    found = options.parse(given)
    if not found:
        raise UsageError("cannot update nothing", "give a limit, such as --memory or --cpus, or a health check")
    return found


def _touched(merged: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The sections in which something changed, whole: a quota needs its period, a swap its memory."""
    found = {section: merged[section] for section in wanted if section != "unified"}
    if "unified" in wanted:
        found["unified"] = wanted["unified"]
    return found
