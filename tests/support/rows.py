"""How many tests of each attack passed: their names end in its row of the list of attacks, as ``…_rows_29_30``."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable, Mapping

import pytest

_NAME = re.compile(r"_rows?((?:_\d+)+)(?=$|\[|\])")
_OUTCOMES = {"passed": "passed", "failed": "failed", "error": "failed", "skipped": "skipped"}
_SIGNS = {"passed": "✓", "failed": "✗", "skipped": "skipped "}


def of_test(identity: str) -> list[int]:
    """The rows that the test with this node ID tries."""
    return [int(number) for text in _NAME.findall(identity) for number in text.strip("_").split("_")]


def count(stats: Mapping[str, Iterable[object]]) -> dict[int, dict[str, int]]:
    """For each row how many tests ``passed``, ``failed`` and were ``skipped``. ``stats``: a terminal reporter's."""
    counted: dict[int, collections.Counter[str]] = {}
    for outcome, name in _OUTCOMES.items():
        for report in stats.get(outcome, ()):
            if isinstance(report, pytest.TestReport) and (outcome != "passed" or report.when == "call"):
                for row in of_test(report.nodeid):
                    counted.setdefault(row, collections.Counter())[name] += 1
    return {row: dict(outcomes) for row, outcomes in sorted(counted.items())}


def summary(counted: Mapping[int, Mapping[str, int]]) -> str:
    """``29 ✓2, 30 ✓2 ✗1, 41 ✓6 skipped 1``."""
    return ", ".join(
        f"{row} {' '.join(f'{_SIGNS[name]}{number}' for name, number in outcomes.items())}"
        for row, outcomes in counted.items()
    )
