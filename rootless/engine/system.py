"""The store as a whole: what takes how much space, what can go, whether it is sound; and what this machine offers."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from rootless.engine.context import Engine
    from storage.dedup import Shared

    Values = Mapping[str, Any]
    Rows = list[dict[str, Any]]


def info(engine: Engine) -> dict[str, Any]:
    """What this machine offers and what was chosen, in the shape of ``podman info``."""
    from rootless.engine.info import info as report

    return report(engine)


def check(engine: Engine, values: Values) -> Rows:
    """Look at everything in the store; the findings (kind, object, problem, repairable, repaired).

    ``quick``: neither blobs nor the files of layers are read. ``repair``: mend what can be mended without loss, with
    what a registry has if need be; ``force``: also at the cost of what cannot be read. ``max``: see ``Means``.
    Raises ``UsageError``, ``RegistryError`` for an option.
    """
    from functools import partial

    from rootless.durations import parse_duration
    from rootless.security.confine import prepare_unpacker, unpacker
    from storage import check as checking
    from storage.problem import Means

    repair = bool(values.get("repair") or values.get("force"))
    fetch = None
    if repair:
        from rootless.engine.images.regain import regain
        from rootless.registry.options import ConnectionOptions

        fetch = partial(regain, engine, ConnectionOptions.from_values(values))
    if not values.get("quick"):
        prepare_unpacker()
    means = Means(
        delete_tree=engine.delete_tree, in_userns=partial(_in_userns, engine), confine=unpacker, fetch=fetch,
        quick=bool(values.get("quick")), max_age=parse_duration(values.get("max") or "24h", "--max"),
    )  # fmt: skip
    found = checking.run(engine.store, repair=repair, force=bool(values.get("force")), means=means)
    return [dict(finding) for finding in found]


def _in_userns(engine: Engine, function: Callable[[], bytes]) -> bytes:
    """``Engine.in_userns`` with the errors that storage knows: a check goes on after them."""
    from rootless.errors import RootlessError
    from storage.errors import StorageError

    try:
        return engine.in_userns(function)
    except RootlessError as error:
        raise StorageError(error.message, error.hint) from error


def prune(engine: Engine, values: Values) -> dict[str, Any]:
    """Remove ended containers, images without a name (``all``: without a container, and caches of builds), with
    ``volumes`` unused volumes, and what killed commands left.

    Returns ``containers``, ``images`` and ``volumes`` (ids and names), and ``reclaimed`` in bytes.
    """
    from rootless.engine import volumes
    from rootless.engine.containers import removal
    from rootless.engine.images.removal import prune as prune_images
    from rootless.engine.sizes import size_of
    from storage import gc

    before = size_of(engine, engine.store.layout.data)
    filters = {"filter": values.get("filter") or []}
    containers = removal.sweep(engine) + removal.prune(engine, filters)
    removed_images = prune_images(engine, {"all": values.get("all"), **filters})
    removed_volumes = volumes.prune(engine, filters) if values.get("volumes") else []
    if values.get("all"):
        from storage.caches import Caches

        Caches(engine.store.layout).prune(engine.delete_tree)
    gc.sweep(engine.store, engine.delete_tree, parts=True)
    after = size_of(engine, engine.store.layout.data)
    return {
        "containers": containers,
        "images": removed_images,
        "volumes": removed_volumes,
        "reclaimed": max(0, before - after),
    }


def dedup(engine: Engine, values: Values) -> Shared:
    """Let equal files of layers share what they hold; ``hard_links`` as for ``storage.dedup``. Raises StorageError."""
    from functools import partial

    from rootless.engine.containers.status import status
    from storage import dedup as deduplication

    busy: set[str] = set()
    for container_id, record in engine.store.containers.list():
        image = engine.store.images.find(record["image"]) if record.get("image") else None
        if image is not None and status(engine, container_id).state not in ("created", "exited", "configured"):
            busy.update(image.diff_ids)
    return deduplication.dedup(
        engine.store.layout, in_userns=partial(_in_userns, engine), hard_links=bool(values.get("hard_links")),
        busy=frozenset(busy),
    )  # fmt: skip


def df(engine: Engine, values: Values) -> dict[str, Rows]:
    """How much space images, containers and volumes take.

    ``summary`` has rows of Type, Total, Active, RawSize and RawReclaimable; ``images``, ``containers`` and ``volumes``
    describe each object. Sizes are bytes of this store, times seconds since the epoch.
    """
    from rootless.engine.df import report

    return report(engine)
