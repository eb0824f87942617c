"""Signals by name and number."""

from __future__ import annotations

import signal

import pytest

from rootless.linux import signals


def test_names_agree_with_the_standard_library() -> None:
    for known in signal.Signals:
        assert signals.number(known.name) == known.value
        assert signals.number(known.name.removeprefix("SIG").lower()) == known.value
        if known.name not in ("SIGRTMAX",):
            assert signals.number(signals.name(known.value)) == known.value


@pytest.mark.parametrize(("text", "value"), [("9", 9), ("RTMIN+3", 37), ("sigrtmax-1", 63), ("RTMIN", 34), ("64", 64)])
def test_numbers(text: str, value: int) -> None:
    assert signals.number(text) == value


@pytest.mark.parametrize("text", ["", "0", "65", "-1", "FOO", "RTMIN+31", "RTMAX-31", "RTMIN+", "RTMINx", "9 ", "²"])
def test_no_signal(text: str) -> None:
    with pytest.raises(ValueError):
        signals.number(text)
