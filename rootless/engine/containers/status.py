"""Whether a container runs: computed each time from its process, never stored (architecture, decision 5)."""

from __future__ import annotations

import os
import time

from rootless.errors import RootlessError
from rootless.runtime import state as runtime_state
from storage import atomic, jsonfast
from storage.errors import NoSpaceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rootless.engine.context import Engine

KILLED = 128 + 9
"""The exit code of a container whose end nobody saw: it dies with its caller, by SIGKILL."""


_CLAIMED = 1
"""Seconds within which whoever makes a container has taken its lock."""

STARTED = "started"
"""The annotation of the runtime's state that holds when the program was let go, in nanoseconds since the epoch."""


class Status:
    """``state`` is created, running or exited. Times are nanoseconds since the epoch, 0: never. ``pid``: the host's."""

    __slots__ = ("error", "exit_code", "finished", "pid", "started", "state")

    def __init__(self, state: str, pid: int, started: int, finished: int, exit_code: int, error: str) -> None:
        self.state = state
        self.pid = pid
        self.started = started
        self.finished = finished
        self.exit_code = exit_code
        self.error = error


def _read(path: str) -> dict[str, Any]:
    """A small JSON object; empty when it is missing or damaged (its container then counts as not running)."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return {}
    try:
        value = jsonfast.loads(os.read(fd, 1 << 16))
    except ValueError:
        return {}
    finally:
        os.close(fd)
    return value if isinstance(value, dict) else {}


def status(engine: Engine, container_id: str) -> Status:
    """What a container does now. A run that left no end behind (power cut, killed caller) counts as killed."""
    layout = engine.store.layout
    try:
        live = runtime_state.read(layout.container_run(container_id))
    except FileNotFoundError:
        live = None
    except RootlessError:
        live = {"pid": 0}
    last = _read(layout.container_exit(container_id))
    started = _number(last.get("started"))
    if live is not None and not started:
        text = (live.get("annotations") or {}).get(STARTED, "")
        started = int(text) if text.isdigit() else 0
    if live is not None and runtime_state.status(live) == "running":
        return Status("running", live["pid"], started, 0, 0, "")
    if not started and live is None:
        return Status("created", 0, 0, 0, 0, "")
    finished = _number(last.get("finished"))
    code = last.get("exit_code")
    error = last.get("error")
    return Status(
        "exited", 0, started, finished or started, code if isinstance(code, int) else KILLED,
        error if isinstance(error, str) else "",
    )  # fmt: skip


def is_abandoned(engine: Engine, record: Mapping[str, Any], state: str) -> bool:
    """Whether nobody will start or remove a container any more, unless its lock says otherwise.

    That is a ``--rm`` container that has run, and one without what a start needs: ``create`` writes that last, and
    ``run --rm`` never.
    """
    if state != "created":
        return bool(record.get("rm")) and state == "exited"
    claimed = record.get("created", 0) < time.time_ns() - _CLAIMED * 1_000_000_000
    return claimed and not os.path.lexists(f"{engine.store.layout.container(record['id'])}/launch.json")


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def running_ids(engine: Engine) -> list[str]:
    """Candidates for running containers: those with a directory below RUN."""
    try:
        return os.listdir(engine.store.layout.engine_run)
    except OSError:
        return []


def record_start(engine: Engine, container_id: str, started: int) -> None:
    """Put down that a container was started, so that after a reboot it is not taken for one that never was."""
    data = jsonfast.dump_bytes({"started": started})
    atomic.write(engine.store.layout.container_exit(container_id), data, durable=False)


def record_exit(
    engine: Engine, container_id: str, started: int, finished: int, exit_code: int, error: str = ""
) -> None:
    """Put down how a run ended. On a disk that the container has filled the store's reserve is spent on it."""
    document = {"started": started, "finished": finished, "exit_code": exit_code, "error": error}
    layout = engine.store.layout
    data = jsonfast.dump_bytes(document)
    try:
        atomic.write(layout.container_exit(container_id), data)
    except NoSpaceError:
        from storage import reserve

        reserve.spend(layout)
        atomic.write(layout.container_exit(container_id), data)
