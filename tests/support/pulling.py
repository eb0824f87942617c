"""A pull in the test's own process: what the downloader of a real one does, with limits of the test's choice."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rootless.engine.images import platform
from rootless.engine.images.fetch import fetch
from rootless.errors import RootlessError
from rootless.registry.options import ConnectionOptions
from storage.errors import StorageError
from storage.store import Store


@dataclass
class Pulled:
    """How a pull ended: with an ``error`` ('' for none), and what it ``said`` on the way."""

    error: str
    hint: str
    messages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def said(self) -> str:
        """The notes that a user sees."""
        return "\n".join(message["text"] for message in self.messages if message["kind"] == "note")


def new_store(directory: Path) -> Store:
    """An empty store."""
    return Store.open(str(directory / "data"), str(directory / "run"))


def pull(store: Store, name: str, options: ConnectionOptions) -> Pulled:
    """Fetch ``name`` into ``store``. Any exception but the two kinds that a user may meet goes through."""
    messages: list[dict[str, Any]] = []
    try:
        fetch(store, name, platform.wanted({}), options, messages.append)
    except (RootlessError, StorageError) as error:
        assert "\n" not in error.message + error.hint, error
        return Pulled(error.message, error.hint, messages)
    return Pulled("", "", messages)


def unsafe(store: Store) -> list[str]:
    """What no pull may leave, however it ended: blobs that are not what their name says."""
    return [
        str(digest)
        for digest in store.blobs.list()
        if hashlib.new(digest.algorithm, Path(store.blobs.path(digest)).read_bytes()).hexdigest() != digest.encoded
    ]


def partial(store: Store) -> list[str]:
    """The names of half-done downloads."""
    return [name for name in os.listdir(store.layout.tmp) if os.path.getsize(f"{store.layout.tmp}/{name}")]
