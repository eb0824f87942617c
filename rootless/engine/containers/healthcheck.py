"""``healthcheck run``: one check of a container's health, by hand or by the monitor's clock.

The check is a session of ``exec``, with all that such a one has of the container: its namespaces, user, environment,
control group and confinement. The monitor is told what came of it, and does what is to be done then.
"""

from __future__ import annotations

import os
import select
import time

from rootless.engine import events
from rootless.engine.containers import exec as sessions
from rootless.engine.containers import health
from rootless.engine.containers.monitors import tell
from rootless.engine.containers.status import status
from rootless.engine.options.health import EVENTS, SECOND, command
from rootless.errors import RootlessError
from rootless.linux import signals
from rootless.linux.pidfd import pidfd_open, pidfd_send_signal
from rootless.monitor.frames import CHECKED
from rootless.runtime import state as runtime_state
from storage.errors import NotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Mapping
    from typing import Any

    from rootless.engine.context import Engine
    from rootless.runtime.enter import Joined
else:
    import _signal

_PIECE = 1 << 16
_MOST_OUTPUT = 1_000_000  # bytes of a result that are kept at most
_MOST_TOLD = 8000  # characters of a result in an event
_ENDING = 200  # milliseconds after which a container that takes its processes with it has ended
_TIMED_OUT = -1
_SIGKILLED = 128 + 9
_ROUNDS = 64


def run(engine: Engine, container_id: str, name: str) -> str:
    """Check the health of a running container once: ``healthy``, ``unhealthy``, or ``starting`` if its startup check
    failed. A container that ends meanwhile gets no result.

    Raises RootlessError for one that has no check or does not run.
    """
    for number in (signals.SIGTERM, signals.SIGHUP):
        _signal.signal(number, _signal.default_int_handler)  # the check ends with this process
    record = engine.store.containers.load(container_id)
    settings = record.get("health")
    if not settings:
        raise RootlessError(
            f"cannot check the health of container {name}: it has no defined healthcheck",
            "give --health-cmd when the container is created, or use an image with a HEALTHCHECK",
        )
    current = status(engine, container_id)
    if current.state != "running":
        raise _not_running(name, current.state)
    before = health.read(engine, record)
    startup = bool(settings["startup"] and not before["passed"])
    check = settings["startup"] if startup else settings["check"]
    after, began = health.now() - before["since"], time.time_ns()
    code, output = _execute(engine, container_id, check, settings["log_size"] or _MOST_OUTPUT)
    ended = time.time_ns()
    if code and (found := _left(engine, container_id, current.pid, code)):
        raise _not_running(name, found)
    result = health.Result(startup=startup, after=after, began=began, ended=ended, code=code, output=output)
    try:
        with health.lock(engine, record):
            state = health.read(engine, record)
            if state["since"] != before["since"]:
                raise _not_running(name, "restarting")
            verdict = health.judge(settings, state, result)
            health.write(engine, record, state)
    except NotFoundError:
        raise _not_running(name, "removed") from None
    _tell(engine, record, state, result)
    _report(engine, container_id, f"{state['Status']} {verdict.wait} {verdict.action}")
    if code == 0:
        return health.HEALTHY
    return health.STARTING if startup else health.UNHEALTHY


def begin(engine: Engine, record: Mapping[str, Any]) -> None:
    """The program of a container that was only initialized has been started: its clock begins now."""
    health.begin(engine, record)
    wait = health.clock(record, True)["interval"]
    _report(engine, record["id"], f"{health.STARTING} {min(wait, 0.0)} none")


def change(engine: Engine, container_id: str, wanted: dict[str, Any] | None) -> None:
    """Give a container that runs, and is checked, another check (`rootless.engine.options.health`); None: no more."""
    old = engine.store.containers.load(container_id)
    state = health.read(engine, old)
    record = engine.store.containers.update(container_id, lambda found: found.update(health=wanted))
    wait = -1.0
    if wanted:
        with health.lock(engine, record):
            health.write(engine, record, state)
        first = wanted["startup"] if not state["passed"] else None
        wait = health.seconds(first or wanted["check"])
    _report(engine, container_id, f"{state['Status']} {wait} none")


def _not_running(name: str, state: str) -> RootlessError:
    return RootlessError(
        f"cannot check the health of container {name}: it is {state}, not running", f"rootless start {name}"
    )


def _tell(engine: Engine, record: Mapping[str, Any], state: health.Health, result: health.Result) -> None:
    """Put it down in the log of events."""
    told = {"health_status": state["Status"]}
    if state["FailingStreak"]:
        told["health_failing_streak"] = str(state["FailingStreak"])
    if record["health"]["destination"] == EVENTS:
        told["health_log"] = result.output[:_MOST_TOLD]
    events.note(engine, "container", "health_status", record["id"], record, None, **told)


def _report(engine: Engine, container_id: str, text: str) -> None:
    """Tell the monitor; returns when it has heard."""
    tell(engine, container_id, CHECKED + text.encode())


def _left(engine: Engine, container_id: str, pid: int, code: int) -> str:
    """The state for which the container has left running, so that a failure says nothing of its health; else empty."""
    try:
        pidfd = pidfd_open(pid)
    except OSError:
        return "exited"
    try:
        # The kernel kills all processes of a container first, and ends its first one when they are gone.
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if poll.poll(_ENDING if code == _SIGKILLED else 0):
            return "exited"
    finally:
        os.close(pidfd)
    current = status(engine, container_id)
    if current.state != "running":
        return current.state
    return "restarting" if current.pid != pid else ""


def _execute(engine: Engine, container_id: str, check: Mapping[str, Any], limit: int) -> tuple[int, str]:
    """(exit code, output): -1 for a check that took too long, 126 or 127 for one that cannot be executed."""
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            session = sessions.begin(engine, container_id, {}, command(check), (), (null, writer, writer), check=True)
        finally:
            os.close(writer)
            os.close(null)
        try:
            session.process.start()
            text, in_time = _collect(session.process, reader, check["Timeout"] / SECOND, limit)
        except BaseException:
            _kill(session.process)
            session.abandon()
            raise
        code = session.end()
    except RootlessError as error:
        return error.exit_code, error.message[:limit]
    finally:
        os.close(reader)
    shown = text.decode("utf-8", "replace")
    if in_time:
        return code, shown[:limit]
    return _TIMED_OUT, f"{shown}health check exceeded timeout of {check['Timeout'] / SECOND:g}s"[-limit:]


def _collect(process: Joined, reader: int, seconds: float, limit: int) -> tuple[bytes, bool]:
    """(the beginning of what the process writes until it ends, whether it ended in time). If not, it is killed."""
    deadline = time.monotonic() + seconds
    poll = select.poll()
    os.set_blocking(reader, False)
    poll.register(reader, select.POLLIN)
    poll.register(process.pidfd, select.POLLIN)
    text = b""
    running = True
    while True:
        # Who still holds the stream when the process has ended is not waited for.
        ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000 if running else 0)
        if not ready:
            if running:
                _kill(process)
            return text, not running
        for fd, _ in ready:
            if fd == process.pidfd:
                running = False
                poll.unregister(fd)
                continue
            data = os.read(reader, _PIECE)
            text = (text + data)[:limit]
            if not data:
                poll.unregister(fd)
        if running and time.monotonic() >= deadline:
            _kill(process)
            return text, False
        if not running and len(text) >= limit:
            return text, True


def _kill(process: Joined) -> None:
    """Kill the process and all that it has started. It adopts its orphans, so none of them gets away."""
    held: dict[tuple[int, int], int] = {}
    # They are stopped first: then no more come.
    for _ in range(_ROUNDS):
        found = [entry for entry in _family(process.pid) if entry not in held]
        if not found:
            break
        for pid, start in found:
            try:
                pidfd = pidfd_open(pid)
            except OSError:
                continue
            held[pid, start] = pidfd
            if runtime_state.start_time(pid) == start:
                pidfd_send_signal(pidfd, signals.SIGSTOP)
    for (pid, start), pidfd in held.items():
        if runtime_state.start_time(pid) == start:
            pidfd_send_signal(pidfd, signals.SIGKILL)
        os.close(pidfd)
    process.kill(signals.SIGKILL)  # also where /proc hides it


def _family(leader: int) -> list[tuple[int, int]]:
    """(pid, start time) of a process and its descendants, as far as they live."""
    parents: dict[int, list[int]] = {}
    starts: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb", buffering=0) as file:
                fields = file.read(4096).rpartition(b")")[2].split()
        except OSError:
            continue
        if fields[0] not in (b"Z", b"X"):
            parents.setdefault(int(fields[1]), []).append(int(name))
            starts[int(name)] = int(fields[19])
    found = [leader] if leader in starts else []
    for pid in found:
        found += parents.get(pid, ())
    return [(pid, starts[pid]) for pid in found]
