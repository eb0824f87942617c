"""``start``: run a container that was created before, or that ran before, once more."""

from __future__ import annotations

import os

from rootless import network as networks
from rootless.engine.containers import files
from rootless.engine.containers.container import Container, load
from rootless.engine.containers.removal import discard, take_lock
from rootless.engine.containers.run import foreground
from rootless.engine.containers.status import status
from rootless.engine.containers.user_mounts import is_empty
from rootless.errors import InUseError, NotFoundError, RootlessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from rootless.engine.context import Engine


def start(engine: Engine, names: Sequence[str], values: Mapping[str, Any]) -> int:
    """Start a container in the foreground (``attach``); its exit code. ``interactive``: with standard input too.

    One that runs already, or a start in the background, is refused.
    """
    ids = [engine.store.containers.find(name) for name in names]
    if not values.get("attach") and not values.get("interactive"):
        hint = f"start it in the foreground: rootless start --attach {names[0]}"
        raise RootlessError("cannot start a container in the background yet", hint)
    if len(ids) != 1:
        raise RootlessError("cannot start more than one container with --attach")
    container_id = ids[0]
    if status(engine, container_id).state == "running":
        raise RootlessError(f"cannot start container {names[0]}: it is already running")
    try:
        lock = take_lock(engine, container_id)
    except InUseError as error:
        raise RootlessError(f"cannot start container {names[0]}: another command is using it") from error
    if lock is None:
        raise NotFoundError(f"no container with name or ID {names[0]!r} found: no such container")
    with lock:
        container = load(engine, container_id)
        _refresh(engine, container, values)
        network = networks.choose(container.record["network"], container.record["ports"])
        taken = {mount["Destination"] for mount in container.record["mounts"]}
        hostname = container.spec.get("hostname") or os.uname().nodename
        files.write(container.directory, container.record, hostname, network, taken)
        try:
            return foreground(engine, container, network)
        finally:
            if container.record["rm"]:
                discard(engine, container_id, True)


def _refresh(engine: Engine, container: Container, values: Mapping[str, Any]) -> None:
    """What may have changed since the container was made: its input, and volumes that are no longer empty."""
    options = container.record["options"]
    if values.get("interactive"):
        options["interactive"] = True
    if values.get("sig_proxy") is False:
        options["sig_proxy"] = False
    copy_up = container.extras.get("copy_up") or []
    container.extras["copy_up"] = [(path, volume) for path, volume in copy_up if is_empty(volume)]
    for scratch in ("merged", "work"):
        path = container.rootfs.get(scratch)
        if path and str(path).startswith(container.directory) and not os.path.isdir(str(path)):
            raise RootlessError(f"cannot start container {container.id[:12]}: its directory {scratch} is missing")
