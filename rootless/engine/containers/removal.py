"""``rm`` and ``container prune``: what a container leaves behind goes, whoever owns its files."""

from __future__ import annotations

import os
import time

from rootless.engine.containers.status import is_abandoned, running_ids, status
from rootless.errors import InUseError, RootlessError
from storage.errors import NotFoundError, StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from rootless.engine.context import Engine
    from storage.locks import Lock

_POLL = 0.01
_PATIENCE = 30.0


def remove(engine: Engine, names: Iterable[str], values: Mapping[str, Any]) -> list[str]:
    """Remove containers; the names as they were given. One that fails does not keep the others from it.

    ``force``: a running one is stopped first, a missing one is no failure. ``ignore``: neither is. ``volumes``: its
    anonymous volumes too. ``time``: seconds between the stop signal and SIGKILL. Raises the first failure at the end:
    NotFoundError, InUseError (running), or what went wrong.
    """
    removed: list[str] = []
    failure: RootlessError | StorageError | None = None
    for name in names:
        try:
            remove_one(engine, engine.store.containers.find(name), values)
            removed.append(name)
        except NotFoundError as error:
            if not (values.get("force") or values.get("ignore")):
                failure = failure or error
        except (RootlessError, StorageError) as error:
            failure = failure or error
    if failure is not None:
        raise failure
    return removed


def remove_one(engine: Engine, container_id: str, values: Mapping[str, Any]) -> None:
    """Remove one container by its id."""
    current = status(engine, container_id)
    if current.state == "running":
        if not values.get("force"):
            raise InUseError(
                f"cannot remove container {container_id[:12]} as it is running: container state improper",
                "stop it first, or use --force",
            )
        stop(engine, container_id, values.get("time"))
    lock = take_lock(engine, container_id)
    if lock is None:
        return  # it was a --rm container: whoever started it has removed it
    with lock:
        discard(engine, container_id, bool(values.get("volumes")))


def discard(engine: Engine, container_id: str, volumes: bool) -> None:
    """Delete a container that does not run; the caller holds its lock. ``volumes``: its anonymous volumes too."""
    try:
        record = engine.store.containers.load(container_id)
    except NotFoundError:
        raise
    except StorageError:
        record = {}
    engine.store.containers.remove(container_id, engine.delete_tree)
    forget_state(engine, container_id)
    anonymous = record.get("anonymous")
    if anonymous and (volumes or record.get("rm")):
        from rootless.engine.containers.volumes import forget_unused

        forget_unused(engine, anonymous)


def forget_state(engine: Engine, container_id: str) -> None:
    """Remove the state below RUN."""
    directory = engine.run_directory(container_id)
    try:
        for name in os.listdir(directory):
            os.unlink(f"{directory}/{name}")
        os.rmdir(directory)
    except OSError:
        return


def take_lock(engine: Engine, container_id: str) -> Lock | None:
    """The lock of a container that does not run, held; None when the container is gone meanwhile."""
    lock = engine.store.containers.lock(container_id)
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            if lock.acquire(wait=False):
                return lock
        except StorageError:
            if not os.path.lexists(lock.path):
                return None
            raise
        if status(engine, container_id).state == "running" or time.monotonic() > deadline:
            raise InUseError(f"cannot change container {container_id[:12]}: another command is using it")
        time.sleep(_POLL)


def stop(engine: Engine, container_id: str, timeout: str | int | None = None) -> None:
    """Ask a running container to end, by its stop signal, then by SIGKILL; returns when its process is gone.

    ``timeout``: seconds between the two; None means the container's own, which ``--stop-timeout`` set.
    """
    from rootless.linux.pidfd import pidfd_open, pidfd_send_signal

    record = engine.store.containers.load(container_id)
    if timeout in (None, ""):
        timeout = record.get("options", {}).get("stop_timeout", 10)
    current = status(engine, container_id)
    if current.state != "running":
        return
    try:
        pidfd = pidfd_open(current.pid)
    except OSError:
        return
    try:
        if status(engine, container_id).pid != current.pid:
            return  # the pid was reused between the look and the open
        for signal, patience in ((record.get("stop_signal", 15), float(timeout or 0)), (9, _PATIENCE)):
            if patience == 0:
                continue
            pidfd_send_signal(pidfd, signal)
            if _gone(pidfd, patience):
                return
    except ProcessLookupError:
        return
    finally:
        os.close(pidfd)
    raise RootlessError(f"cannot stop container {container_id[:12]}: its process does not end")


def _gone(pidfd: int, seconds: float) -> bool:
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def prune(engine: Engine, values: Mapping[str, Any]) -> list[str]:
    """Remove every container that neither runs nor is being started; their ids. ``filter``: label, label!, until."""
    from rootless.engine.filters import has_label, until

    allowed = ("until", "label", "label!")
    moment, labels, missing = until(values.get("filter") or [], allowed)
    removed = []
    for container_id, record in engine.store.containers.list():
        named = record.get("labels", {})
        if moment and record.get("created", 0) >= moment:
            continue
        if not all(has_label(named, text) for text in labels) or any(has_label(named, text) for text in missing):
            continue
        if status(engine, container_id).state == "running":
            continue
        lock = engine.store.containers.lock(container_id)
        try:
            if not lock.acquire(wait=False):
                continue
            with lock:
                discard(engine, container_id, False)
            removed.append(container_id)
        except NotFoundError:
            continue
    return removed


def sweep(engine: Engine) -> list[str]:
    """Remove containers whose maker or ``--rm`` starter was killed, and states without one; the containers' ids."""
    removed = []
    for container_id, record in engine.store.containers.list():
        if not is_abandoned(engine, record, status(engine, container_id).state):
            continue
        lock = engine.store.containers.lock(container_id)
        try:
            if lock.acquire(wait=False):
                with lock:
                    discard(engine, container_id, True)
                removed.append(container_id)
        except NotFoundError:
            continue
    for container_id in running_ids(engine):
        if not os.path.lexists(engine.store.layout.container(container_id)):
            forget_state(engine, container_id)
    return removed
