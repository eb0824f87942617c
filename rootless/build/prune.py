"""Forgetting what builds have kept for the next ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless.engine.sizes import size_of
from storage import gc
from storage.caches import Caches

if TYPE_CHECKING:
    from rootless.engine.context import Engine


def prune(engine: Engine, *, everything: bool = False) -> int:
    """Forget the steps that no image is made of (``everything``: all) and the caches of commands; the bytes freed."""
    before = size_of(engine, engine.store.layout.data)
    Caches(engine.store.layout).prune(engine.delete_tree)
    gc.forget_steps(engine.store, everything=everything, delete_tree=engine.delete_tree)
    return max(0, before - size_of(engine, engine.store.layout.data))
