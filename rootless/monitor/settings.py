"""What the engine tells the monitor: for the eye and the type checker alone, no process loads it."""

from __future__ import annotations

from typing import Any, TypedDict


class Settings(TypedDict):
    """What the engine hands over. Descriptors are -1 where there is none; times are nanoseconds since the epoch.

    ``master``: the container's terminal, else ``stdout``, ``stderr`` and ``stdin`` are the ends of its pipes.
    ``owner``: the connection of the caller who waits in the foreground. ``lock``: holds the container's
    directory. ``helper`` and ``helper_fds``: the network's helper ends when the descriptors are closed.
    ``engine``: the command line of the engine, to which a verb is appended. ``policy`` and ``retries``: of
    --restart. ``timeout``: seconds after which the container is killed, 0 for never. ``stop_signal`` asks it to
    end, and ``stop_timeout`` seconds later it is killed. ``events``: the file of events, open as
    ``events_fd``, and ``event`` what it says of this container. ``exit``, ``reserve``: see storage.layout. ``notify``:
    the socket that takes the container's messages for the service ``manager``. ``started``: 0 if the program waits
    for its start. ``health``: see `rootless.monitor.health`; None for a container that is not checked.
    """

    id: str
    directory: str
    run: str
    pid: int
    pidfd: int
    master: int
    stdout: int
    stderr: int
    stdin: int
    listener: int
    owner: int
    lock: int
    log: dict[str, Any]
    helper: int
    helper_fds: list[int]
    helper_waits: bool
    cgroup: str
    engine: list[str]
    started: int
    policy: str
    retries: int
    restarts: int
    rm: bool
    timeout: int
    stop_signal: int
    stop_timeout: int
    events: str
    events_fd: int
    event: dict[str, Any]
    exit: str
    reserve: str
    notify: int
    manager: str
    health: dict[str, Any] | None
