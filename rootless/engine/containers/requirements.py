"""``--strict`` and ``--require``: a container that would get less than is asked for is not started.

Looked at before anything is made for it, again at each further start, and once more when its control group is made.
"""

from __future__ import annotations

from rootless.cgroups.manager import USEFUL
from rootless.engine.containers import isolation
from rootless.engine.isolation import NAMES
from rootless.errors import RootlessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rootless.engine.containers.container import Container
    from rootless.engine.context import Engine
    from rootless.engine.isolation import Lines
    from rootless.engine.options.run import RunOptions
    from rootless.network import Network


def check(engine: Engine, options: RunOptions, name: str) -> None:
    """Refuse, with RootlessError, a new container that would get less here; ``name``: of its image or directory."""
    _refuse(engine, isolation.expected(engine, options, name), options.strict, options.require)


def check_again(engine: Engine, container: Container, network: Network) -> None:
    """Refuse the start of a container that was made where the machine gave more."""
    from rootless.cgroups import manager
    from rootless.engine.containers.cgroup import wished

    record = container.record
    options = record["options"]
    location = manager.choose(wished(engine, container.id, options, {}))
    lines = isolation.planned(record, container.spec, network, location)
    _refuse(engine, lines, bool(options.get("strict")), options.get("require") or [])


def of_cgroup(options: Mapping[str, Any]) -> list[str] | None:
    """The controllers that the container's group must have; None where it need not have a group."""
    names = [name for name in options.get("require") or () if NAMES.get(name) == "Cgroup"]
    strict = options.get("strict") and options.get("cgroups") != "disabled"
    if not names and not strict:
        return None
    found = {name.partition(".")[2] for name in names}
    return sorted(found.union(USEFUL if strict else ()) - {""})


def _refuse(engine: Engine, lines: Lines, strict: bool, names: list[str]) -> None:
    for name in names:
        line = lines[NAMES[name]]
        if name not in line["Has"]:
            what = f"cannot start the container without {name}, which --require asks for"
            raise RootlessError(f"{what}: it would get {line['Got']} ({line['Why']})", _hint(engine, NAMES[name]))
    for key, line in lines.items():
        if strict and line["Less"]:
            what = f"cannot start the container with less than --strict allows ({key})"
            raise RootlessError(f"{what}: it would get {line['Got']} ({line['Why']})", _hint(engine, key))


def _hint(engine: Engine, key: str) -> str:
    from rootless.engine.doctor import mend

    return mend(engine, key) or "rootless doctor shows what this machine gives containers"
