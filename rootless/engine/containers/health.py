"""What is known of a container's health, and what a check's result makes of it.

It is one small JSON file: in the container's directory, or in that of ``--health-log-destination``, where podman has
it. The file is written whole, with the lock of the record held, and begins anew with each start; the results of earlier
runs stay in its ``Log``.
"""

from __future__ import annotations

import time

from rootless.engine.options.health import EVENTS, LOCAL, SECOND
from rootless.engine.times import rfc3339
from storage import atomic, jsonfast
from storage.locks import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TypedDict

    from rootless.engine.context import Engine

    Record = Mapping[str, Any]

    class Health(TypedDict):
        """``Status``: starting, healthy or unhealthy; ``Log``: the results that are kept, oldest first.

        ``since`` is when this run began, in nanoseconds of CLOCK_BOOTTIME. ``passed``: there is no startup check to be
        tried (any more); ``successes`` and ``failures`` count those of the startup check.
        """

        Status: str
        FailingStreak: int
        Log: list[dict[str, Any]]
        since: int
        passed: bool
        successes: int
        failures: int

else:
    Record = dict

STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
RESTART = "restart"

_LARGEST = 64 << 20


def now() -> int:
    """Nanoseconds of the clock that neither stands still while the machine sleeps nor is ever set."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def new(health: Record, since: int) -> Health:
    """The state of a container with the check ``health`` (rootless.engine.options.health) that begins to run."""
    return {
        "Status": STARTING,
        "FailingStreak": 0,
        "Log": [],
        "since": since,
        "passed": not health["startup"],
        "successes": 0,
        "failures": 0,
    }


def path(engine: Engine, record: Record) -> str:
    """The file of the container with this record."""
    place = record["health"]["destination"]
    if place in (LOCAL, EVENTS):
        return engine.store.layout.container_health(record["id"])
    return f"{place}/{record['id']}-healthcheck.log"


def lock(engine: Engine, record: Record) -> Lock:
    """The lock of who changes the file, to be held from reading to writing."""
    return Lock(engine.store.layout.container_record_lock(record["id"]))


def read(engine: Engine, record: Record) -> Health:
    """What is known; a file that is missing or damaged says nothing."""
    found = new(record["health"], 0)
    try:
        value = jsonfast.loads(atomic.read(path(engine, record), _LARGEST))
    except (OSError, ValueError):
        return found
    if isinstance(value, dict):
        for key, default in found.items():
            if type(value.get(key)) is type(default):
                found[key] = value[key]  # type: ignore[literal-required]
    return found


def write(engine: Engine, record: Record, state: Health) -> None:
    """Keep it; it need not outlive a power cut. Raises StorageError."""
    atomic.write(path(engine, record), jsonfast.dump_bytes(state), durable=False)


def begin(engine: Engine, record: Record) -> None:
    """The container starts: nothing is known of its health yet. Raises StorageError."""
    with lock(engine, record):
        state = new(record["health"], now())
        state["Log"] = read(engine, record)["Log"]
        write(engine, record, state)


def clock(record: Record, started: bool) -> dict[str, Any]:
    """What the monitor is to know of the check, see rootless.monitor.health."""
    health = record["health"]
    return {
        "interval": seconds(health["startup"] or health["check"]),
        "started": started,
        "ready": record["options"]["sdnotify"] == HEALTHY,
    }


def seconds(check: Mapping[str, Any]) -> float:
    """The time between two checks; -1 where none are made by the clock."""
    return float(check["Interval"] / SECOND) if check["Interval"] else -1.0


def suffix(engine: Engine, record: Record) -> str:
    """What ``ps`` adds to the status of a running container."""
    return f" ({read(engine, record)['Status']})"


def shown(engine: Engine, record: Record) -> dict[str, Any]:
    """The health as ``inspect`` has it."""
    state = read(engine, record)
    return {"Status": state["Status"], "FailingStreak": state["FailingStreak"], "Log": state["Log"] or None}


def config(record: Record) -> dict[str, Any]:
    """The settings of the check as ``inspect`` has them."""
    health = record["health"]
    found = {
        "Healthcheck": {key: value for key, value in health["check"].items() if value},
        "HealthcheckOnFailureAction": health["on_failure"],
        "HealthLogDestination": health["destination"],
        "HealthcheckMaxLogCount": health["log_count"],
        "HealthcheckMaxLogSize": health["log_size"],
    }
    if health["startup"]:
        found["StartupHealthCheck"] = {key: value for key, value in health["startup"].items() if value}
    return found


class Result:
    """How a check ended: ``began`` and ``ended`` in nanoseconds since the epoch, its exit code (-1: it was killed when
    its time was over) and its output. ``after``: nanoseconds from the container's start to the check's."""

    __slots__ = ("after", "began", "code", "ended", "output", "startup")

    def __init__(self, *, startup: bool, after: int, began: int, ended: int, code: int, output: str) -> None:
        self.startup = startup
        self.after = after
        self.began = began
        self.ended = ended
        self.code = code
        self.output = output


class Verdict:
    """What follows from a result: ``action`` is none, kill, restart or stop; ``wait`` the seconds until the next check,
    0 for at once and -1 for never."""

    __slots__ = ("action", "wait")

    def __init__(self, action: str, wait: float) -> None:
        self.action = action
        self.wait = wait


def judge(health: Record, state: Health, result: Result) -> Verdict:
    """Put a result into ``state``.

    A success makes a container healthy. A failure counts after the start period, and as many in a row as
    ``--health-retries`` says make it unhealthy. A startup check that fails makes no container unhealthy, but as many
    failures as ``--health-startup-retries`` says restart it.
    """
    check = health["check"]
    lenient = result.startup or result.after < check["StartPeriod"]
    action = "none"
    wait = seconds(check)
    if result.code == 0:
        state["Status"], state["FailingStreak"] = HEALTHY, 0
    elif not lenient:
        state["FailingStreak"] += 1
        if state["FailingStreak"] >= check["Retries"]:
            state["Status"] = UNHEALTHY
            action = health["on_failure"]
    if result.startup and health["startup"] and not state["passed"]:
        passed, action = _count_startup(health["startup"], state, result.code == 0)
        wait = min(wait, 0.0) if passed else seconds(health["startup"])
    elif state["Status"] == STARTING and lenient and check.get("StartInterval") and wait >= 0:
        wait = float(check["StartInterval"] / SECOND)
    entry = {
        "Start": rfc3339(result.began),
        "End": rfc3339(result.ended),
        "ExitCode": result.code,
        "Output": result.output,
    }
    state["Log"] = [*state["Log"], entry][-health["log_count"] :]
    return Verdict(action, wait)


def _count_startup(startup: Mapping[str, Any], state: Health, good: bool) -> tuple[bool, str]:
    """Count a result of the startup check: (whether there were enough good ones, what is to be done)."""
    if good:
        state["successes"] += 1
        state["passed"] = state["successes"] >= max(1, startup["Successes"])
        return state["passed"], "none"
    state["failures"] += 1
    too_many = startup["Retries"] and state["failures"] >= startup["Retries"]
    return False, RESTART if too_many else "none"
