"""``logs``: what containers have written, each stream to where it belongs."""

from __future__ import annotations

import os

from rootless.engine.containers.loglines import Wanted
from rootless.engine.containers.logs import logs as shown
from rootless.engine.context import open_engine
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Values = dict[str, Any]


def logs(values: Values, args: list[str], global_values: Values) -> int:
    """``logs``: as it was written, byte for byte."""
    if values.get("latest") and args:
        raise UsageError("cannot use --latest together with the names of containers")
    if not (values.get("latest") or args):
        raise UsageError("specify at least one container name or ID to log")
    wanted = Wanted(
        values,
        _moment(values, "since", False),
        _moment(values, "until", True),
        int(values.get("tail", -1)),
    )
    engine = open_engine(global_values)
    if values.get("latest"):
        from rootless.engine.containers.listing import list_containers

        ids = [str(found["Id"]) for found in list_containers(engine, {"latest": True})]
        if not ids:
            raise UsageError("cannot use --latest: there is no container")
    else:
        ids = [engine.store.containers.find(name) for name in args]
    for fd, data in shown(engine, ids, wanted):
        _write(fd, data)
    return 0


def _moment(values: Values, key: str, forward: bool) -> int:
    if not values.get(key):
        return 0
    from rootless.engine.times import parse_moment

    return parse_moment(values[key], f"--{key}", forward=forward)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError as error:
        from rootless.cli.report import of_output

        raise of_output(error) from None
