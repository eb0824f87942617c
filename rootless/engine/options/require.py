"""The names of ``--require``."""

from __future__ import annotations

from rootless.engine.isolation import NAMES
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def parse(names: Iterable[str]) -> list[str]:
    """Each once. Raises UsageError for a name that there is not."""
    found = sorted(set(names))
    for name in found:
        if name not in NAMES:
            raise UsageError(f"cannot use {name[:40]!r} for --require", "the names are " + ", ".join(NAMES))
    return found
