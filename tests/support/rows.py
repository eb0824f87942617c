"""How many tests of each attack passed: their names end in its row of the list of attacks, as ``…_rows_29_30``."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable, Mapping

import pytest

_NAME = re.compile(r"_rows?((?:_\d+)+)(?=$|\[|\])")
_SIGNS = {"passed": "✓", "failed": "✗", "error": "✗", "skipped": "skipped "}


def of_test(identity: str) -> list[int]:
    """The rows that the test with this node ID tries."""
    return [int(number) for text in _NAME.findall(identity) for number in text.strip("_").split("_")]


def summary(stats: Mapping[str, Iterable[object]]) -> str:
    """``29 ✓2, 30 ✓2 ✗1, 41 ✓6 skipped 1``; nothing when there was no such test. ``stats``: a terminal reporter's."""
    counted: dict[int, collections.Counter[str]] = {}
    for outcome, sign in _SIGNS.items():
        for report in stats.get(outcome, ()):
            if isinstance(report, pytest.TestReport) and (outcome != "passed" or report.when == "call"):
                for row in of_test(report.nodeid):
                    counted.setdefault(row, collections.Counter())[sign] += 1
    lines = (f"{row} {' '.join(f'{sign}{n}' for sign, n in counted[row].items())}" for row in sorted(counted))
    return ", ".join(lines)
