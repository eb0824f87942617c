"""Instructions that change the configuration and nothing else; their texts are expanded already."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

from rootless.containerfile import model
from rootless.durations import parse_duration
from rootless.errors import RootlessError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DEFAULT_SHELL = ["/bin/sh", "-c"]
DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MOST_PORTS = 65535


def configure(config: Mapping[str, Any], step: model.Instruction, *, cmd_is_own: bool) -> dict[str, Any]:
    """The image configuration after a step. ``cmd_is_own``: the stage has had a CMD.

    Raises ContainerfileError for a value that the step cannot have.
    """
    new = dict(config)
    settings = new["config"] = dict(config.get("config") or {})
    if isinstance(step, model.Env):
        settings["Env"] = with_variables(settings.get("Env") or [], step.pairs)
    elif isinstance(step, model.Label):
        settings["Labels"] = {**(settings.get("Labels") or {}), **dict(step.pairs)}
    elif isinstance(step, model.Cmd):
        settings["Cmd"] = _words(settings, step.command)
    elif isinstance(step, model.Entrypoint):
        settings["Entrypoint"] = _words(settings, step.command)
        if not cmd_is_own:
            settings.pop("Cmd", None)  # it belonged to the entrypoint before
    elif isinstance(step, model.Workdir):
        settings["WorkingDir"] = directory_below(settings, step.path)
    elif isinstance(step, model.User):
        settings["User"] = step.user
    elif isinstance(step, model.Shell):
        settings["Shell"] = list(step.words)
    elif isinstance(step, model.StopSignal):
        settings["StopSignal"] = _signal(step)
    elif isinstance(step, model.Volume):
        settings["Volumes"] = {**(settings.get("Volumes") or {}), **{path: {} for path in step.paths}}
    elif isinstance(step, model.Expose):
        settings["ExposedPorts"] = {**(settings.get("ExposedPorts") or {}), **{port: {} for port in _ports(step)}}
    elif isinstance(step, model.Healthcheck):
        settings["Healthcheck"] = _health(settings, step)
    elif isinstance(step, model.OnBuild):
        settings["OnBuild"] = [*(settings.get("OnBuild") or []), step.trigger]
    elif isinstance(step, model.Maintainer):
        new["author"] = step.name
    return new


def with_variables(variables: Iterable[str], pairs: Iterable[tuple[str, str]]) -> list[str]:
    """``NAME=VALUE`` entries with those of ``pairs`` put in, each in the place of the one that it replaces."""
    found = {entry.partition("=")[0]: entry for entry in variables}
    found.update((name, f"{name}={value}") for name, value in pairs)
    return list(found.values())


def variables_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """The values of the variables that a configuration has, by name."""
    return {name: value for name, _, value in (entry.partition("=") for entry in settings.get("Env") or ())}


def directory_below(settings: Mapping[str, Any], path: str) -> str:
    """Where a path leads from the working directory, without ``.`` and ``..``."""
    return "/" + posixpath.normpath(posixpath.join(settings.get("WorkingDir") or "/", path)).lstrip("/")


def _words(settings: Mapping[str, Any], command: model.Command) -> list[str]:
    if isinstance(command, str):
        return [*(settings.get("Shell") or DEFAULT_SHELL), command]
    return list(command)


def _signal(step: model.StopSignal) -> str:
    from rootless.linux import signals

    try:
        signals.number(step.signal)
    except ValueError:
        raise step.origin.error(f"{step.signal!r} is not a signal", near=step.signal) from None
    return step.signal


def _ports(step: model.Expose) -> list[str]:
    ports: list[str] = []
    for text in step.ports:
        numbers, slash, protocol = text.partition("/")
        first, dash, last = numbers.partition("-")
        protocol = protocol.lower() or "tcp"
        parts = (first, last) if dash else (first,)
        valid = all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts)
        if not valid or protocol not in ("tcp", "udp", "sctp") or (slash and text.endswith("/")):
            raise step.origin.error(f"{text!r} is not a port", "write it like 80, 53/udp or 8000-8010", near=text)
        low, high = int(first), int(last or first)
        if not 0 < low <= high <= _MOST_PORTS:
            raise step.origin.error(f"{text!r} is not a range of ports", "ports are 1 to 65535", near=text)
        ports += [f"{number}/{protocol}" for number in range(low, high + 1)]
    return ports


def _health(settings: Mapping[str, Any], step: model.Healthcheck) -> dict[str, Any]:
    if step.command is None:
        return {"Test": ["NONE"]}
    if isinstance(step.command, str):
        check: dict[str, Any] = {"Test": ["CMD-SHELL", step.command]}
    else:
        check = {"Test": ["CMD", *step.command]}
    for key, text in (
        ("Interval", step.interval), ("Timeout", step.timeout), ("StartPeriod", step.start_period),
        ("StartInterval", step.start_interval),
    ):  # fmt: skip
        if text:
            check[key] = _nanoseconds(step, text)
    if step.retries:
        if not (step.retries.isascii() and step.retries.isdigit() and len(step.retries) < 7):
            raise step.origin.error(f"{step.retries!r} is not a number of retries", near=step.retries)
        check["Retries"] = int(step.retries)
    return check


def _nanoseconds(step: model.Healthcheck, text: str) -> int:
    try:
        return round(parse_duration(text, "HEALTHCHECK") * 1_000_000_000)
    except RootlessError:
        raise step.origin.error(f"{text!r} is not a duration", "write it like 30s or 1m30s", near=text) from None
