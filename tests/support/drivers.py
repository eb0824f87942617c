"""The storage drivers, for tests that are to hold with each."""

from __future__ import annotations

import pytest

DRIVERS = [
    pytest.param("overlay", marks=pytest.mark.needs("overlay")),
    pytest.param("fuse-overlayfs", marks=pytest.mark.needs("fuse", "fuse-overlayfs")),
    "copy",
]
