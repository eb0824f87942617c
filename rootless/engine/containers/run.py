"""``run``: a container from its image to its exit code, or in the background."""

from __future__ import annotations

import os
import time

from rootless import network as networks
from rootless.engine import events
from rootless.engine.containers import cgroup
from rootless.engine.containers.create import prepare
from rootless.engine.containers.plan import compile_plan
from rootless.runtime import launch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from rootless.engine.containers.container import Container
    from rootless.engine.context import Engine
    from rootless.network import Network
    from rootless.network.helper import NetworkHandle
    from storage.locks import Lock


def run(engine: Engine, values: Mapping[str, Any], image_name: str, arguments: Sequence[str]) -> int | str:
    """Make a container and start it: its exit code, or with ``detach`` its id, as soon as it runs."""
    temporary = bool(values.get("rm"))
    launch.check_descriptors(values.get("preserve_fds"))
    container, network, lock = prepare(engine, values, image_name, arguments, durable=not temporary)
    with lock:
        if is_direct(container.record, values):
            try:
                return direct(engine, container, network)
            finally:
                from rootless.engine.containers.removal import discard

                discard(engine, container.id, True)
        return supervised(engine, container, network, lock, bool(values.get("detach")))


def is_direct(record: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether the container needs no monitor: it has the caller's own streams, and is gone when it ends."""
    options = record["options"]
    wants_log = values.get("log_driver") in ("k8s-file", "json-file", "journald") or values.get("log_opt")
    notifies = "NOTIFY_SOCKET" in os.environ and options["sdnotify"] != "ignore"
    checked = record.get("health")
    more = values.get("detach") or options["tty"] or options["attach"] or options["timeout"]
    return bool(record["rm"] and not (more or wants_log or notifies or checked))


def direct(engine: Engine, container: Container, network: Network) -> int:
    """Start a ``--rm`` container with the caller's own streams, and wait for its end. The caller holds its lock.

    Raises RootlessError when it cannot be started; what was started for it is gone then.
    """
    options = container.record["options"]
    handles: list[NetworkHandle] = []

    def attach(pid: int) -> None:
        handle = networks.attach(network, pid)
        if handle is not None:
            handles.append(handle)

    def write() -> None:
        container.write(durable=False, startable=False)
        from rootless.engine.containers import removal, running, stdio  # noqa: F401 - loaded now, needed later

    given = (0, 1, 2)
    null = -1
    if not options["interactive"]:
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        given = (null, 1, 2)
    control = cgroup.prepare(engine, container, supervise=False)
    try:
        plan = compile_plan(engine, container, control, cleanup=True)
        if plan.keeper:
            from rootless.engine.containers import keeping

            keeping.open_gate(engine, container, plan.keeper)
        process = launch.create(plan, given, attach, meanwhile=write, place=control.place)
        try:
            if null >= 0:
                os.close(null)
            for handle in handles:
                handle.wait_ready()
            from rootless.engine.containers.running import record_running

            record_running(engine, container, process, control, time.time_ns())
            events.note(engine, "container", "start", container.id, container.record)
            from rootless.engine.containers.stdio import follow

            code = follow(process, sig_proxy=options["sig_proxy"])
            events.note(engine, "container", "died", container.id, container.record, code)
            return code
        except BaseException:
            process.close()
            raise
    finally:
        for handle in handles:
            handle.close()
        control.remove()


def supervised(engine: Engine, container: Container, network: Network, lock: Lock, detach: bool) -> int | str:
    """Start a container with a monitor; its id at once, or its exit code when it has ended."""
    from rootless.engine.containers import supervised as monitors
    from rootless.errors import RootlessError
    from storage.errors import StorageError

    try:
        started = monitors.start(engine, container, network, lock, owned=not detach, written=False)
    except (RootlessError, StorageError):
        if container.record["rm"]:
            from rootless.engine.containers.removal import discard

            discard(engine, container.id, True)
        raise
    if detach:
        return container.id
    from rootless.engine.containers.attach import own

    return own(engine, container.id, container.record, started)
