"""The keeper of a container with a single id (`rootless.init.keeper`), from the engine's side."""

from __future__ import annotations

from rootless.engine.containers.running import make_run_directory
from rootless.init import keeper, wire
from rootless.init.plan import Keeper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.engine.containers.container import Container
    from rootless.engine.context import Engine
    from rootless.idmaps import IdMap
    from rootless.init.plan import Plan


def equip(engine: Engine, container: Container, plan: Plan) -> None:
    """Give a start its keeper, where the container has root and nobody else."""
    if keeper.is_needed(container.idmap):
        run = make_run_directory(engine, container.id)
        plan.keeper = Keeper(container.directory, wire.listen(run, keeper.SOCKET))


def reach(engine: Engine, container_id: str, idmap: IdMap) -> Keeper | None:
    """The way to the keeper of a container that runs, for a process that joins it; without a channel if it has ended.
    """
    if not keeper.is_needed(idmap):
        return None
    try:
        return Keeper(channel=wire.connect(engine.run_directory(container_id), keeper.SOCKET))
    except OSError:
        return Keeper()
