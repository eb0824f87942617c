"""``--filter key=value`` of ps, rm and prune. Values of one key are alternatives, different keys must all match."""

from __future__ import annotations

from rootless.engine.times import parse_moment
from rootless.errors import UsageError
from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from rootless.engine.containers.status import Status
    from rootless.engine.context import Engine

    Test = Callable[[Mapping[str, Any], Status], bool]

STATES = ("created", "configured", "initialized", "running", "exited", "stopped", "paused", "removing", "dead")
_SYNONYMS = {"configured": "created", "initialized": "created", "stopped": "exited", "dead": "exited"}


def split(words: Iterable[str]) -> dict[str, list[str]]:
    """{key: values} of ``key=value`` words; ``key!=value`` keeps the ``!`` in the key."""
    found: dict[str, list[str]] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"cannot use the filter {word[:80]!r}", "write it as key=value")
        found.setdefault(key, []).append(value)
    return found


def has_label(labels: Mapping[str, str], wanted: str) -> bool:
    """``key`` or ``key=value``."""
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def pattern(text: str) -> re.Pattern[str]:
    """A regular expression of a filter; podman takes names and ids so."""
    import re  # costs more than the whole listing: only when a pattern is given

    try:
        return re.compile(text)
    except re.error as error:
        raise UsageError(f"cannot use the filter {text[:80]!r}: {error}") from None


def container_filter(engine: Engine, words: Iterable[str]) -> Test:
    """A test for (record, status) of a container."""
    tests = [_any([_one(engine, key, value) for value in values], key) for key, values in split(words).items()]
    return lambda record, current: all(test(record, current) for test in tests)


def _any(tests: list[Test], key: str) -> Test:
    if key in ("label", "label!"):  # every label that is named must be there
        return lambda record, current: all(test(record, current) for test in tests)
    return lambda record, current: any(test(record, current) for test in tests)


def _one(engine: Engine, key: str, value: str) -> Test:
    if key == "id":
        found = pattern(value) if value.strip("0123456789abcdef") else None
        return lambda record, _: bool(found.search(record["id"])) if found else record["id"].startswith(value)
    if key == "name":
        name = pattern(value)
        return lambda record, _: name.search(record["name"]) is not None
    if key == "label":
        return lambda record, _: has_label(record.get("labels", {}), value)
    if key == "label!":
        return lambda record, _: not has_label(record.get("labels", {}), value)
    if key == "annotation":
        return lambda record, _: has_label(record.get("annotations", {}), value)
    if key == "status":
        if value not in STATES:
            raise UsageError(f"cannot filter by the status {value[:40]!r}", "use one of " + ", ".join(STATES))
        wanted = _SYNONYMS.get(value, value)
        return lambda _, current: current.state == wanted
    if key == "exited":
        code = _integer(value, key)
        return lambda _, current: current.state == "exited" and current.exit_code == code
    if key in ("before", "since"):
        limit = engine.store.containers.load(engine.store.containers.find(value))["created"]
        if key == "before":
            return lambda record, _: record.get("created", 0) < limit
        return lambda record, _: record.get("created", 0) > limit
    if key == "until":
        moment = parse_moment(value, "--filter until")
        return lambda record, _: record.get("created", 0) < moment
    if key == "ancestor":
        return _ancestor(engine, value)
    if key == "volume":
        return lambda record, _: any(
            value in (mount.get("Name"), mount["Destination"]) for mount in record.get("mounts", [])
        )
    if key == "network":
        return lambda record, _: (record.get("network") or "pasta").partition(":")[0] == value
    if key == "command":
        return lambda record, _: bool(record.get("command")) and record["command"][0] == value
    if key in ("pod", "health", "restart-policy", "should-start-on-boot"):
        # None of these is given to a container here; each matches only the value that says so.
        nothing = {"pod": "", "health": "none", "restart-policy": "no", "should-start-on-boot": "false"}[key]
        return lambda _record, _status: value == nothing
    raise UsageError(f"cannot use the filter {key[:40]!r}: invalid filter")


def _integer(value: str, key: str) -> int:
    from rootless.engine.options.values import parse_integer

    return parse_integer(value, f"--filter {key}", -1, 255)


def _ancestor(engine: Engine, value: str) -> Test:
    try:
        image = engine.store.images.find(value)
    except StorageError:
        image = None
    wanted = image.id if image is not None else value
    bare = value.partition(":")[0]
    return lambda record, _: record.get("image") == wanted or record.get("image_name", "") in (value, bare)


def until(words: Iterable[str], allowed: Iterable[str]) -> tuple[int, list[str], list[str]]:
    """(moment, labels, labels that must be missing) of a prune's filters; moment 0 means any age."""
    moment, labels, missing = 0, [], []
    for key, values in split(words).items():
        if key not in allowed:
            raise UsageError(f"cannot use the filter {key[:40]!r}", "the filters are " + ", ".join(allowed))
        if key == "until":
            moment = parse_moment(values[-1], "--filter until")
        elif key == "label":
            labels += values
        elif key == "label!":
            missing += values
    return moment, labels, missing
