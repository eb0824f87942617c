"""Whether a container runs: computed each time from its process, never stored (architecture, decision 5)."""

from __future__ import annotations

import os
import time

from rootless.errors import RootlessError
from rootless.runtime import state as runtime_state
from storage import atomic, jsonfast
from storage.errors import NoSpaceError
from storage.locks import is_held

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rootless.engine.context import Engine
    from rootless.runtime.state import State

KILLED = 128 + 9
"""The exit code of a container whose end nobody saw: it dies with its caller or its monitor, by SIGKILL."""


_PATIENCE = 1.0
"""Seconds that a monitor may take to put down an end."""

_CLAIMED = 1
"""Seconds within which whoever makes a container has taken its lock."""

STARTED = "started"
"""The annotation of the runtime's state that holds when the program was let go, in nanoseconds since the epoch."""


ALIVE = ("initialized", "running", "paused")
"""The states in which a container has processes."""


BUSY = (*ALIVE, "restarting")
"""The states in which somebody holds the container."""


class Status:
    """What a container does.

    ``state`` is created, initialized (its program waits for the start), running, paused, restarting (it will be started
    again) or exited. Times are nanoseconds since the epoch, 0: never. ``pid``: init's on the host; ``monitor``: its
    monitor's; ``cgroup``: the directory of its control group,
    made by ``cgroup_manager``, or why there is none. ``oom``: the last run was killed for want of memory;
    ``stopped``: the user ended it; ``restarts``: how often its policy has started it again.
    """

    __slots__ = (
        "cgroup", "cgroup_manager", "cgroup_why", "error", "exit_code", "finished", "monitor", "notes", "oom",
        "pid", "restarts", "started", "state", "stopped",
    )  # fmt: skip

    def __init__(self, state: str, live: Mapping[str, Any], last: Mapping[str, Any]) -> None:
        alive = state in ALIVE
        code, error = last.get("exit_code"), last.get("error")
        self.state = state
        self.pid: int = live["pid"] if alive else 0
        self.monitor: int = live.get("monitor", 0) if alive else 0
        self.cgroup: str = live.get("cgroup", "") if alive else ""
        self.cgroup_manager: str = live.get("cgroup_manager", "")
        self.cgroup_why: str = live.get("cgroup_why", "")
        self.notes: list[str] = live.get("notes", [])
        self.started = _number(last.get("started"))
        if not self.started and state != "initialized":
            text = (live.get("annotations") or {}).get(STARTED, "")
            self.started = int(text) if text.isdigit() else 0
        ended = state in ("exited", "restarting")
        self.finished = (_number(last.get("finished")) or self.started) if ended else 0
        self.exit_code = (code if isinstance(code, int) else KILLED) if ended else 0
        self.error = error if isinstance(error, str) and ended else ""
        self.oom = bool(last.get("oom")) and ended
        self.stopped = bool(last.get("stopped"))
        self.restarts = _number(last.get("restarts"))


def _read_exit(path: str) -> dict[str, Any]:
    """How the last run began, and ended if it has; empty for a container that has not run.

    Of a damaged file is known that the container has run, and when that was put down.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return {}
    try:
        data = os.read(fd, 1 << 16)
        value = jsonfast.loads(data)
        if isinstance(value, dict) and jsonfast.is_intact(data):
            return value
    except ValueError:
        pass
    finally:
        os.close(fd)
    return {"started": os.lstat(path).st_mtime_ns, "error": "its exit.json is damaged: how it ended is not known"}


def status(engine: Engine, container_id: str) -> Status:
    """What a container does now. A run that left no end behind (power cut, killed caller) counts as killed.

    An end that the monitor is about to put down is waited for.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        live, last = _documents(engine, container_id)
        found = runtime_state.status(live) if live else "exited"  # type: ignore[arg-type]
        if found != "exited" or not live or not _is_unwritten(live, last) or time.monotonic() > deadline:
            return _status(engine, container_id, found, live, last)
        time.sleep(0.002)


def _documents(engine: Engine, container_id: str) -> tuple[Mapping[str, Any] | None, dict[str, Any]]:
    """The state of the run, None if there is none, and how the last one that was put down began and ended."""
    layout = engine.store.layout
    last = _read_exit(layout.container_exit(container_id))
    try:
        return read_live(engine, container_id, last), last
    except FileNotFoundError:
        return None, last
    except RootlessError:
        return {"pid": 0}, last


def read_live(engine: Engine, container_id: str, last: Mapping[str, Any] | None = None) -> State:
    """The state of a container's run, found again where its file is gone or damaged while the container runs.

    ``last``: how the last run that was put down began and ended. Raises FileNotFoundError, or RootlessError for a
    damaged file.
    """
    layout = engine.store.layout
    directory = layout.container_run(container_id)
    try:
        return runtime_state.read(directory)
    except (FileNotFoundError, RootlessError):
        if last is None:
            last = _read_exit(layout.container_exit(container_id))
        begun = last and "finished" not in last
        if (begun or os.path.lexists(directory)) and is_held(layout.container(container_id)):
            from rootless.engine.containers.lost import regain

            if found := regain(engine, container_id, last):
                return found
        raise


def _is_unwritten(live: Mapping[str, Any], last: Mapping[str, Any]) -> bool:
    """Whether the monitor of a program that has ended lives, and has not put that down yet."""
    started = (live.get("annotations") or {}).get(STARTED, "0")
    monitor = live.get("monitor")
    if not monitor or started == "0" or ("finished" in last and str(last.get("started")) == started):
        return False
    if live.get("boot_id") != runtime_state.boot_id():
        return False
    return runtime_state.start_time(monitor) == live.get("monitor_start")


def _status(
    engine: Engine, container_id: str, found: str, live: Mapping[str, Any] | None, last: Mapping[str, Any]
) -> Status:
    """The answer, from the documents and what became of the run: running, created or exited."""
    layout = engine.store.layout
    if live is None:
        if last.get("restarting") and is_held(layout.container(container_id)):
            return Status("restarting", {}, last)
        return Status("exited" if last.get("started") or last.get("error") else "created", {}, last)
    if found == "exited" or _is_orphan(live):
        if last.get("restarting") and is_held(layout.container(container_id)):
            return Status("restarting", {}, last)
        never = not last.get("started") and (live.get("annotations") or {}).get(STARTED) == "0"
        return Status("created" if never and not last.get("error") else "exited", live, last)
    if found == "created":
        return Status("initialized", live, last)
    return Status("paused" if live.get("cgroup") and _is_frozen(live["cgroup"]) else "running", live, last)


def _is_orphan(live: Mapping[str, Any]) -> bool:
    """Whether the monitor was killed. The container dies with it; one that has asked not to is killed now."""
    monitor = live.get("monitor")
    if not monitor or runtime_state.start_time(monitor) == live.get("monitor_start"):
        return False
    from rootless.linux.pidfd import pidfd_open, pidfd_send_signal

    try:
        pidfd = pidfd_open(live["pid"])
    except ProcessLookupError:
        return True
    try:
        if runtime_state.start_time(live["pid"]) == live.get("start_time"):
            pidfd_send_signal(pidfd, 9)
    finally:
        os.close(pidfd)
    return True


def _is_frozen(cgroup: str) -> bool:
    try:
        fd = os.open(f"{cgroup}/cgroup.freeze", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.read(fd, 2)[:1] == b"1"
    finally:
        os.close(fd)


def is_abandoned(engine: Engine, record: Mapping[str, Any], state: str) -> bool:
    """Whether nobody will start or remove a container any more, unless its lock says otherwise.

    That is a ``--rm`` container that has run, and one without what a start needs: ``create`` writes that last, and
    ``run --rm`` never. One that has not even its name is locked by its maker, if he lives.
    """
    if state != "created":
        return bool(record.get("rm")) and state == "exited"
    if os.path.lexists(engine.store.layout.container_launch(record["id"])):
        return False
    # Far in the future is not recent either: the clock was put back.
    unclaimed = abs(time.time_ns() - record.get("created", 0)) > _CLAIMED * 1_000_000_000
    return unclaimed or not engine.store.containers.has_name(record["id"], record["name"])


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def running_ids(engine: Engine) -> list[str]:
    """Candidates for running containers: those with a directory below RUN."""
    try:
        return os.listdir(engine.store.layout.engine_run)
    except OSError:
        return []


def record_start(engine: Engine, container_id: str, started: int, restarts: int = 0) -> None:
    """Put down that a container was started, so that after a reboot it is not taken for one that never was."""
    data = jsonfast.seal(jsonfast.dump_bytes({"started": started, "restarts": restarts}))
    atomic.write(engine.store.layout.container_exit(container_id), data, durable=False)


def record_exit(
    engine: Engine, container_id: str, started: int, finished: int, exit_code: int, error: str = ""
) -> None:
    """Put down how a run ended. On a disk that the container has filled the store's reserve is spent on it."""
    document = {"started": started, "finished": finished, "exit_code": exit_code, "error": error}
    layout = engine.store.layout
    data = jsonfast.seal(jsonfast.dump_bytes(document))
    try:
        atomic.write(layout.container_exit(container_id), data)
    except NoSpaceError:
        from storage import reserve

        reserve.spend(layout)
        atomic.write(layout.container_exit(container_id), data)
