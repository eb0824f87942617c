"""``stop``, ``kill`` and ``wait``: the end of a container, and those who wait for it."""

from __future__ import annotations

import _socket
import os
import select
import time

from rootless.engine import events
from rootless.engine.containers.monitors import announce_stop, connect
from rootless.engine.containers.status import ALIVE, Status, status
from rootless.errors import RootlessError
from rootless.linux import signals
from rootless.linux.pidfd import pidfd_open, pidfd_send_signal
from rootless.monitor.frames import ENDED, PIECE, QUIET
from storage.errors import NotFoundError
from storage.locks import is_held

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from rootless.engine.context import Engine

_ENDING = (signals.SIGKILL, signals.SIGTERM, signals.SIGINT, signals.SIGQUIT)
_FIRST_NAP, _LONGEST_NAP = 0.001, 0.02  # seconds
_PATIENCE = 30.0
"""Seconds that the kernel may take to end a process, and a monitor to put that down."""

CONDITIONS = ("configured", "created", "exited", "healthy", "initialized", "paused", "removing", "running", "stopped",
              "stopping", "unhealthy", "unknown")  # fmt: skip


def stop(engine: Engine, container_id: str, timeout: str | float | None = None) -> None:
    """Ask a container to end, by its stop signal, then by SIGKILL; returns when that is put down. Others are left.

    ``timeout``: seconds between the two, -1 for ever; None means the container's own, which ``--stop-timeout`` set.
    """
    restarts = -1
    while True:
        current = status(engine, container_id)
        if current.state not in ALIVE and current.state != "restarting":
            return
        if current.restarts <= restarts:  # no further run by its policy, but one that another command has begun
            return
        restarts = current.restarts
        announce_stop(engine, container_id)
        if current.state != "restarting":
            record = engine.store.containers.load(container_id)
            seconds = record["options"]["stop_timeout"] if timeout in (None, "") else float(timeout or 0)
            number = signals.SIGKILL if current.state == "initialized" else record.get("stop_signal", signals.SIGTERM)
            _end(engine, container_id, current, number, seconds)
            events.note(engine, "container", "stop", container_id, record)
        if settle(engine, container_id, current.pid):
            return


def _end(engine: Engine, container_id: str, current: Status, number: int, seconds: float) -> None:
    pidfd = open_init(engine, container_id, current)
    if pidfd < 0:
        return
    try:
        for signal, patience in ((number, seconds), (signals.SIGKILL, _PATIENCE)):
            if patience == 0:
                continue
            if not pidfd_send_signal(pidfd, signal):
                return
            if current.state == "paused":
                thaw(current.cgroup)
            if _gone(pidfd, patience):
                return
    finally:
        os.close(pidfd)
    raise RootlessError(f"cannot stop container {container_id[:12]}: its process does not end")


def thaw(cgroup: str) -> None:
    """Let a paused container go on, so that it can take a signal."""
    try:
        fd = os.open(f"{cgroup}/cgroup.freeze", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(fd, b"0")
    finally:
        os.close(fd)


def open_init(engine: Engine, container_id: str, current: Status) -> int:
    """A descriptor of the container's first process; -1 when it has ended."""
    try:
        pidfd = pidfd_open(current.pid)
    except ProcessLookupError:
        return -1
    if status(engine, container_id).pid == current.pid:
        return pidfd
    os.close(pidfd)  # the pid was reused between the look and the open
    return -1


def _gone(pidfd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(None if seconds < 0 else seconds * 1000))


def settle(engine: Engine, container_id: str, pid: int) -> bool:
    """Wait until whoever ran the container has put down its end, and with ``--rm`` removed it.

    ``pid``: the first process of the run that ends, 0 for none. ``False``: there is a further run already.
    """
    path = engine.store.layout.container(container_id)
    deadline = time.monotonic() + _PATIENCE
    nap = _FIRST_NAP
    while is_held(path) and time.monotonic() < deadline:
        time.sleep(nap)
        nap = min(nap * 2, _LONGEST_NAP)
        if nap == _LONGEST_NAP and status(engine, container_id).pid not in (0, pid):
            return False
    return True


def kill(engine: Engine, container_id: str, name: str, number: int) -> None:
    """Send a signal to the first process of a running container.

    One that asks it to end is the user's wish: it is not restarted then. One that means something else, as HUP does for
    a program that reads its settings again, leaves the restart policy alone.
    """
    current = status(engine, container_id)
    pidfd = open_init(engine, container_id, current) if current.state in ALIVE else -1
    if pidfd < 0:
        message = f"cannot kill container {name}: can only kill running containers. {container_id[:12]} is in state"
        raise RootlessError(f"{message} {current.state}: container state improper")
    try:
        record = engine.store.containers.load(container_id)
        if number in _ENDING or number == record.get("stop_signal"):
            announce_stop(engine, container_id)
        pidfd_send_signal(pidfd, number)
        events.note(engine, "container", "kill", container_id, record, signal=str(number))
        if number == signals.SIGKILL:
            if current.state == "paused":
                thaw(current.cgroup)
            _gone(pidfd, _PATIENCE)
            settle(engine, container_id, current.pid)
    finally:
        os.close(pidfd)


def wait(engine: Engine, container_id: str, conditions: Sequence[str] = (), interval: float = 0.25) -> int:
    """Wait until a container is in one of the states ``conditions``, by default ended; its exit code, -1 for a state
    that has none. ``interval``: seconds between two looks, where the kernel cannot tell of the change."""
    wanted = {"exited" if word == "stopped" else word for word in conditions} or {"exited", "created"}
    healths = wanted & {"healthy", "unhealthy"}
    code = -1
    while True:
        try:
            record = engine.store.containers.load(container_id)
        except NotFoundError:
            return code
        current = status(engine, container_id)
        if current.state == "exited" and current.finished > current.started:
            code = current.exit_code  # as it was put down; --rm may remove it in the next moment
        if healths and _has_health(engine, record, current, wanted):
            return -1
        if current.state == "created" and not conditions:
            return 0
        if current.state in wanted:
            if current.state != "exited":
                return -1
            if current.finished and not is_held(engine.store.layout.container(container_id)):
                return current.exit_code
            if code >= 0 or not is_held(engine.store.layout.container(container_id)):
                return current.exit_code if code < 0 else code
        if wanted <= {"exited", "created"} and current.state in ALIVE:
            code = _await_end(engine, container_id, current, code)
        else:
            time.sleep(_LONGEST_NAP if current.state == "exited" else interval)


def _has_health(engine: Engine, record: Mapping[str, Any], current: Status, wanted: set[str]) -> bool:
    """Whether a container is as well, or as ill, as is waited for. Raises RootlessError if it never will be."""
    from rootless.engine.containers.health import read

    if not record.get("health"):
        raise RootlessError(
            f"cannot wait for the health of container {record['name']}: it has no defined healthcheck",
            "give --health-cmd when the container is created, or use an image with a HEALTHCHECK",
        )
    if current.state == "exited" and "exited" not in wanted:
        raise RootlessError(f"cannot wait for the health of container {record['name']}: it has ended")
    return current.state in ALIVE and read(engine, record)["Status"] in wanted


def _await_end(engine: Engine, container_id: str, current: Status, code: int) -> int:
    """Wait for the end of this run; the exit code as its monitor tells it, ``code`` where there is none."""
    connection = connect(engine, container_id)
    if connection:
        try:
            connection.send(QUIET, _socket.MSG_NOSIGNAL)
            while packet := connection.recv(PIECE):
                if packet[:1] == ENDED:
                    code = int(packet[1:])
        except OSError:
            pass
        connection.close()
        return code
    pidfd = open_init(engine, container_id, current)
    if pidfd >= 0:
        _gone(pidfd, -1)
        os.close(pidfd)
    settle(engine, container_id, current.pid)
    return code
