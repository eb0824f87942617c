"""The keeper of a container with a single id (`rootless.init.keeper`), from the engine's side."""

from __future__ import annotations

from rootless.engine.containers.running import make_run_directory
from rootless.init import keeper as service
from rootless.init import wire
from rootless.init.plan import Keeper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.engine.containers.container import Container
    from rootless.engine.context import Engine
    from rootless.idmaps import IdMap


def keeper(container: Container) -> Keeper | None:
    """What a start needs of it, where the container has root and nobody else."""
    return Keeper(container.directory) if service.is_needed(container.idmap) else None


def open_gate(engine: Engine, container: Container, wanted: Keeper) -> None:
    """Make the socket at which processes that join the container will find it."""
    wanted.gate = wire.listen(make_run_directory(engine, container.id), service.SOCKET)


def reach(engine: Engine, container_id: str, idmap: IdMap) -> Keeper | None:
    """The way to the keeper of a container that runs, for a process that joins it; without a channel if it has ended.
    """
    if not service.is_needed(idmap):
        return None
    try:
        return Keeper(channel=wire.connect(engine.run_directory(container_id), service.SOCKET))
    except OSError:
        return Keeper()
