"""What a check of the store yields."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Problem:
    """Something that is wrong: its ``kind``, the ``object`` by name, a ``text``, and what mends it (None: nothing).

    ``loses_data``: mending it removes something that cannot be had again.
    """

    __slots__ = ("kind", "loses_data", "mend", "object", "text")

    def __init__(
        self, kind: str, name: str, text: str, mend: Callable[[], object] | None = None, loses_data: bool = False
    ) -> None:
        self.kind = kind
        self.object = name
        self.text = text
        self.mend = mend
        self.loses_data = loses_data
