"""What the monitor does when the container has ended."""

from __future__ import annotations

import os
import time

from storage import atomic, eventlog, jsonfast
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NoReturn

    from rootless.monitor.settings import Settings

_REFUSED = 125
_FIRST_DELAY, _LONGEST_DELAY, _LONG_RUN = 0.1, 60.0, 10.0  # seconds


def restarts(settings: Settings, code: int) -> bool:
    """Whether ``--restart`` wants the container again after this exit code."""
    policy = settings["policy"]
    if policy in ("always", "unless-stopped"):
        return True
    left = not settings["retries"] or settings["restarts"] < settings["retries"]
    return policy == "on-failure" and code != 0 and left


def delay(settings: Settings, finished: int) -> float:
    """Seconds until a container that has ended is to be started again."""
    if finished - settings["started"] > _LONG_RUN * 1e9:
        return _FIRST_DELAY
    return min(_FIRST_DELAY * (1 << min(settings["restarts"], 16)), _LONGEST_DELAY)


def refuse(settings: Settings, error: str) -> None:
    """Put down why the monitor cannot begin: the container ends with it."""
    record(settings, _REFUSED, time.time_ns(), False, False, error)


def record(settings: Settings, code: int, finished: int, stopped: bool, again: bool, error: str = "") -> None:
    """Put down how the run ended: ``stopped`` by the user, or ``again`` is to be run. It is unknown without space."""
    document = {
        "started": settings["started"],
        "finished": finished,
        "exit_code": code,
        "error": error,
        "oom": was_out_of_memory(settings["cgroup"]),
        "stopped": stopped,
        "restarts": settings["restarts"],
        "restarting": again,
    }
    data = jsonfast.seal(jsonfast.dump_bytes(document))
    try:
        atomic.write(settings["exit"], data, durable=not settings["rm"])
    except StorageError:
        try:
            os.truncate(settings["reserve"], 0)
            atomic.write(settings["exit"], data)
        except (OSError, StorageError):
            pass


def tell(settings: Settings, code: int) -> None:
    """Put the end down in the log of events."""
    eventlog.append(settings["events"], **settings["event"], exit_code=code, older=settings["events_fd"])


def started(run: str) -> int:
    """When a container was let go that had waited for it, as its state says; nanoseconds since the epoch."""
    try:
        state = jsonfast.loads(atomic.read(f"{run}/state.json", 1 << 20))
        return int(state["annotations"]["started"])
    except (OSError, ValueError, LookupError, TypeError):
        return 0


def was_out_of_memory(cgroup: str) -> bool:
    """Whether the kernel killed something in the control group for want of memory."""
    if not cgroup:
        return False
    try:
        fd = os.open(f"{cgroup}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
        try:
            fields = os.read(fd, 4096).split()
        finally:
            os.close(fd)
    except OSError:
        return False
    return b"oom_kill" in fields and fields[fields.index(b"oom_kill") + 1] != b"0"


def end_helper(settings: Settings) -> None:
    """End the network's helper, see rootless.network.helper."""
    for fd in settings["helper_fds"]:
        os.close(fd)
    settings["helper_fds"] = []
    if settings["helper"] and settings["helper_waits"]:
        try:
            os.waitpid(settings["helper"], 0)
        except ChildProcessError:
            pass


def leave_cgroup(cgroup: str) -> None:
    """Remove the container's control group, which is empty now; a scope ends by itself."""
    if cgroup:
        for _ in range(20):
            try:
                os.rmdir(cgroup)
                return
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(0.005)


def forget(run: str) -> None:
    """Remove the container's directory below RUN: it does not run any more."""
    try:
        for name in os.listdir(run):
            try:
                os.unlink(f"{run}/{name}")
            except IsADirectoryError:
                for inner in os.listdir(f"{run}/{name}"):
                    os.unlink(f"{run}/{name}/{inner}")
                os.rmdir(f"{run}/{name}")
        os.rmdir(run)
    except OSError:
        return


def become_engine(settings: Settings, verb: str, *arguments: str, kept: Iterable[int] = ()) -> NoReturn:
    """Execute the engine in this process's place: ``monitor-VERB LOCK ID …``. ``kept`` descriptors stay open."""
    for fd in (settings["lock"], *kept):
        os.set_inheritable(fd, True)
    os.set_inheritable(settings["lock"], True)
    command = [*settings["engine"], f"monitor-{verb}", str(settings["lock"]), settings["id"], *arguments]
    try:
        os.execve(command[0], command, os.environ)
    finally:
        os._exit(1)
