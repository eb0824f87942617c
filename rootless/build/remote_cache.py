"""``--cache-from`` and ``--cache-to``: steps in repositories of a registry, each an image whose tag is the step's key.

Such an image has all layers up to the step's own, so that it can be unpacked like any other. A repository is believed
as the image itself would be: whoever can write to it decides what a build makes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless.build import output
from rootless.build.bases import PULLING
from rootless.build.state import BuiltLayer
from rootless.engine.images.pull import pull
from rootless.engine.images.push import push
from rootless.engine.progress import Progress
from rootless.errors import RootlessError, UsageError
from storage import reference
from storage.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from rootless.build.options import BuildOptions
    from rootless.build.state import State
    from rootless.engine.context import Engine

_UNKNOWN = ("manifest unknown", "name unknown")  # what a registry answers that has no such step


def repositories(texts: Iterable[str] | None, flag: str) -> list[str]:
    """The repositories that a flag names, without a tag. Raises UsageError."""
    found = []
    for text in texts or ():
        if text.startswith("type="):
            raise UsageError(f"cannot use {flag} {text[:80]}", f"name a repository: {flag} REGISTRY/NAME")
        parsed = reference.parse(text)
        if reference.split(text)[1] or parsed.digest:
            raise UsageError(f"cannot use {flag} {text[:80]}: the tag is each step's own", "leave the tag out")
        found.append(parsed.name())
    return found


class RemoteCache:
    """The repositories from which steps come, and to which they go."""

    def __init__(self, engine: Engine, values: Mapping[str, Any], options: BuildOptions) -> None:
        self._engine = engine
        self._options = options
        self._connection = {key: values[key] for key in PULLING if key in values}
        self._from = repositories(values.get("cache_from"), "--cache-from") if options.reads_cache else []
        self._to = repositories(values.get("cache_to"), "--cache-to")

    def find(self, key: str, state: State) -> State | None:
        """The state after a step, if a repository has it."""
        for repository in list(self._from):
            try:
                found = self._fetch(f"{repository}:{key}", state)
            except (RootlessError, StorageError) as error:
                if any(word in error.message for word in _UNKNOWN):
                    continue
                self._from.remove(repository)
                self._engine.tell(f"WARNING: cannot look for steps in {repository}: {error.message}")
                continue
            if found is not None:
                return found
        return None

    def _fetch(self, name: str, state: State) -> State | None:
        images = self._engine.store.images
        platform = {"os": state.config.get("os"), "arch": state.config.get("architecture")}
        image = images.find(pull(self._engine, name, {**self._connection, **platform, "policy": "always"}, Progress()))
        if image is None:
            return None
        try:
            layers, history = image.layers, image.config.get("history") or []
            if list(image.diff_ids[:-1]) != state.diff_ids or not history or not image.diff_ids:
                return None
            layer = BuiltLayer(layers[-1], image.diff_ids[-1])
            return state._replace(layers=(*state.layers, layer), history=(*state.history, history[-1]))
        finally:
            if set(image.names) <= {name}:
                images.remove(image)
            else:
                images.untag(name)

    def keep(self, key: str, state: State) -> None:
        """Send the step that ended with ``state`` to the repositories; a failure is told and does no harm."""
        for repository in list(self._to):
            images = self._engine.store.images
            made = output.store(self._engine, state, self._options, [])
            try:
                push(self._engine, made.id, f"{repository}:{key}", self._connection, Progress())
            except (RootlessError, StorageError) as error:
                self._to.remove(repository)
                self._engine.tell(f"WARNING: cannot keep steps in {repository}: {error.message}")
            finally:
                if not images.names_of(made.digest):
                    images.remove(made)
