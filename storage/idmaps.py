"""Arithmetic on id maps: lists of ``(inside, outside, length)``, *outside* being host ids."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Rows = Sequence[tuple[int, int, int]]


def between(first: Rows, second: Rows) -> list[tuple[int, int, int]]:
    """Rows ``(inside first, inside second, length)`` of the ids that are the same host ids in both maps, in order."""
    rows = []
    for inside, outside, length in first:
        for other_inside, other_outside, other_length in second:
            start = max(outside, other_outside)
            end = min(outside + length, other_outside + other_length)
            if start < end:
                rows.append((inside + start - outside, other_inside + start - other_outside, end - start))
    return sorted(rows)


def shifted(rows: Rows, number: int) -> int | None:
    """The id that ``number`` becomes under ``rows``; None if it has no place."""
    for first, becomes, length in rows:
        if first <= number < first + length:
            return becomes + number - first
    return None
