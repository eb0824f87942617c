"""``pause`` and ``unpause``: the freezer of a container's control group."""

from __future__ import annotations

from rootless.cgroups.v2 import Cgroup
from rootless.engine import events
from rootless.engine.containers.cgroup import of_container
from rootless.engine.containers.status import status
from rootless.errors import RootlessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.engine.context import Engine


def pause(engine: Engine, container_id: str) -> None:
    """Stop every process of a running container where it is. Raises RootlessError."""
    state = status(engine, container_id).state
    if state != "running":
        raise RootlessError(f"cannot pause container {container_id[:12]}: it is {state}, not running")
    Cgroup(of_container(engine, container_id, "pause")).freeze()
    events.note(engine, "container", "pause", container_id, engine.store.containers.load(container_id))


def unpause(engine: Engine, container_id: str) -> None:
    """Let a paused container go on. Raises RootlessError."""
    state = status(engine, container_id).state
    if state != "paused":
        raise RootlessError(f"cannot unpause container {container_id[:12]}: it is {state}, not paused")
    Cgroup(of_container(engine, container_id, "unpause")).thaw()
    events.note(engine, "container", "unpause", container_id, engine.store.containers.load(container_id))
