"""``--health-*``: how a container's health is checked, from the command line and from the image.

The result is kept in the container's record, in podman's words: ``check`` and ``startup`` (None without one) have
``Test``, a command that begins with CMD or CMD-SHELL, ``Interval`` (0: not by the clock), ``Timeout``, ``StartPeriod``
and ``Retries``; ``startup`` also ``Successes``. An image may name a ``StartInterval``, for the time in which failures
do not count. Times are nanoseconds.
"""

from __future__ import annotations

import os

from rootless.durations import parse_duration
from rootless.engine.options.values import parse_integer
from rootless.errors import UsageError
from storage import jsonfast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SECOND = 1_000_000_000
ACTIONS = ("none", "kill", "restart", "stop")
LOCAL, EVENTS = "local", "events_logger"
"""Values of ``--health-log-destination`` that are no directory."""

_DEFAULTS = {"Interval": 30 * SECOND, "Timeout": 30 * SECOND, "StartPeriod": 0, "Retries": 3}
_STARTUP_DEFAULTS = {"Interval": 30 * SECOND, "Timeout": 30 * SECOND, "StartPeriod": 0, "Retries": 0, "Successes": 0}
_LOG_COUNT, _LOG_SIZE = 5, 500
_MOST = (1 << 31) - 1
_LONGEST = 1 << 62  # nanoseconds
_NONE, _PLAIN, _SHELL = "NONE", "CMD", "CMD-SHELL"
_TIMES = {
    "Interval": ("health_interval", "health_startup_interval"),
    "Timeout": ("health_timeout", "health_startup_timeout"),
    "StartPeriod": ("health_start_period", ""),
}
_SINGLE = {
    "on_failure": "health_on_failure", "destination": "health_log_destination", "log_count": "health_max_log_count",
    "log_size": "health_max_log_size",
}  # fmt: skip
_NO_CHECK = "give --health-cmd, or use an image with a HEALTHCHECK"


class HealthOptions:
    """What the flags say. ``given`` are their keys; ``check`` and ``startup`` hold only what was given."""

    __slots__ = ("check", "destination", "given", "log_count", "log_size", "on_failure", "startup")

    def __init__(self, values: Mapping[str, Any], given: set[str]) -> None:
        get = values.get
        self.given = given
        self.check = _times(values, 0)
        self.startup = _times(values, 1)
        if get("health_cmd"):
            self.check["Test"] = parse_command(values["health_cmd"], "--health-cmd")
        if get("health_retries") is not None:
            self.check["Retries"] = parse_integer(values["health_retries"], "--health-retries", 1, _MOST)
        if get("health_startup_cmd"):
            self.startup["Test"] = parse_command(values["health_startup_cmd"], "--health-startup-cmd")
        for key, flag in (("Retries", "health_startup_retries"), ("Successes", "health_startup_success")):
            if get(flag) is not None:
                self.startup[key] = parse_integer(values[flag], "--" + flag.replace("_", "-"), 0, _MOST)
        self.on_failure: str = get("health_on_failure") or "none"
        if self.on_failure not in ACTIONS:
            raise UsageError(
                f"cannot use {self.on_failure[:40]!r} for --health-on-failure", "use one of " + ", ".join(ACTIONS)
            )
        self.destination = _destination(get("health_log_destination") or LOCAL)
        self.log_count = _number(get("health_max_log_count"), "--health-max-log-count", _LOG_COUNT)
        self.log_size = _number(get("health_max_log_size"), "--health-max-log-size", _LOG_SIZE)
        if "no_healthcheck" in self.given:
            if len(self.given) > 1:
                raise UsageError("cannot use --no-healthcheck together with a health check", "leave one of them out")
            self.check["Test"] = [_NONE]

def choose(given: HealthOptions | None, image: Mapping[str, Any] | None, sdnotify: str) -> dict[str, Any] | None:
    """The health check of a container, None for none: the flags over the image's ``Healthcheck`` over the defaults.

    Raises UsageError where flags, or ``--sdnotify=healthy``, ask for what needs a check that is not there.
    """
    check = {**_of_image(image or {}), **(given.check if given else {})}
    if check.get("Test") in (None, [_NONE]):
        if given and given.given - {"health_cmd", "no_healthcheck"}:
            raise UsageError("cannot set how health is checked: the container has no health check", _NO_CHECK)
        if sdnotify == "healthy":
            raise UsageError("cannot use --sdnotify=healthy: the container has no health check", _NO_CHECK)
        return None
    return {
        "check": {**_DEFAULTS, **check},
        "startup": _startup({}, given.startup) if given else None,
        "on_failure": given.on_failure if given else "none",
        "destination": given.destination if given else LOCAL,
        "log_count": given.log_count if given else _LOG_COUNT,
        "log_size": given.log_size if given else _LOG_SIZE,
    }


def change(old: Mapping[str, Any] | None, given: HealthOptions, sdnotify: str) -> dict[str, Any] | None:
    """The health check of a container whose check is ``old`` when the flags of ``update`` have changed it.

    Raises UsageError as :func:`choose`.
    """
    if old is None or given.check.get("Test") == [_NONE]:
        return choose(given, None, sdnotify)
    named = {key: flag for key, flag in _SINGLE.items() if flag in given.given}
    return {
        **old,
        "check": {**old["check"], **given.check},
        "startup": _startup(old["startup"] or {}, given.startup),
        **{key: getattr(given, key) for key in named},
    }


def _startup(old: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any] | None:
    found = {**_STARTUP_DEFAULTS, **old, **given}
    if found.get("Test") == [_NONE] or not (old or given):
        return None
    if "Test" not in found:
        raise UsageError("cannot set how a startup check is made: there is none", "give --health-startup-cmd")
    return found


def parse_command(text: str, flag: str) -> list[str]:
    """A check's command: plain text is for the container's shell, a JSON array is executed as it is.

    Either may begin with Docker's words NONE, CMD and CMD-SHELL. An array of one string is for the shell too, as podman
    has it.
    """
    words: list[str] | None = None
    if text.lstrip().startswith("["):
        try:
            words = jsonfast.loads(text)
        except ValueError:
            words = None  # the shell has a command of that name
        if words is not None and not all(isinstance(word, str) for word in words):
            raise UsageError(f"cannot use {text[:80]!r} for {flag}", 'write the array like ["curl", "-f", "URL"]')
    listed = words is not None
    if words is None:
        words = text.split(None, 1)
    keyword = words[0].upper() if words else ""
    if keyword == _NONE and len(words) == 1:
        return [_NONE]
    if keyword == _PLAIN:
        words = [_PLAIN, *(words[1:] if listed else text.split()[1:])]
    elif keyword == _SHELL:
        words = [_SHELL, " ".join(words[1:])]
    elif listed and len(words) > 1:
        words = [_PLAIN, *words]
    else:
        words = [_SHELL, "".join(words) if listed else text]
    if len(words) < 2 or not words[1].strip() or any("\0" in word for word in words):
        raise UsageError(f"cannot use {text[:80]!r} for {flag}: there is no command in it", "name a command to run")
    return words


def command(check: Mapping[str, Any]) -> list[str]:
    """The words to execute in the container."""
    words: list[str] = check["Test"]
    if words[0] == _SHELL:
        return ["/bin/sh", "-c", " ".join(words[1:])]
    return words[1:] if words[0] == _PLAIN else words


def _of_image(image: Mapping[str, Any]) -> dict[str, Any]:
    """The image's check without what it leaves to the defaults, which it says by 0."""
    test = image.get("Test")
    if not test or not test[0] or (test[0] in (_PLAIN, _SHELL) and not any(test[1:])):
        return {}
    found: dict[str, Any] = {"Test": list(test)}
    for key in (*_DEFAULTS, "StartInterval"):
        value = image.get(key)
        if value and value > 0:
            found[key] = value
    return found


def _times(values: Mapping[str, Any], which: int) -> dict[str, Any]:
    found = {}
    for key, flags in _TIMES.items():
        text = values.get(flags[which])
        if text in (None, ""):
            continue
        flag = "--" + flags[which].replace("_", "-")
        if key == "Interval" and text == "disable" and not which:
            found[key] = 0
            continue
        time = round(parse_duration(str(text), flag) * SECOND)
        if time > _LONGEST:
            raise UsageError(f"cannot use {text[:40]!r} for {flag}: it is too long", "write it like 30s or 5m")
        if key == "Timeout" and time < 1:
            raise UsageError(f"cannot use {text[:40]!r} for {flag}: no check could end in time", "write it like 30s")
        if key == "Interval" and time < 1 and which:
            raise UsageError(f"cannot use {text[:40]!r} for {flag}: the check would never run", "write it like 30s")
        found[key] = time
    return found


def _number(text: str | None, flag: str, default: int) -> int:
    return default if text is None else parse_integer(text, flag, 0, _MOST)


def _destination(text: str) -> str:
    if text in (LOCAL, EVENTS):
        return text
    path = os.path.abspath(text)
    if not os.path.isdir(path):
        hint = f"make the directory, or use {LOCAL} or {EVENTS}"
        raise UsageError(f"cannot use {text[:120]!r} for --health-log-destination: it is no directory", hint)
    return path
