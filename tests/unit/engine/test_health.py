"""How a health check is asked for, and what its results make of a container."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.engine.containers import health
from rootless.engine.options.health import SECOND, HealthOptions, change, choose, command, parse_command
from rootless.engine.options.run import given_health
from rootless.errors import UsageError

CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
WORDS = st.lists(st.text(CHARACTERS, min_size=1), min_size=1)


def asked(values: Mapping[str, Any]) -> HealthOptions:
    """What these flags say."""
    return HealthOptions(values, given_health(values))


def chosen(image: Mapping[str, Any] | None = None, sdnotify: str = "container", **values: Any) -> dict[str, Any]:
    """The check of a container made with the flags ``values``."""
    given_flags = asked(values) if values else None
    found = choose(given_flags, image, sdnotify)
    assert found
    return found


@pytest.mark.parametrize(
    ("text", "test", "executed"),
    [
        ("curl -f x || exit 1", ["CMD-SHELL", "curl -f x || exit 1"], ["/bin/sh", "-c", "curl -f x || exit 1"]),
        ('["curl", "-f", "a b"]', ["CMD", "curl", "-f", "a b"], ["curl", "-f", "a b"]),
        ('["CMD", "curl", "-f"]', ["CMD", "curl", "-f"], ["curl", "-f"]),
        ('["CMD-SHELL", "a && b"]', ["CMD-SHELL", "a && b"], ["/bin/sh", "-c", "a && b"]),
        ('["a && b"]', ["CMD-SHELL", "a && b"], ["/bin/sh", "-c", "a && b"]),
        ("CMD curl -f", ["CMD", "curl", "-f"], ["curl", "-f"]),
        ("CMD-SHELL a  && b", ["CMD-SHELL", "a  && b"], ["/bin/sh", "-c", "a  && b"]),
        ("[ -e /x ]", ["CMD-SHELL", "[ -e /x ]"], ["/bin/sh", "-c", "[ -e /x ]"]),
    ],
)  # fmt: skip
def test_a_command_is_for_the_shell_or_not(text: str, test: list[str], executed: list[str]) -> None:
    assert parse_command(text, "--health-cmd") == test
    assert command({"Test": test}) == executed


@pytest.mark.parametrize("text", ["none", "NONE", '["NONE"]', '["none"]'])
def test_none_is_no_check(text: str) -> None:
    assert parse_command(text, "--health-cmd") == ["NONE"]
    assert choose(asked({"health_cmd": text}), {"Test": ["CMD", "x"]}, "container") is None


@pytest.mark.parametrize(
    "text", ["[]", '["CMD"]', "CMD", "CMD-SHELL ", '["CMD-SHELL", ""]', "[1]", '[["a"]]', " ", '["a\\u0000b"]']
)
def test_what_is_no_command_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_command(text, "--health-cmd")
    assert "--health-cmd" in raised.value.message and raised.value.hint


@given(WORDS)
def test_an_array_is_executed_as_it_is(words: list[str]) -> None:
    words = [word + "." for word in words]  # no keyword, and not blank
    found = command({"Test": parse_command(json.dumps(words), "--health-cmd")})
    assert found == (words if len(words) > 1 else ["/bin/sh", "-c", words[0]])


@given(st.text())
def test_any_text_is_a_command_or_refused(text: str) -> None:
    try:
        test = parse_command(text, "--health-cmd")
    except UsageError:
        return
    assert test == ["NONE"] or (test[0] in ("CMD", "CMD-SHELL") and all(command({"Test": test})))


def test_defaults_are_dockers() -> None:
    found = chosen(health_cmd="x")
    assert found["check"] == {
        "Test": ["CMD-SHELL", "x"], "Interval": 30 * SECOND, "Timeout": 30 * SECOND, "StartPeriod": 0, "Retries": 3,
    }  # fmt: skip
    rest = {key: found[key] for key in ("startup", "on_failure", "destination", "log_count", "log_size")}
    assert rest == {"startup": None, "on_failure": "none", "destination": "local", "log_count": 5, "log_size": 500}


def test_flags_come_over_the_images_check() -> None:
    image = {"Test": ["CMD", "old"], "Interval": 5 * SECOND, "Timeout": 0, "Retries": 7, "StartInterval": SECOND}
    assert chosen(image)["check"] == {
        "Test": ["CMD", "old"], "Interval": 5 * SECOND, "Timeout": 30 * SECOND, "StartPeriod": 0, "Retries": 7,
        "StartInterval": SECOND,
    }  # fmt: skip
    found = chosen(image, health_interval="1m", health_start_period="1.5s", health_retries="2")["check"]
    assert (found["Test"], found["Interval"], found["StartPeriod"], found["Retries"]) == (
        ["CMD", "old"], 60 * SECOND, 3 * SECOND // 2, 2,
    )  # fmt: skip
    assert chosen(image, health_cmd="new")["check"]["Test"] == ["CMD-SHELL", "new"]
    assert chosen(image, health_interval="disable")["check"]["Interval"] == 0


@pytest.mark.parametrize("test", [None, [], [""], ["NONE"], ["CMD"], ["CMD-SHELL", ""]])
def test_an_image_may_have_none(test: list[str] | None) -> None:
    assert choose(None, {"Test": test, "Interval": 5}, "container") is None
    with pytest.raises(UsageError, match="sdnotify=healthy"):
        choose(None, {"Test": test}, "healthy")


def test_the_images_check_can_be_left_out() -> None:
    assert choose(asked({"no_healthcheck": True}), {"Test": ["CMD", "x"]}, "container") is None
    assert chosen({"Test": ["CMD", "x"]}, no_healthcheck=False)["check"]["Test"] == ["CMD", "x"]


def test_a_startup_check_needs_a_command() -> None:
    with pytest.raises(UsageError, match="startup"):
        chosen(health_cmd="x", health_startup_interval="1s")


def test_a_startup_check() -> None:
    found = chosen(
        health_cmd="x", health_startup_cmd='["a", "b"]', health_startup_interval="2s", health_startup_timeout="3s",
        health_startup_retries="4", health_startup_success="5",
    )  # fmt: skip
    assert found["startup"] == {
        "Test": ["CMD", "a", "b"], "Interval": 2 * SECOND, "Timeout": 3 * SECOND, "StartPeriod": 0, "Retries": 4,
        "Successes": 5,
    }  # fmt: skip


@pytest.mark.parametrize(
    "values",
    [
        {"health_interval": "nix"}, {"health_interval": "-1s"}, {"health_timeout": "0s"}, {"health_retries": "0"},
        {"health_retries": "-1"}, {"health_retries": "x"}, {"health_start_period": "-3s"}, {"health_timeout": "no"},
        {"health_on_failure": "explode"}, {"health_max_log_count": "-1"}, {"health_max_log_size": "many"},
        {"health_log_destination": "/no/such/directory"}, {"health_startup_interval": "disable"},
        {"health_startup_cmd": "x", "health_startup_interval": "disable"}, {"health_interval": "99999999999999h"},
        {"health_startup_cmd": "x", "health_startup_success": "-1"}, {"no_healthcheck": True},
    ],
)  # fmt: skip
def test_bad_values_are_refused_with_a_hint(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as raised:
        asked({"health_cmd": "x", **values})
    assert raised.value.message.startswith("cannot ") and (raised.value.hint or "--health" in raised.value.message)


def test_an_update_changes_what_it_names() -> None:
    old = chosen(
        health_cmd="x", health_interval="disable", health_on_failure="kill", health_max_log_count="0",
        health_startup_cmd="y", health_startup_retries="3",
    )  # fmt: skip
    found = change(old, asked({"health_retries": "9", "health_startup_interval": "2s"}), "container")
    assert found == {
        **old, "check": {**old["check"], "Retries": 9}, "startup": {**old["startup"], "Interval": 2 * SECOND},
    }  # fmt: skip
    found = change(old, asked({"health_on_failure": "none", "health_startup_cmd": "none"}), "container")
    assert found == {**old, "on_failure": "none", "startup": None}
    assert change(old, asked({"no_healthcheck": True}), "container") is None
    assert change(None, asked({"health_cmd": "z"}), "container") == chosen(health_cmd="z")
    for before, values in ((old, {"no_healthcheck": True}), (None, {"health_retries": "2"})):
        with pytest.raises(UsageError, match="no health check"):
            change(before, asked(values), "healthy")
    with pytest.raises(UsageError, match="startup"):
        change(chosen(health_cmd="x"), asked({"health_startup_retries": "2"}), "container")


@pytest.mark.parametrize(
    "values",
    [{"health_interval": "3s"}, {"health_on_failure": "kill"}, {"health_startup_cmd": "x"}, {"health_retries": "3"},
     {"health_max_log_size": "1"}, {"health_cmd": "none", "health_retries": "3"}],
)  # fmt: skip
def test_flags_without_a_check_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="the container has no health check"):
        choose(asked(values), None, "container")


# What a result makes of the state.


def result(code: int, after: float = 0, *, startup: bool = False) -> health.Result:
    return health.Result(
        startup=startup, after=round(after * SECOND), began=1, ended=2, code=code, output="said",
    )  # fmt: skip


@given(
    st.lists(st.integers(-1, 2), max_size=30), st.integers(1, 5), st.integers(0, 6), st.sampled_from(("none", "kill"))
)
def test_so_many_failures_in_a_row_are_unhealthy(codes: list[int], retries: int, kept: int, action: str) -> None:
    settings = chosen(
        health_cmd="x", health_retries=str(retries), health_max_log_count=str(kept), health_on_failure=action,
        health_interval="7s",
    )  # fmt: skip
    state = health.new(settings, 0)
    streak, expected = 0, "starting"
    for number, code in enumerate(codes, 1):
        verdict = health.judge(settings, state, result(code))
        streak = streak + 1 if code else 0
        expected = "healthy" if not code else "unhealthy" if streak >= retries else expected
        assert (state["Status"], state["FailingStreak"]) == (expected, streak)
        assert verdict.action == (action if streak >= retries else "none")
        assert verdict.wait == 7
        assert [entry["ExitCode"] for entry in state["Log"]] == codes[:number][-kept:]


@given(st.lists(st.tuples(st.floats(0, 20), st.booleans()), max_size=20))
def test_failures_do_not_count_in_the_start_period(checks: list[tuple[float, bool]]) -> None:
    settings = chosen(health_cmd="x", health_retries="1", health_start_period="10s", health_on_failure="kill")
    state = health.new(settings, 0)
    for after, good in sorted(checks):
        before = state["Status"]
        verdict = health.judge(settings, state, result(0 if good else 1, after))
        if good:
            assert state["Status"] == "healthy"
        elif after < 10:
            assert (state["Status"], state["FailingStreak"], verdict.action) == (before, 0, "none")
        else:
            assert (state["Status"], verdict.action) == ("unhealthy", "kill")


def test_an_image_may_want_more_checks_at_first() -> None:
    image = {"Test": ["CMD", "x"], "StartPeriod": 10 * SECOND, "StartInterval": SECOND, "Interval": 60 * SECOND}
    settings = chosen(image)
    state = health.new(settings, 0)
    assert health.judge(settings, state, result(1, 3)).wait == 1
    assert health.judge(settings, state, result(0, 4)).wait == 60
    assert health.judge(settings, state, result(1, 5)).wait == 60
    assert health.judge(settings, health.new(settings, 0), result(1, 11)).wait == 60


@pytest.mark.parametrize(("interval", "afterwards"), [("60s", 0.0), ("disable", -1.0)])
def test_the_startup_check_comes_first(interval: str, afterwards: float) -> None:
    settings = chosen(
        health_cmd="x", health_retries="1", health_on_failure="kill", health_startup_cmd="y", health_interval=interval,
        health_startup_interval="2s", health_startup_success="2", health_startup_retries="3",
    )  # fmt: skip
    state = health.new(settings, 0)
    assert not state["passed"]
    for code, passed, wait in ((1, False, 2.0), (0, False, 2.0), (1, False, 2.0), (0, True, afterwards)):
        verdict = health.judge(settings, state, result(code, startup=True))
        assert (state["passed"], verdict.wait, verdict.action, state["FailingStreak"]) == (passed, wait, "none", 0)
    assert state["Status"] == "healthy"
    assert health.judge(settings, state, result(1)).action == "kill"


def test_a_startup_check_that_fails_too_often_restarts() -> None:
    settings = chosen(health_cmd="x", health_startup_cmd="y", health_startup_retries="2")
    state = health.new(settings, 0)
    actions = [health.judge(settings, state, result(1, startup=True)).action for _ in range(2)]
    assert (actions, state["Status"]) == (["none", "restart"], "starting")
