"""What is put down of a container that runs."""

from __future__ import annotations

import os

from rootless.engine.containers.status import STARTED, record_start
from rootless.errors import RootlessError
from rootless.runtime import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.engine.containers.container import Container
    from rootless.engine.context import Engine
    from rootless.runtime.cgroup import Control
    from rootless.runtime.launch import Process


def make_run_directory(engine: Engine, container_id: str) -> str:
    """The directory of a container's state, made if it is not there."""
    directory = engine.run_directory(container_id)
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        pass
    return directory


def record_running(
    engine: Engine, container: Container, process: Process, control: Control, started: int, restarts: int = 0
) -> None:
    """Put down that the container runs, or waits for its start; and its pid where the user wants that."""
    found = state.of_process(container.id, process.pid, container.directory)
    found["started"] = bool(started)
    found["annotations"] = {STARTED: str(started)}
    found["notes"] = process.notes
    control.note(found)
    if process.detached:
        found["monitor"] = os.getpid()
        found["monitor_start"] = state.start_time(os.getpid()) or 0
    state.write(make_run_directory(engine, container.id), found)
    # Of one that goes with its caller nothing is left after a reboot that could be taken for one that never ran.
    if started and (process.detached or not container.record["rm"]):
        record_start(engine, container.id, started, restarts)
    for key, pid in (("pidfile", process.pid), ("conmon_pidfile", os.getpid())):
        path = container.record["options"].get(key)
        if path:
            _write_pidfile(path, pid)


def _write_pidfile(path: str, pid: int) -> None:
    """Write a process ID to a file of the user's."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, str(pid).encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise RootlessError(f"cannot write the pid file {path}: {error.strerror}") from None
