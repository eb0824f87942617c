"""Lengths of time as people write them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.durations import parse_duration
from rootless.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10", 10), ("1.5", 1.5), ("1m30s", 90), ("1.5s", 1.5), ("300ms", 0.3), ("2h", 7200), ("4us", 4e-6),
     ("4µs", 4e-6), ("9ns", 9e-9)],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text, "--x") == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "s", ".", "1d", "-1s", "1.2.3s", "٣s", "1e9", "1s1", " 1s", "9" * 400, "9" * 400 + "s", "1s" + "9" * 30],
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="--x"):
        parse_duration(text, "--x")


@given(st.text(st.sampled_from("0123456789.hmsuµn -+e"), max_size=40) | st.text(max_size=30))
def test_any_text_is_a_number_of_seconds_or_refused(text: str) -> None:
    try:
        seconds = parse_duration(text, "--x")
    except UsageError as error:
        assert "\n" not in error.message
    else:
        assert seconds >= 0 and math.isfinite(seconds)
