"""The last step of making layers: on the disk first, then visible by one rename each."""

from __future__ import annotations

import os

from storage import sys as calls
from storage.layers import link
from storage.layout import Layout


def publish(layout: Layout, build: str, keys: list[str]) -> list[str]:
    """Move the finished directories ``build/KEY`` to layers/; returns the keys that are new there.

    One syncfs(2) makes all data durable before the first rename. A layer that another process published meanwhile is
    as good as ours, which then stays in ``build``. Raises OSError.
    """
    layers_fd = os.open(layout.layers, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        calls.syncfs(layers_fd)
        new = []
        for key in keys:
            try:
                calls.rename_new(f"{build}/{key}", layers_fd, key)
            except FileExistsError:
                continue
            link(layout, key)
            new.append(key)
        os.fsync(layers_fd)
    finally:
        os.close(layers_fd)
    return new
