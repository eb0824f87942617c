"""Tables, sizes, ages and ``--format`` as podman prints them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.cli import render
from rootless.errors import UsageError

ROWS = [{"ID": "aa", "Name": "web", "Labels": {"x": "1"}}, {"ID": "bb", "Name": "a-rather-long-name", "Labels": {}}]


def test_table_pads_all_but_the_last_column() -> None:
    text = render.table(["ID", "NAME", "X"], [["aa", "a-rather-long-name", "1"]])
    assert text == "ID          NAME                X\naa          a-rather-long-name  1\n"


def test_table_without_heading() -> None:
    assert render.table(["ID", "NAME"], [["a", "b"]], heading=False) == "a           b\n"
    assert render.table(["ID"], [], heading=False) == ""


def test_cells_cannot_break_the_table() -> None:
    assert render.table(["A"], [["x\ny"]], heading=False) == "x\\ny\n"


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (5_610_000, "5.61 MB"),
        (126_700_000, "127 MB"),
        (999_999, "1000 kB"),
    ],
)
def test_sizes(count: int, expected: str) -> None:
    assert render.size(count) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (150, "2 minutes"),
        (3600, "About an hour"),
        (3 * 3600, "3 hours"),
        (47 * 3600, "47 hours"),
        (72 * 3600, "3 days"),
        (15 * 86400, "2 weeks"),
        (100 * 86400, "3 months"),
        (800 * 86400, "2 years"),
    ],
)
def test_ages(seconds: int, expected: str) -> None:
    assert render.age(seconds) == expected


def test_clock_that_ran_back_gives_no_negative_age() -> None:
    assert render.ago(100, 50) == "Less than a second ago"


def test_format_template(capfd: pytest.CaptureFixture[str]) -> None:
    render.print_format(ROWS, r"{{.ID}}\t{{.Name}}")
    assert capfd.readouterr().out == "aa\tweb\nbb\ta-rather-long-name\n"


def test_format_table_has_a_heading(capfd: pytest.CaptureFixture[str]) -> None:
    render.print_format(ROWS, "table {{.ID}} {{.Name}}", {"Name": "NAMES"})
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "ID          NAMES"
    assert lines[1] == "aa          web"


def test_format_json_is_the_whole_list(capfd: pytest.CaptureFixture[str]) -> None:
    render.print_format(ROWS, "json")
    assert json.loads(capfd.readouterr().out) == ROWS


def test_format_unknown_field_is_an_error() -> None:
    with pytest.raises(UsageError, match="Nope"):
        render.print_format(ROWS, "{{.Nope}}")


def test_terminal_escapes_are_shown_not_sent() -> None:
    assert render.printable("a\x1b[31mb\u202ec\n") == "a\\x1b[31mb\\u202ec\n"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_text_is_json(value: object) -> None:
    assert json.loads(render.json_text(value)) == value
