"""Commands on containers that exist: what `ps` shows, and handlers that hand the rest to the engine."""

from __future__ import annotations

import time

from rootless.cli import render
from rootless.engine.containers.listing import list_containers
from rootless.engine.context import open_engine
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from rootless.engine.context import Engine

    Values = dict[str, Any]

COLUMNS = {
    "ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "RunningFor": "CREATED", "Status": "STATUS",
    "Ports": "PORTS", "Names": "NAMES",
}  # fmt: skip

NAMESPACE_COLUMNS = {
    "ID": "CONTAINER ID", "Names": "NAMES", "Pid": "PID", "Cgroup": "CGROUPNS", "IPC": "IPC", "MNT": "MNT",
    "NET": "NET", "PIDNS": "PIDNS", "User": "USERNS", "UTS": "UTS",
}  # fmt: skip

NAMESPACES = ("IPC", "MNT", "NET", "PIDNS", "User", "UTS")

# What a heading of `ps --format "table …"` is called where it is not the field's name in capitals.
HEADINGS = {
    **COLUMNS, **NAMESPACE_COLUMNS, "CreatedAt": "CREATED AT", "CreatedHuman": "CREATED", "ImageID": "IMAGE ID",
    "StartedAt": "STARTED", "ExitedAt": "EXITED", "PodName": "POD NAME", "Size": "SIZE",
}  # fmt: skip


def ps(values: Values, args: list[str], global_values: Values) -> int:
    """``ps``: a table, the IDs, JSON, or a line for each container by a template."""
    _check_together(values)
    engine = open_engine(global_values)
    if values.get("watch"):
        seconds = int(values["watch"])
        if seconds < 1:
            raise UsageError(f"cannot watch every {seconds} seconds", "give --watch a number of seconds above 0")
        while True:
            found = list_containers(engine, values)
            render.clear()
            _show(found, values)
            time.sleep(seconds)
    _show(list_containers(engine, values), values)
    return 0


def _check_together(values: Values) -> None:
    """Refuse what cannot be together."""
    for one, other in (("last", "latest"), ("quiet", "size"), ("quiet", "ns"), ("size", "ns"), ("watch", "latest")):
        if values.get(one) and values.get(other):
            raise UsageError(f"cannot use --{one} and --{other} together")


def _show(found: Sequence[Mapping[str, Any]], values: Values) -> None:
    full = bool(values.get("no_trunc"))
    template = values.get("format")
    heading = not values.get("noheading")
    if template:
        now = time.time()
        rows = [fields(container, full, now) for container in found]
        template = template.replace(".Namespaces.", ".")  # as podman: they are the row's own
        render.print_format(rows, template, HEADINGS, heading, whole=lambda: found)
    elif values.get("quiet"):
        render.write("".join(_id(container, full) + "\n" for container in found))
    else:
        columns = dict(NAMESPACE_COLUMNS if values.get("ns") else COLUMNS)
        if values.get("pod") and not values.get("ns"):
            columns.update(Pod="POD ID", PodName="PODNAME")
        if values.get("size"):
            columns["Size"] = "SIZE"
        now = time.time()
        rows = [fields(container, full, now) for container in found]
        cells = [[str(row[field]) for field in columns] for row in rows]
        render.write(render.table(list(columns.values()), cells, heading))


def fields(container: Mapping[str, Any], full: bool, now: float) -> Values:
    """What a template may ask of a container: its JSON keys, and the texts of the table's columns."""
    created = float(container.get("Created") or 0)
    namespaces = container.get("Namespaces") or {}
    row = dict(container)
    row.update(
        ID=_id(container, full),
        Image=container.get("Image") or "",
        Command=_command(container.get("Command") or [], full),
        Created=_moment(created),
        CreatedAt=_moment(created),
        CreatedHuman=render.ago(created, now),
        RunningFor=render.ago(created, now),
        Names=",".join(container.get("Names") or []),
        Networks=",".join(container.get("Networks") or []),
        Ports=ports_text(container.get("Ports") or [], container.get("ExposedPorts") or {}),
        ImageID=(container.get("ImageID") or "")[: None if full else 12],
        Restarts=str(container.get("Restarts") or 0),
        Labels=container.get("Labels") or {},
        Label=lambda key: (container.get("Labels") or {}).get(key, ""),
        Size=_size(container.get("Size")),
        **{key: namespaces.get(key.capitalize(), "") for key in ("Cgroup", *NAMESPACES)},
    )
    return row


def ports_text(mappings: list[dict[str, Any]], exposed: Mapping[str, list[str]] | None = None) -> str:
    """``0.0.0.0:8080->80/tcp, 0.0.0.0:9000-9002->9000-9002/udp``, then what is only exposed: ``53/udp``."""
    texts = []
    published: set[tuple[str, int]] = set()
    for mapping in mappings:
        count = int(mapping.get("range") or 1)
        host, inside = int(mapping.get("host_port") or 0), int(mapping["container_port"])
        protocol = mapping.get("protocol") or "tcp"
        published.update((protocol, inside + step) for step in range(count))
        if not host:
            texts.append(f"{_span(inside, count)}/{protocol}")
            continue
        address = mapping.get("host_ip") or "0.0.0.0"
        if ":" in address:
            address = f"[{address}]"
        texts.append(f"{address}:{_span(host, count)}->{_span(inside, count)}/{protocol}")
    ports = {(protocol, int(number)) for number, protocols in (exposed or {}).items() for protocol in protocols}
    for protocol, number in sorted(ports - published):
        if (protocol, number - 1) in ports - published:
            continue
        count = 1
        while (protocol, number + count) in ports - published:
            count += 1
        texts.append(f"{_span(number, count)}/{protocol}")
    return ", ".join(texts)


def rm(values: Values, args: list[str], global_values: Values) -> int:
    """``rm``: prints each container as it was named."""
    from rootless.cli.many import choose, remove_each
    from rootless.engine.containers.removal import remove

    engine = open_engine(global_values)
    names = list(args)
    if values.get("cidfile"):
        with open(values["cidfile"], encoding="utf-8", errors="replace") as file:
            names.append(file.readline(100).strip())
    selected = any(values.get(key) for key in ("filter", "latest", "cidfile"))
    choose(args, bool(values.get("all")), "container", selected, values.get("latest"))
    if values.get("all") or values.get("filter") or values.get("latest"):
        selection = {"all": True, "filter": values.get("filter", []), "latest": values.get("latest", False)}
        names += [str(found["Id"]) for found in list_containers(engine, selection)]
    return remove_each(names, lambda name: remove(engine, [name], values))


def rename(values: Values, args: list[str], global_values: Values) -> int:
    """``rename``."""
    from rootless.engine.events import note

    engine = open_engine(global_values)
    containers = engine.store.containers
    container_id = containers.find(args[0])
    containers.rename(container_id, args[1])
    note(engine, "container", "rename", container_id, containers.load(container_id))
    return 0


def exists(values: Values, args: list[str], global_values: Values) -> int:
    """``container exists``."""
    from rootless.cli.many import exists
    from rootless.engine.containers.inspect import inspect as look

    engine = open_engine(global_values)
    return exists(args[0], lambda name: look(engine, name))


def prune(values: Values, args: list[str], global_values: Values) -> int:
    """``container prune``: prints the IDs."""
    from rootless.cli.many import confirmed
    from rootless.engine.containers.removal import prune as prune_containers

    if not confirmed("WARNING! This will remove all non running containers.", values.get("force")):
        return 0
    for name in prune_containers(open_engine(global_values), values):
        render.line(name)
    return 0


def inspect(values: Values, args: list[str], global_values: Values) -> int:
    """``container inspect``."""
    from rootless.cli.many import inspect_each
    from rootless.engine.containers.inspect import inspect as look

    engine = open_engine(global_values)
    names = _named(engine, values, args)
    return inspect_each(names, lambda name: look(engine, name, size=bool(values.get("size"))), values.get("format"))


def inspect_any(values: Values, args: list[str], global_values: Values) -> int:
    """``inspect``: a container, else an image, else a volume of the name."""
    from rootless.cli.many import MISSING, inspect_each
    from rootless.engine import volumes
    from rootless.engine.containers import inspect as container_details
    from rootless.engine.images import inspect as image_details
    from rootless.engine.images.names import find
    from rootless.errors import NotFoundError
    from storage.reference import InvalidReferenceError

    engine = open_engine(global_values)
    kinds: dict[str, Callable[[str], object]] = {
        "container": lambda name: container_details.inspect(engine, name, size=bool(values.get("size"))),
        "image": lambda name: image_details.inspect(engine, find(engine, name)),
        "volume": lambda name: volumes.inspect(engine, name),
    }
    kind = values.get("type") or "all"
    if kind != "all" and kind not in kinds:
        raise UsageError(f"cannot inspect the type {kind!r}", f"choose from: all, {', '.join(kinds)}")

    def look(name: str) -> object:
        for candidate, function in kinds.items():
            if kind in ("all", candidate):
                try:
                    return function(name)
                except (*MISSING, InvalidReferenceError):  # it may be the name of something else
                    if kind != "all":
                        raise
        raise NotFoundError(f"no such object: {name!r}", "rootless ps -a and rootless images list what there is")

    return inspect_each(_named(engine, values, args), look, values.get("format"))


def _named(engine: Engine, values: Values, args: list[str]) -> list[str]:
    from rootless.cli.many import choose

    latest = values.get("latest")
    choose(args, False, "container", bool(latest), latest)
    if latest:
        return [str(found["Id"]) for found in list_containers(engine, {"latest": True})]
    return args


def _id(container: Mapping[str, Any], full: bool) -> str:
    return str(container["Id"]) if full else str(container["Id"])[:12]


def _command(words: list[str], full: bool) -> str:
    text = " ".join(words)
    return text if full or len(text) <= 17 else text[:17] + "..."


def _moment(seconds: float) -> str:
    """``2026-11-23 14:54:48 +0000 UTC``, in the local zone, as Go prints a time."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(seconds))


def _size(size: Mapping[str, Any] | None) -> str:
    if not size:
        return ""
    own, whole = (render.size(size[key]).replace(" ", "") for key in ("rwSize", "rootFsSize"))
    return f"{own} (virtual {whole})"


def _span(first: int, count: int) -> str:
    return str(first) if count == 1 else f"{first}-{first + count - 1}"
