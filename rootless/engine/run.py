"""``run``: a container in the foreground, from its image to its exit code."""

from __future__ import annotations

import os
import time

from rootless import network as networks
from rootless.engine.create import prepare
from rootless.engine.status import record_exit, record_start
from rootless.runtime import launch, plan, state
from rootless.security import seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from rootless.engine.container import Container
    from rootless.engine.context import Engine
    from rootless.network import Network
    from rootless.runtime.launch import Process


def run(engine: Engine, values: Mapping[str, Any], image_name: str, arguments: Sequence[str]) -> int:
    """Make a container, start it in the foreground and wait for it; its exit code. ``rm``: then remove it."""
    temporary = bool(values.get("rm"))
    container, network = prepare(engine, values, image_name, arguments, durable=not temporary)
    with engine.store.containers.lock(container.id):
        try:
            return foreground(engine, container, network)
        finally:
            if temporary:
                from rootless.engine.removal import discard

                discard(engine, container.id, True)


def foreground(engine: Engine, container: Container, network: Network) -> int:
    """Start a container that is ready, connect it to the caller, and wait for its end. The caller holds its lock."""
    process = launch.create(compile_plan(engine, container), (0, 1, 2), None)
    process.start()
    return process.wait()


def compile_plan(engine: Engine, container: Container) -> Any:
    extras = dict(container.extras)
    record = container.record
    profile = record["seccomp"]
    if profile == "unconfined":
        extras["seccomp"] = None
    else:
        bounding = container.spec["process"]["capabilities"]["bounding"]
        path = None if profile == "default" else profile
        extras["seccomp"] = seccomp.program(path, bounding, record["options"]["hardened"])
    return plan.compile(container.spec, container.rootfs, container.idmap, extras)
