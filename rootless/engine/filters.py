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

STATES = (
    "created", "configured", "initialized", "running", "exited", "stopped", "stopping", "paused", "restarting",
    "removing", "unknown", "dead",
)  # fmt: skip
RESTART_POLICIES = ("no", "none", "on-failure", "always", "unless-stopped")
_SYNONYMS = {"configured": "created", "stopped": "exited", "dead": "exited"}


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
    if key in ("label", "label!", "before"):  # every label that is named must be there; before the first of all
        return lambda record, current: all(test(record, current) for test in tests)
    return lambda record, current: any(test(record, current) for test in tests)


def _one(engine: Engine, key: str, value: str) -> Test:
    if key == "id":
        found = pattern(value) if value.strip("0123456789abcdef") else None
        return lambda record, _: bool(found.search(record["id"])) if found else record["id"].startswith(value)
    if key == "name":
        name = pattern(value.replace("/", ""))
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
        return _volume(value)
    if key == "network":
        return lambda record, _: value in _networks(record.get("network") or "pasta")
    if key == "command":
        command = pattern(value)
        return lambda record, _: bool(record.get("command")) and command.search(record["command"][0]) is not None
    if key == "restart-policy":
        if value not in RESTART_POLICIES:
            raise UsageError(f"cannot use the filter {key}={value[:40]}: invalid restart policy")
        return lambda record, _: (record.get("restart") or ["no"])[0] == ("no" if value == "none" else value)
    if key == "should-start-on-boot":
        from rootless.engine.options.values import parse_bool

        wanted_start = parse_bool(value, "--filter should-start-on-boot")
        return lambda record, current: _starts_on_boot(record, current) == wanted_start
    if key == "health":
        return _health(engine, value)
    if key == "pod":
        return lambda _record, _status: False  # no container is in one
    raise UsageError(f"cannot use the filter {key[:40]!r}: it is an invalid filter")


def _health(engine: Engine, value: str) -> Test:
    """A status of health; ``none`` is that of a container without a check."""
    from rootless.engine.containers import health

    def fits(record: Mapping[str, Any], _: Status) -> bool:
        return (health.read(engine, record)["Status"] if record.get("health") else "none") == value

    return fits


def _volume(value: str) -> Test:
    """``NAME``, ``DESTINATION`` or ``SOURCE:DESTINATION``."""
    source, colon, destination = value.partition(":")

    def fits(mount: Mapping[str, Any]) -> bool:
        sources = (mount.get("Name"), mount.get("Source"))
        if colon:
            return mount["Destination"] == destination and source in sources
        return value in (mount.get("Name"), mount["Destination"])

    return lambda record, _: any(fits(mount) for mount in record.get("mounts", []))


def _networks(mode: str) -> tuple[str, str]:
    """What a filter may call a network: its mode with and without options."""
    return mode, mode.partition(":")[0]


def _starts_on_boot(record: Mapping[str, Any], current: Status) -> bool:
    policy = (record.get("restart") or ["no"])[0]
    return policy == "always" or (policy == "unless-stopped" and not current.stopped)


def _integer(value: str, key: str) -> int:
    from rootless.engine.options.values import parse_integer

    return parse_integer(value, f"--filter {key}", -1, 255)


def _ancestor(engine: Engine, value: str) -> Test:
    try:
        image = engine.store.images.find(value)
    except StorageError:
        image = None
    wanted = image.id if image is not None else value.removeprefix("sha256:")
    # The name that the container was made from may have gone to another image, or away.
    names = (value, f"{value}:latest")

    def named(name: str) -> bool:
        return any(name == each or name.endswith("/" + each) for each in names)

    return lambda record, _: record.get("image") == wanted or named(record.get("image_name", ""))


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
