"""What a step would make is looked up under the digest of all that it depends on.

The key of a step is made of the whole state that it is given (every layer's DiffID and every field of the
configuration, so that no difference in a base image goes unseen), of the instruction as it is after expansion, and of
what else it reads: ARGs, digests of files, options that change the result.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any

from rootless.build.layers import is_there
from rootless.build.state import BuiltLayer, State
from storage import jsonfast
from storage.build_cache import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootless.build.remote_cache import RemoteCache
    from rootless.engine.context import Engine

_VERSION = 1  # raised when a step of the same key makes something else than it did


class Cache:
    """The cache as one build uses it.

    ``reads``: whether steps are looked up at all. ``lifetime``: seconds for which what was made is used, or None.
    ``remote``: repositories that have steps too, of those that make a layer.
    """

    def __init__(
        self, engine: Engine, *, reads: bool = True, lifetime: float | None = None, remote: RemoteCache | None = None
    ) -> None:
        self._engine = engine
        self._remote = remote
        self._reads = reads
        self._oldest = 0 if lifetime is None else time.time() - lifetime

    def find(self, key: str, state: State) -> State | None:
        """The state after a step that was done before; None if it has to be done (again)."""
        if not self._reads:
            return None
        record = self._engine.store.build_cache.get(key)
        if record is None or record.made < self._oldest or record.below != state.diff_ids:
            return None
        history = (*state.history, record.history)
        if record.layer is None:
            return state._replace(history=history)
        layer = BuiltLayer(record.layer, record.diff_id)
        if not is_there(self._engine, layer):
            return None
        return state._replace(layers=(*state.layers, layer), history=history)

    def find_layer(self, key: str, state: State) -> State | None:
        """The same for a step that makes a layer, which may come from elsewhere."""
        found = self.find(key, state)
        if found is not None:
            if self._remote is not None and len(found.layers) > len(state.layers):
                self._remote.keep(key, found)
            return found
        found = self._remote.find(key, state) if self._remote is not None else None
        if found is not None:
            self.keep(key, state, found)
        return found

    def keep_layer(self, key: str, before: State, after: State) -> None:
        """Remember what a step made that may have made a layer, here and elsewhere."""
        self.keep(key, before, after)
        if self._remote is not None and len(after.layers) > len(before.layers):
            self._remote.keep(key, after)

    def keep(self, key: str, before: State, after: State) -> None:
        """Remember what a step made of the state ``before``. Its layer must be in the store."""
        layer = after.layers[-1] if len(after.layers) > len(before.layers) else None
        record = Record(
            before.diff_ids, layer.descriptor if layer else None, layer.diff_id if layer else "", after.history[-1],
            int(time.time()),
        )  # fmt: skip
        self._engine.store.build_cache.put(key, record)


def key_of(state: State, step: object, reads: Mapping[str, Any]) -> str:
    """The key of a step on ``state``. ``step``: the instruction after expansion; ``reads``: what else it depends on."""
    document = {"version": _VERSION, "config": state.config, "layers": state.diff_ids, "step": step, "reads": reads}
    return hashlib.sha256(jsonfast.dump_bytes(document, sort_keys=True)).hexdigest()
