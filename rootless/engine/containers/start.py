"""``start``, ``init``, ``resume``: a container that was made before runs, for the first time or once more."""

from __future__ import annotations

import os
import time

from rootless import network as networks
from rootless.engine import events
from rootless.engine.containers import files, supervised
from rootless.engine.containers.container import Container, load
from rootless.engine.containers.create import SECURITY_MODULES
from rootless.engine.containers.removal import discard, take_lock
from rootless.engine.containers.status import STARTED, record_start, status
from rootless.engine.containers.user_mounts import is_empty
from rootless.errors import InUseError, NotFoundError, RootlessError
from rootless.runtime import launch, state
from storage.errors import StorageError
from storage.locks import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NoReturn

    from rootless.engine.containers.supervised import Supervised
    from rootless.engine.context import Engine
    from rootless.network import Network


def start(engine: Engine, container_id: str, name: str) -> None:
    """Start a container in the background; one that runs is left as it is."""
    current = status(engine, container_id).state
    if current in ("running", "restarting"):
        return
    if current == "paused":
        raise RootlessError(
            f"cannot start container {name}: it is paused: container state improper", f"rootless unpause {name}"
        )
    if current == "initialized":
        let_go(engine, container_id)
    else:
        begin_unless_begun(engine, container_id, name, {})


def attached(engine: Engine, container_id: str, name: str, values: Mapping[str, Any]) -> int:
    """Start a container in the foreground: its exit code. To one that runs the caller is attached."""
    from rootless.engine.containers import attach

    current = status(engine, container_id).state
    if current in ("running", "paused", "initialized"):
        if current == "initialized":
            let_go(engine, container_id)
    else:
        started = begin_unless_begun(engine, container_id, name, values, owned=True)
        if started:
            record = engine.store.containers.load(container_id)
            _choose_streams(record["options"], values)
            return attach.own(engine, container_id, record, started)
    return attach.attach(engine, name, {**values, "no_stdin": not values.get("interactive")})


def begin_unless_begun(
    engine: Engine, container_id: str, name: str, values: Mapping[str, Any], *, owned: bool = False
) -> Supervised | None:
    """As `begin`; None where another command has just started the container, which is what was wanted."""
    try:
        return begin(engine, container_id, name, values, owned=owned)
    except InUseError:
        if status(engine, container_id).state not in ("running", "restarting"):
            raise
        return None


def init(engine: Engine, container_id: str, name: str) -> None:
    """Make the container with all its namespaces and mounts; its program waits for ``start``."""
    current = status(engine, container_id).state
    if current not in ("created", "exited"):
        raise RootlessError(f"cannot init container {name}: it is {current}: container state improper")
    begin(engine, container_id, name, {}, go=False)


def let_go(engine: Engine, container_id: str) -> None:
    """Start the program of a container that was initialized."""
    directory = engine.run_directory(container_id)
    found = state.read(directory)
    launch.release(launch.knock(directory), b"")
    started = time.time_ns()
    found["started"] = True
    found["annotations"] = {STARTED: str(started)}
    state.write(directory, found)
    record_start(engine, container_id, started)
    record = engine.store.containers.load(container_id)
    events.note(engine, "container", "start", container_id, record)
    if record.get("health"):
        from rootless.engine.containers import healthcheck

        healthcheck.begin(engine, record)


def begin(
    engine: Engine, container_id: str, name: str, values: Mapping[str, Any], *, owned: bool = False, go: bool = True
) -> Supervised:
    """Start a container that does not run. ``values``: those of ``start``."""
    try:
        lock = take_lock(engine, container_id)
    except InUseError as error:
        code = RootlessError.exit_code
        raise InUseError(f"cannot start container {name}: another command is using it", exit_code=code) from error
    if lock is None:
        raise NotFoundError(f"no container with name or ID {name!r} found: no such container")
    with lock:
        container, network = reload(engine, container_id)
        _choose_streams(container.record["options"], values)
        try:
            return supervised.start(engine, container, network, lock, owned=owned, let_go=go)
        except (RootlessError, StorageError):
            if container.record["rm"]:
                discard(engine, container_id, True)
            raise


def reload(engine: Engine, container_id: str) -> tuple[Container, Network]:
    """The container as it was made, with what may have changed since: the network, and volumes no longer empty."""
    container = load(engine, container_id)
    copy_up = container.extras.get("copy_up") or []
    container.extras["copy_up"] = [(path, volume) for path, volume in copy_up if is_empty(volume)]
    for scratch in ("merged", "work"):
        path = container.rootfs.get(scratch)
        if path and str(path).startswith(container.directory) and not os.path.isdir(str(path)):
            raise RootlessError(f"cannot start container {container.id[:12]}: its directory {scratch} is missing")
    work = str(container.rootfs.get("work") or "")
    if "volatile" in container.rootfs.get("options", ()) and os.path.isdir(f"{work}/work"):
        # Such an overlay is mounted once: the kernel cannot tell another start from one after a power cut.
        engine.delete_tree(work)
        os.mkdir(work, 0o700)
    network = networks.choose(container.record["network"], container.record["ports"])
    taken = {mount["Destination"] for mount in container.record["mounts"]}
    hostname = container.spec.get("hostname") or os.uname().nodename
    files.write(container.directory, container.record, hostname, network, taken)
    if container.record["security"] or any(os.path.exists(path) for path in SECURITY_MODULES):
        from rootless.engine.containers import labels

        labels.refresh(container)
    record = container.record
    if record.get("network_helper") != network.kind:
        record["network_helper"], record["network_why"] = network.kind, network.why
        engine.store.containers.save(container.id, record, False)
    if record["options"].get("strict") or record["options"].get("require"):
        from rootless.engine.containers import requirements

        requirements.check_again(engine, container, network)
    return container, network


def again(engine: Engine, container_id: str, lock_fd: int) -> NoReturn:
    """Start a container once more in this process, which was its monitor and holds its lock, by its restart policy."""
    lock = Lock(engine.store.layout.container(container_id), create=False)
    lock.fd = lock_fd
    os.set_inheritable(lock_fd, False)
    restarts = status(engine, container_id).restarts + 1
    try:
        container, network = reload(engine, container_id)
        supervised.lead(engine, container, network, lock, restarts=restarts)
    except (RootlessError, StorageError) as error:
        from rootless.engine.containers.status import record_exit

        record_exit(engine, container_id, time.time_ns(), time.time_ns(), error.exit_code, error.message)
        os._exit(error.exit_code)


def remove_after(engine: Engine, container_id: str, lock_fd: int) -> None:
    """Remove a ``--rm`` container in this process, which was its monitor and holds its lock."""
    lock = Lock(engine.store.layout.container(container_id), create=False)
    lock.fd = lock_fd
    with lock:
        discard(engine, container_id, True)


def resume(engine: Engine) -> list[tuple[str, Exception | None]]:
    """Start every container that its restart policy wants and that does not run, as after a reboot.

    Those are ``always``, ``unless-stopped`` where the user did not stop it, and ``on-failure`` where the last run
    failed or was cut short. (name, what went wrong or None) of each that was tried.
    """
    tried: list[tuple[str, Exception | None]] = []
    for container_id, record in engine.store.containers.list():
        policy = (record.get("restart") or ["no"])[0]
        current = status(engine, container_id)
        wanted = policy == "always" or (
            current.state == "exited"
            and not current.stopped
            and (policy == "unless-stopped" or (policy == "on-failure" and current.exit_code != 0))
        )
        if not wanted or current.state not in ("created", "exited") or (policy == "always" and not current.started):
            continue
        try:
            begin(engine, container_id, record["name"], {})
            tried.append((record["name"], None))
        except (RootlessError, StorageError) as error:
            tried.append((record["name"], error))
    return tried


def _choose_streams(options: dict[str, Any], values: Mapping[str, Any]) -> None:
    """What the flags of ``start`` change for this run."""
    if values.get("interactive"):
        options["interactive"] = True
    elif values.get("attach"):
        options["attach"] = options["attach"] or ["stdout", "stderr"]
    if values.get("sig_proxy") is False:
        options["sig_proxy"] = False
    if values.get("detach_keys") is not None:
        options["detach_keys"] = values["detach_keys"]
