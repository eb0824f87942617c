"""`exec`. Nothing may be imported here that it does not need."""

from __future__ import annotations

import os

from rootless.engine.context import open_engine
from rootless.errors import RootlessError, UsageError
from rootless.runtime import descriptors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rootless.engine.context import Engine

    Values = dict[str, Any]

_LONGEST_ID = 256
_POLL = 0.05


def run(values: Values, args: list[str], global_values: Values) -> int:
    """``exec``: the exit code is that of the command; with ``--detach`` the ID of the session is printed."""
    from rootless.engine.containers import exec as sessions

    preserved = descriptors.preserved(values.get("preserve_fds"), values.get("preserve_fd") or ())
    latest, cidfile = values.get("latest"), values.get("cidfile") or ""
    if latest and cidfile:
        raise UsageError("cannot use --latest together with --cidfile")
    named = not latest and not cidfile
    if named and not args:
        raise UsageError("exec requires the name or ID of a container, or --latest or --cidfile")
    command = args[1:] if named else args
    if not command:
        raise UsageError("cannot execute nothing: name a command after the container")
    engine = open_engine(global_values)
    name = args[0].removeprefix("/") if named else _latest(engine) if latest else _read_id(cidfile)
    if values.get("wait"):
        _await_start(engine, name, values["wait"])
    container_id = engine.store.containers.find(name)
    if not values.get("detach"):
        return sessions.run(engine, container_id, values, command, preserved)
    from rootless.cli import render

    render.line(sessions.run_detached(engine, container_id, values, command, preserved))
    return 0


def _latest(engine: Engine) -> str:
    from rootless.engine.containers.listing import list_containers

    found = list_containers(engine, {"latest": True})
    if not found:
        raise RootlessError("cannot find the latest container: there is none")
    return str(found[0]["Id"])


def _read_id(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.fsdecode(os.read(fd, _LONGEST_ID)).partition("\n")[0]
        finally:
            os.close(fd)
    except OSError as error:
        raise RootlessError(f"cannot read the container ID file {path}: {error.strerror}") from None


def _await_start(engine: Engine, name: str, seconds: str) -> None:
    """Wait until the container is there and runs; what is wrong with it after the time is told as without waiting."""
    import time

    from rootless.engine.containers.status import status
    from storage.errors import NotFoundError

    deadline = time.monotonic() + int(seconds)
    while time.monotonic() < deadline:
        try:
            if status(engine, engine.store.containers.find(name)).state == "running":
                return
        except NotFoundError:
            pass
        time.sleep(_POLL)
