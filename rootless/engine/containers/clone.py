"""``container clone``: a new container made as another was, with what the caller wants changed."""

from __future__ import annotations

import os

from rootless.engine.containers.container import read_json
from rootless.engine.containers.create import create
from rootless.engine.containers.status import ALIVE, status
from rootless.errors import RootlessError, UsageError
from storage.errors import NotFoundError as NotInStoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from rootless.engine.context import Engine

    Made = tuple[dict[str, Any], list[str]]
    """Flags and arguments of the command that made a container."""

# What belongs to one container alone, or to the moment of its making; the environment is taken as it was then.
_ONCE = (
    "name", "replace", "cidfile", "pidfile", "conmon_pidfile", "detach", "quiet", "pull", "env", "env_file", "env_host",
    "env_merge", "label_file", "preserve_fds", "sig_proxy", "attach",
)  # fmt: skip
# What the engine sets anew in every container.
_OWN_VARIABLES = frozenset(("container", "HOSTNAME", "TERM"))


def clone(
    engine: Engine,
    name: str,
    changes: Mapping[str, Any],
    new_name: str,
    image: str,
    parse: Callable[[list[str]], Made | None],
) -> str:
    """Make a container as ``name`` was made; its id.

    ``changes`` are flags of ``create`` that replace those of the original. ``new_name`` '' makes one of the original's
    name, ``image`` '' takes the same. ``parse`` reads a command line that made a container; None if it is another one.
    ``destroy`` in ``changes``: remove the original, which must not run unless ``force``; ``run``: start the new one.
    """
    if changes.get("force") and not changes.get("destroy"):
        raise UsageError("cannot set --force without --destroy: invalid argument")
    container_id = engine.store.containers.find(name)
    record = engine.store.containers.load(container_id)
    if changes.get("destroy") and not changes.get("force") and status(engine, container_id).state in ALIVE:
        raise RootlessError(f"cannot destroy container {name}: it is running", "stop it first, or use --force")
    values, arguments = _made(record, parse)
    values = _repeatable(engine, container_id, record, values)
    values.update((key, value) for key, value in changes.items() if key not in ("destroy", "force", "run", "name"))
    values["name"] = new_name or changes.get("name") or _free_name(engine, record["name"])
    source = image or (_root_directory(record) if record["rootfs"] else record["image"])
    made = create(engine, values, source, arguments[1:])
    plain = {key: value for key, value in values.items() if key != "name"}
    engine.store.containers.update(made, lambda new: new.update(cloned={"values": plain, "arguments": arguments}))
    if changes.get("destroy"):
        from rootless.engine.containers.removal import remove

        remove(engine, [container_id], {"force": bool(changes.get("force"))})
    if changes.get("run"):
        from rootless.engine.containers.start import start

        start(engine, made, made)
    return made


def _made(record: Mapping[str, Any], parse: Callable[[list[str]], Made | None]) -> Made:
    """The flags that made the container; those of a clone are in its record, as its command names another container."""
    cloned = record.get("cloned")
    if cloned:
        return dict(cloned["values"]), list(cloned["arguments"])
    found = parse(record["create_command"][1:])
    if found is None:
        raise RootlessError(f"cannot clone container {record['name']}: the command that made it is not known")
    return found


def _repeatable(engine: Engine, container_id: str, record: Mapping[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """The flags without what cannot be had twice, or would mean something else in another place or at another time."""
    found = {key: value for key, value in values.items() if key not in _ONCE}
    spec = read_json(engine.store.layout.container_spec(container_id), container_id)
    found["env"] = [entry for entry in spec["process"]["env"] if entry.partition("=")[0] not in _OWN_VARIABLES]
    found["http_proxy"] = False
    if values.get("label_file"):
        found["label"] = [f"{key}={value}" for key, value in record["labels"].items()]
    sources = {mount["Destination"]: mount["Source"] for mount in record["mounts"] if mount["Type"] == "bind"}
    if "volume" in found:
        found["volume"] = [_absolute_volume(text, sources) for text in found["volume"]]
    if "mount" in found:
        found["mount"] = [_absolute_mount(text, sources) for text in found["mount"]]
    return found


def _absolute_volume(text: str, sources: Mapping[str, str]) -> str:
    """``./here:/there:ro`` with the directory that it meant."""
    source, colon, rest = text.partition(":")
    target = os.path.normpath(rest.partition(":")[0]) if colon else ""
    return f"{sources[target]}:{rest}" if source.startswith(".") and target in sources else text


def _absolute_mount(text: str, sources: Mapping[str, str]) -> str:
    words = dict(word.partition("=")[::2] for word in text.split(","))
    target = os.path.normpath(words.get("target") or words.get("destination") or words.get("dst") or "")
    for key in ("source", "src"):
        if words.get(key, "").startswith(".") and target in sources:
            return text.replace(f"{key}={words[key]}", f"{key}={sources[target]}", 1)
    return text


def _root_directory(record: Mapping[str, Any]) -> str:
    return f"{record['rootfs']}:O" if record["driver"] else str(record["rootfs"])


def _free_name(engine: Engine, name: str) -> str:
    """``NAME-clone``, or with the first number that is free behind it."""
    base = name.rpartition("-clone")[0] + "-clone" if name.rpartition("-clone")[2].isdigit() else f"{name}-clone"
    if name.endswith("-clone"):
        base = name
    number = 0
    while True:
        candidate = f"{base}{number or ''}"
        try:
            engine.store.containers.find(candidate)
        except NotInStoreError:
            return candidate
        number += 1
