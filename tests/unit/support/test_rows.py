"""The count of the tests of known attacks."""

from __future__ import annotations

import pytest

from tests.support import rows


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("tests/x.py::test_labels_rows_29_30", [29, 30]), ("tests/x.py::test_one_row_7[a-b]", [7]),
        ("tests/uml/test_inside.py::test_inside[test_limits::test_bounded_row_94]", [94]),
        ("tests/x.py::test_a_row_of_things", []), ("tests/x.py::test_row_7_of_things", []), ("tests/x.py::test_7", []),
    ],
)  # fmt: skip
def test_rows_of_a_name(name: str, found: list[int]) -> None:
    assert rows.of_test(name) == found


def report(name: str, outcome: str, when: str = "call") -> pytest.TestReport:
    return pytest.TestReport(name, ("x.py", 1, name), {}, outcome, None, when)  # type: ignore[arg-type]


def test_summary() -> None:
    stats: dict[str, list[object]] = {
        "passed": [report("test_a_rows_29_30", "passed"), report("test_a_rows_29_30", "passed", "teardown")],
        "failed": [report("test_b_row_30", "failed"), "something else"],
        "skipped": [report("test_c_row_41", "skipped", "setup"), report("test_d", "skipped", "setup")],
    }
    counted = rows.count(stats)
    assert counted == {29: {"passed": 1}, 30: {"passed": 1, "failed": 1}, 41: {"skipped": 1}}
    assert rows.summary(counted) == "29 ✓1, 30 ✓1 ✗1, 41 skipped 1"
    assert rows.count({}) == {}
