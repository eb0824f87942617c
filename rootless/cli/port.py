"""``port``: where the ports of containers are published."""

from __future__ import annotations

from rootless.cli import render
from rootless.engine.containers.listing import list_containers
from rootless.engine.containers.status import status
from rootless.engine.context import open_engine
from rootless.errors import RootlessError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Values = dict[str, Any]


def port(values: Values, args: list[str], global_values: Values) -> int:
    """``port``: ``80/tcp -> 0.0.0.0:8080`` for each, or the host's address of the one asked for; 125 if it has none.

    As with podman, the ports of a container that does not run are none.
    """
    everything, latest = bool(values.get("all")), bool(values.get("latest"))
    if everything and latest:
        raise UsageError("cannot use --all and --latest together")
    if (everything and args) or (latest and len(args) > 1):
        raise UsageError("cannot name a container together with --all or --latest")
    if not (everything or latest or args):
        raise UsageError("you must supply a running container name or id", "name a container, or use --all")
    engine = open_engine(global_values)
    wanted = args[0] if latest and args else args[1] if len(args) > 1 else ""
    if everything or latest:
        rows = list_containers(engine, {"latest": True} if latest else {})
        found = [(str(row["Id"]), row["Ports"] or []) for row in rows if row["State"] in ("running", "paused")]
    else:
        container_id = engine.store.containers.find(args[0])
        published = engine.store.containers.load(container_id).get("ports") or []
        found = [(container_id, published)] if status(engine, container_id).state in ("running", "paused") else []
    asked = _asked(wanted) if wanted else None
    lines = []
    for container_id, ports in found:
        for mapping in ports:
            for inside, protocol, address in _each(mapping):
                if asked is None:
                    prefix = f"{container_id[:12]}\t" if everything else ""
                    lines.append(f"{prefix}{inside}/{protocol} -> {address}\n")
                elif asked == (inside, protocol):
                    lines.append(f"{address}\n")
    if asked and found and not lines:
        hint = "rootless port CONTAINER lists those that are published"
        raise RootlessError(f'failed to find published port "{wanted}"', hint)
    render.write("".join(lines))
    return 0


def _asked(text: str) -> tuple[int, str]:
    number, slash, protocol = text.partition("/")
    if not (number.isascii() and number.isdigit()) or len(number) > 5 or (slash and not protocol) or "/" in protocol:
        raise UsageError(f"cannot use the port {text[:40]!r}", "write it as PORT or PORT/PROTOCOL, like 80/tcp")
    return int(number), protocol or "tcp"


def _each(mapping: Mapping[str, Any]) -> list[tuple[int, str, str]]:
    """(port in the container, protocol, address of the host) for every port of a published range."""
    host = mapping.get("host_ip") or "0.0.0.0"
    if ":" in host:
        host = f"[{host}]"
    first, outside = int(mapping["container_port"]), int(mapping.get("host_port") or 0)
    protocol = str(mapping.get("protocol") or "tcp")
    return [(first + step, protocol, f"{host}:{outside + step}") for step in range(int(mapping.get("range") or 1))]
