"""Figures: what a test measured beside its goal, for the table of `python -m tests.figures`.

A test takes the fixture ``figure`` and says what it measured; a goal that is missed fails the test::

    def test_generated_archives(figure: Tell) -> None:
        ...
        figure("generated archives that wrote outside", "= 0", outside, of=tried)
"""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

DIRECTORY = "ROOTLESS_TEST_FIGURES"
"""The environment variable that names the directory in which a run of pytest leaves its figures."""
NIGHTLY = bool(os.environ.get("ROOTLESS_TEST_NIGHTLY"))
"""Whether this is the long run (`tox -e nightly`), which tries all of what the usual run tries a part."""

_COMPARED: dict[str, Callable[[float, float], bool]] = {"=": operator.eq, "≤": operator.le, "≥": operator.ge}


def amount(usual: int, nightly: int) -> int:
    """How much of something is tried: ``usual`` in each run of the tests, ``nightly`` in the long one."""
    return nightly if NIGHTLY else usual


class Figure(NamedTuple):
    """One measured figure: ``goal`` is a sign and a number, ``≤ 256 MiB``; ``of`` says out of how many."""

    section: str
    what: str
    goal: str
    reached: float
    of: int | None = None

    def __str__(self) -> str:
        """The line that a run of pytest ends with."""
        return f"{self.section}: {self.what}: {self.shown} (goal {self.goal})"

    @property
    def met(self) -> bool:
        """Whether the goal is reached. Raises KeyError or ValueError for a goal that is none."""
        sign, number = self.goal.split()[:2]
        return _COMPARED[sign](self.reached, float(number.replace(",", "").removesuffix("%")))

    @property
    def shown(self) -> str:
        """What was reached, as people read it: ``0 of 200,000``."""
        whole = float(self.reached).is_integer()
        text = f"{int(self.reached):,}" if whole else f"{self.reached:.2f}"
        unit = " ".join(self.goal.split()[2:])
        text = f"{text} {unit}" if unit else text
        return text if self.of is None else f"{text} of {self.of:,}"


class Tell(Protocol):
    """The fixture ``figure``."""

    def __call__(self, what: str, goal: str, reached: float, of: int | None = None) -> None:
        """Tell a figure; AssertionError when its goal is missed."""


def leave(figures: list[Figure], rows: dict[int, dict[str, int]]) -> None:
    """Put what a run of pytest found into the directory of the environment, where there is one."""
    directory = os.environ.get(DIRECTORY)
    if directory:
        found: dict[str, Any] = {"figures": [list(figure) for figure in figures], "rows": rows}
        Path(directory, f"{os.getpid()}.json").write_text(json.dumps(found))


def collect(directory: Path) -> tuple[list[Figure], dict[int, dict[str, int]]]:
    """What all runs left in ``directory``: the figures, and for each row of the attacks how many tests ended how."""
    figures: list[Figure] = []
    rows: dict[int, dict[str, int]] = {}
    for path in sorted(directory.glob("*.json")):
        found = json.loads(path.read_text())
        figures += [Figure(*values) for values in found["figures"]]
        for row, outcomes in found["rows"].items():
            counted = rows.setdefault(int(row), {})
            for outcome, number in outcomes.items():
                counted[outcome] = counted.get(outcome, 0) + number
    return figures, rows
