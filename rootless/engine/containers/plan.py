"""The plan of a container's start, from what the engine keeps of the container."""

from __future__ import annotations

from rootless.runtime import plan
from rootless.security import seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.engine.containers.container import Container
    from rootless.engine.context import Engine
    from rootless.init.plan import Plan
    from rootless.runtime.cgroup import Control


def compile_plan(engine: Engine, container: Container, control: Control, *, cleanup: bool = False) -> Plan:
    """The flat plan, with the system call filter in it; shown with ``--debug``.

    ``cleanup``: the shim deletes what the container wrote, which belongs to its users, when it ends.
    """
    extras = dict(container.extras)
    profile = container.record["seccomp"]
    extras["seccomp"] = None
    if profile != "unconfined":
        bounding = container.spec["process"]["capabilities"]["bounding"]
        path = None if profile == "default" else profile
        options = container.record["options"]
        extras["seccomp"] = seccomp.program(path, bounding, options["hardened"], options.get("nested", False))
    if cleanup:
        extras["cleanup"] = [path for path in (container.rootfs["upper"], container.rootfs["work"]) if path]
    found = plan.compile(container.spec, container.rootfs, container.idmap, extras)  # type: ignore[arg-type]
    control.bound(found)
    if container.idmap.single():
        from rootless.engine.containers import keeping

        found.keeper = keeping.keeper(container)
    if engine.globals.get("debug"):
        for line in found.describe():
            engine.tell(line)
    return found
