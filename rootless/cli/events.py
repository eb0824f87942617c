"""``events``: a line, a JSON object or a template's text for each."""

from __future__ import annotations

import time

from rootless.cli import render
from rootless.engine.context import open_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Values = dict[str, Any]
    Event = Mapping[str, Any]


_STREAK = "health_failing_streak"
_HEALTH = ("health_status", _STREAK, "health_log")
"""What podman tells of a check beside the attributes, and before them."""


def events(values: Values, args: list[str], global_values: Values) -> int:
    """``events``: until it is interrupted, or the last is told."""
    from rootless.engine import event_reader
    from rootless.engine.times import parse_moment
    from storage import jsonfast

    since, until = values.get("since"), values.get("until")
    stream = values.get("stream") is not False
    found = event_reader.events(
        open_engine(global_values),
        values.get("filter") or [],
        parse_moment(since, "--since") if since else 0,
        parse_moment(until, "--until", forward=True) if until else 0,
        past=bool(since or until) or not stream,
        follow=stream,
    )
    template = values.get("format")
    full = values.get("no_trunc") is not False
    heading = True
    for event in found:
        if template in ("json", "{{json .}}", "{{ json . }}"):
            render.line(jsonfast.dumps(_shape(event)))
        elif template:
            render.print_format([_fields(event, full)], template, heading=heading)
            heading = False
        else:
            render.line(_human(event, full))
    return 0


def _shape(event: Event) -> Values:
    """podman's keys in podman's order; what is empty is left out, but for the attributes."""
    shown: Values = {}
    if "ContainerExitCode" in event:
        shown["ContainerExitCode"] = event["ContainerExitCode"]
    for key in ("ID", "Image", "Name"):
        if event[key]:
            shown[key] = event[key]
    shown["Status"] = event["Status"]
    shown["time"] = event["timeNano"] // 1_000_000_000
    shown["timeNano"] = event["timeNano"]
    shown["Type"] = event["Type"]
    attributes = dict(event["Attributes"])
    for key in _HEALTH:
        if event["Status"] == "health_status" and attributes.get(key):
            text = attributes.pop(key)
            shown[key] = _count(text) if key == _STREAK else text
    if attributes.get("Error"):
        shown["Error"] = attributes["Error"]
    shown["Attributes"] = attributes or None
    return shown


def _count(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def _fields(event: Event, full: bool) -> Values:
    """What a template may ask of an event."""
    attributes = event["Attributes"]
    return {
        "Attributes": attributes,
        "ContainerExitCode": event.get("ContainerExitCode"),
        "ContainerInspectData": "",
        "Error": attributes.get("Error", ""),
        "HealthFailingStreak": _count(attributes.get(_STREAK, "")),
        "HealthLog": attributes.get("health_log", ""),
        "HealthStatus": attributes.get("health_status", ""),
        "ID": event["ID"],
        "Image": event["Image"],
        "Name": event["Name"],
        "Network": event["Name"] if event["Type"] == "network" else "",
        "PodID": "",
        "Status": event["Status"],
        "Time": event["timeNano"] // 1_000_000_000,
        "TimeNano": event["timeNano"],
        "ToHumanReadable": lambda truncate=False: _human(event, full and not truncate),
        "Type": event["Type"],
    }


def _human(event: Event, full: bool) -> str:
    """``TIME container start ID (image=…, name=…, key=value)``; each kind of object tells what it has."""
    kind, name = event["Type"], event["Name"]
    identifier = event["ID"] if full else event["ID"][:12]
    words = [_moment(event["timeNano"]), kind, event["Status"]]
    if kind in ("container", "pod"):
        attributes = sorted(event["Attributes"].items(), key=lambda pair: (pair[0] not in _HEALTH, pair[0]))
        told = {"image": event["Image"], "name": name, **dict(attributes)}
        words += [identifier, "(" + ", ".join(f"{key}={value}" for key, value in told.items()) + ")"]
    elif kind == "image":
        words += [identifier, name]
    elif kind == "volume":
        words.append(name)
    else:
        words += [identifier, name]
    return render.printable(" ".join(word for word in words if word).replace("\n", "\\n"))


def _moment(nanoseconds: int) -> str:
    """``2026-11-23 14:54:48.123456789 +0000 UTC``, in the local zone, as Go prints a time."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    local = time.localtime(seconds)
    fraction = f".{rest:09d}".rstrip("0").rstrip(".")
    return time.strftime("%Y-%m-%d %H:%M:%S", local) + fraction + time.strftime(" %z %Z", local)
