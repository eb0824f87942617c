"""``rm`` and ``container prune``: what a container leaves behind goes, whoever owns its files."""

from __future__ import annotations

import os
import time

from rootless.engine import events
from rootless.engine.containers.status import BUSY, is_abandoned, running_ids, status
from rootless.errors import InUseError, RootlessError
from storage.errors import NotFoundError, StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from rootless.engine.context import Engine
    from storage.locks import Lock

_POLL = 0.002
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
    if current.state in BUSY:
        if not values.get("force"):
            raise InUseError(
                f"cannot remove container {container_id[:12]} as it is {current.state}: container state improper",
                "stop it first, or use --force",
            )
        from rootless.engine.containers.stop import stop

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
    engine.store.containers.remove(container_id, engine.delete_tree, durable=not record.get("rm"))
    forget_state(engine, container_id)
    events.note(engine, "container", "remove", container_id, record)
    anonymous = record.get("anonymous")
    if anonymous and (volumes or record.get("rm")):
        from rootless.engine.containers.volumes import forget_unused

        forget_unused(engine, anonymous)


def forget_state(engine: Engine, container_id: str) -> None:
    """Remove the state below RUN."""
    from rootless.monitor.ending import forget

    forget(engine.run_directory(container_id))


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
        if status(engine, container_id).state in BUSY or time.monotonic() > deadline:
            raise InUseError(f"cannot change container {container_id[:12]}: another command is using it")
        time.sleep(_POLL)


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
        if status(engine, container_id).state in BUSY:
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
    """Remove containers whose maker or ``--rm`` starter was killed, and states without one; the containers' ids.

    Those of a ``--rm`` that a power cut ended, too.
    """
    removed = []
    found = [
        container_id
        for container_id, record in engine.store.containers.list()
        if is_abandoned(engine, record, status(engine, container_id).state)
    ]
    damaged = [container_id for container_id, _ in engine.store.containers.damaged]
    found += filter(engine.store.containers.is_unwritten, damaged)
    for container_id in found:
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
