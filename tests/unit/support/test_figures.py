"""What a figure is, and how runs of pytest hand theirs on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.figures.__main__ import shown, subjects, table, together
from tests.support import figures
from tests.support.figures import Figure


@pytest.mark.parametrize(
    ("goal", "reached", "met"),
    [
        ("= 0", 0, True), ("= 0", 1, False), ("≥ 200,000", 200_000, True), ("≥ 200,000", 199_999, False),
        ("≤ 256 MiB", 31.5, True), ("≤ 256 MiB", 257, False), ("≤ 5 %", 5, True), ("≤ 5%", 6, False),
    ],
)  # fmt: skip
def test_goals(goal: str, reached: float, met: bool) -> None:
    assert Figure("attacks", "x", goal, reached).met is met


def test_how_it_is_shown() -> None:
    assert Figure("attacks", "x", "= 0", 0, 200_000).shown == "0 of 200,000"
    assert Figure("attacks", "x", "≤ 256 MiB", 31.25).shown == "31.25 MiB"
    with pytest.raises(KeyError):
        _ = Figure("attacks", "x", "about 5", 5).met


def test_they_are_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = Figure("faults", "kills that lost something", "= 0", 0, 300)
    figures.leave([figure], {7: {"passed": 1}})  # nobody wants them
    monkeypatch.setenv(figures.DIRECTORY, str(tmp_path))
    figures.leave([figure], {7: {"passed": 2}, 9: {"failed": 1}})
    found, rows = figures.collect(tmp_path)
    assert found == [figure]
    assert rows == {7: {"passed": 2}, 9: {"failed": 1}}
    again = figure._replace(reached=2, of=50)
    assert together([figure, again]) == [figure._replace(reached=2, of=350)]
    text = table(found, rows)
    assert "| faults: kills that lost something | = 0 | 0 of 300 |" in text
    assert shown().startswith("| what | goal | reached |")
    assert subjects(text) == subjects(text.replace("0 of 300", "0 of 3,000"))
