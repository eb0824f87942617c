"""The store, and how root file systems are made in it."""

from __future__ import annotations

from rootless.engine.doctor.check import BROKEN, LESS, OK, Check, device, opens, package
from rootless.errors import RootlessError
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from rootless.engine.context import Engine


def checks(global_values: Mapping[str, Any]) -> Iterator[Check]:
    """The store, then its driver and what that could use."""
    from rootless.engine.context import open_engine
    from storage.work import WorkDirectory

    try:
        engine = open_engine(global_values)
        with WorkDirectory(engine.store.layout):
            pass  # directories can be made and locked
    except (RootlessError, StorageError) as error:
        yield Check("store", BROKEN, error.message, "no container runs", advice=error.hint)
        return
    yield Check("store", OK, engine.store.layout.data)
    root = driver(engine)
    yield root
    yield fuse(root.found.startswith("overlay:"))


def driver(engine: Engine) -> Check:
    """The storage driver."""
    name = "root file system"
    try:
        found = engine.driver
    except (RootlessError, StorageError) as error:
        return Check(name, BROKEN, error.message, "no container runs", advice=error.hint)
    told = f"{found.name}: {found.why}"
    if found.name != "copy":
        return Check(name, OK, told)
    missing = fuse(False)
    return Check(
        name, LESS, told, "each container copies its image", command=missing.command, advice=missing.advice
    )  # fmt: skip


def fuse(has_overlay: bool) -> Check:
    """What stands in where the kernel has no overlay for users."""
    from rootless.paths import helper

    path = helper("fuse-overlayfs")
    told = opens("/dev/fuse")
    if told:
        command, advice = device("fuse", "/dev/fuse")
    elif not path:
        told = "fuse-overlayfs is not installed"
        command, advice = package("fuse-overlayfs")
    else:
        return Check("fuse", OK, f"{path}, /dev/fuse opens")
    if has_overlay:
        return Check("fuse", OK, f"{told}, and is not needed")
    return Check("fuse", LESS, told, "each container copies its image", command=command, advice=advice)
