"""``ps``: the containers in the shape of ``podman ps --format json``."""

from __future__ import annotations

import time

from rootless.engine.containers.status import is_abandoned, running_ids, status
from rootless.engine.times import human_duration
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from rootless.engine.containers.status import Status
    from rootless.engine.context import Engine

    Row = dict[str, Any]

# podman's keys, and the names in /proc/PID/ns.
_NAMESPACES = {
    "Mnt": "mnt", "Cgroup": "cgroup", "Ipc": "ipc", "Net": "net", "Pidns": "pid", "Uts": "uts", "User": "user",
}  # fmt: skip
_NEVER = -62135596800
"""Go's time that is not set, as seconds since the epoch."""


def list_containers(engine: Engine, values: Mapping[str, Any]) -> list[Row]:
    """The containers that ``values`` ask for, oldest first.

    ``all``: not only running ones. ``filter``: ``key=value`` words; a filter by status includes all states. ``last`` N
    or ``latest``: that many newest in any state. ``sort``: a column. ``size``: with sizes; ``ns``: with namespaces.
    An ended container of ``--rm`` whose starter was killed before it could remove it is removed now, and not shown.
    """
    last = 1 if values.get("latest") else int(values.get("last") or 0)
    filters = values.get("filter") or []
    everything = bool(values.get("all") or last > 0 or any(word.partition("=")[0] == "status" for word in filters))
    rows: list[tuple[int, Row]] = []
    now = time.time_ns()
    test = None
    if filters:
        from rootless.engine.filters import container_filter

        test = container_filter(engine, filters)
    abandoned = False
    for container_id, record in _records(engine, everything):
        current = status(engine, container_id)
        if not everything and current.state != "running":
            continue
        if current.state != "running" and is_abandoned(engine, record, current.state):
            abandoned = True
            if current.state == "exited":
                continue
        if test is None or test(record, current):
            row = _row(container_id, record, current, now)
            if current.state == "running" and record.get("health"):
                from rootless.engine.containers.health import suffix

                row["Status"] += suffix(engine, record)
            rows.append((record.get("created", 0), row))
    if abandoned or engine.store.containers.damaged:
        from rootless.engine.containers.removal import sweep

        removed = set(sweep(engine))
        rows = [entry for entry in rows if entry[1]["Id"] not in removed]
    rows.sort(key=lambda row: row[0], reverse=True)
    found = [row for _, row in (rows[:last] if last > 0 else rows)]
    found.reverse()
    if values.get("size"):
        from rootless.engine.sizes import container_size

        for row in found:
            row["Size"] = container_size(engine, row["Id"])
    if values.get("ns"):
        for row in found:
            row["Namespaces"] = _namespaces(row["Pid"])
    if values.get("sort"):
        _sort(found, str(values["sort"]))
    return found


def _records(engine: Engine, everything: bool) -> list[tuple[str, dict[str, Any]]]:
    containers = engine.store.containers
    if everything:
        return containers.list()
    found = []
    for container_id in running_ids(engine):
        try:
            found.append((container_id, containers.load(container_id)))
        except StorageError:
            continue
    return found


def status_text(current: Status, now: int) -> str:
    """``Up 5 seconds``, ``Exited (0) 3 seconds ago``, ``Created``."""
    if current.state == "running":
        return "Up " + human_duration((now - current.started) / 1e9)
    if current.state in ("exited", "restarting"):
        word = current.state.capitalize()
        return f"{word} ({current.exit_code}) {human_duration((now - current.finished) / 1e9)} ago"
    return current.state.capitalize()


def _row(container_id: str, record: Mapping[str, Any], current: Status, now: int) -> Row:
    created = record.get("created", 0)
    return {
        "AutoRemove": record.get("rm", False),
        "CIDFile": record.get("cidfile", ""),
        "Command": record.get("command", []),
        "Created": created // 1_000_000_000,
        "CreatedAt": human_duration((now - created) / 1e9) + " ago",
        "ExitCode": current.exit_code,
        "Exited": current.state == "exited",
        "ExitedAt": current.finished // 1_000_000_000 if current.finished else _NEVER,
        "ExposedPorts": record.get("exposed") or None,
        "Id": container_id,
        "Image": record.get("image_name", ""),
        "ImageID": record.get("image", ""),
        "IsInfra": False,
        "Labels": record.get("labels") or None,
        "Mounts": [mount["Destination"] for mount in record.get("mounts", [])],
        "Names": [record["name"]],
        "Namespaces": {},
        "Networks": [],
        "Pid": current.pid,
        "Pod": "",
        "PodName": "",
        "Ports": _ports(record.get("ports") or ()) or None,
        "Restarts": current.restarts,
        "Size": None,
        "StartedAt": current.started // 1_000_000_000 if current.started else _NEVER,
        "State": current.state,
        "Status": status_text(current, now),
    }  # fmt: skip


def _ports(published: Iterable[Mapping[str, Any]]) -> list[Row]:
    """The published ports, neighbours as one range."""
    found: list[Row] = []
    for port in published:
        last = found[-1] if found else None
        if (
            last is not None
            and (last["host_ip"], last["protocol"]) == (port["host_ip"], port["protocol"])
            and last["host_port"] + last["range"] == port["host_port"]
            and last["container_port"] + last["range"] == port["container_port"]
        ):
            last["range"] += 1
            continue
        row = {key: port[key] for key in ("host_ip", "container_port", "host_port")}
        found.append({**row, "range": 1, "protocol": port["protocol"]})
    return found


def _namespaces(pid: int) -> dict[str, str]:
    """The inode numbers of a running container's namespaces, as text."""
    import os

    from rootless.runtime.processes import open_to_us

    found: dict[str, str] = {}
    try:
        shown = open_to_us(pid) if pid else 0
        for key, name in _NAMESPACES.items():
            text = os.readlink(f"/proc/{shown}/ns/{name}") if shown else ""
            if text:
                found[key] = text.partition("[")[2].rstrip("]")
    except OSError:  # it has just ended
        pass
    return found


_SORT_KEYS = {
    "command": "Command", "created": "Created", "id": "Id", "image": "Image", "names": "Names",
    "runningfor": "StartedAt", "size": "Size", "status": "State",
}  # fmt: skip


def _sort(rows: list[Row], column: str) -> None:
    key = _SORT_KEYS.get(column.lower())
    if key is None:
        from rootless.errors import UsageError

        raise UsageError(f"cannot sort by {column[:40]!r}", "the columns are " + ", ".join(_SORT_KEYS))
    rows.sort(key=lambda row: (row[key] or {}).get("rootFsSize", 0) if key == "Size" else row[key])
