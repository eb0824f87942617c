"""The volumes of containers: what each stands for on the host, who uses it, and its end with its container."""

from __future__ import annotations

from rootless.engine.events import note
from rootless.errors import UsageError
from storage.errors import NotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from rootless.engine.context import Engine


def check_options(options: Mapping[str, str]) -> None:
    """The options of the local driver that work without root: a bind of a directory of the host.

    Anything else is mount(8) work: its result would have to be shared between containers, which only root can arrange.
    """
    if not options:
        return
    words = options.get("o", "").split(",")
    kind = options.get("type", "none")
    device = options.get("device", "")
    known = not set(options) - {"type", "o", "device"}
    if not known or kind not in ("none", "bind") or "bind" not in words or not device.startswith("/"):
        hint = "without root only a bind works: --opt type=none --opt o=bind --opt device=/DIRECTORY"
        raise UsageError("cannot mount a volume with these options", hint)
    if set(words) - {"bind", "rbind", "ro", "rw", "noexec", "nodev", "nosuid"}:
        raise UsageError(f"cannot use the volume options o={options['o'][:80]}", "use bind, ro, noexec, nodev, nosuid")


def source(engine: Engine, record: Mapping[str, Any]) -> tuple[str, list[str]]:
    """(directory of the host that the volume stands for, mount options that it adds)."""
    options = record["options"]
    if options:
        words = [word for word in options.get("o", "").split(",") if word not in ("bind", "rbind", "rw")]
        return options["device"], words
    return engine.store.volumes.path(record["name"]), []


def users(engine: Engine) -> dict[str, list[str]]:
    """Ids of the containers that mount each volume, by the volume's name."""
    found: dict[str, list[str]] = {}
    for container_id, record in engine.store.containers.list():
        for name in volumes_of(record):
            found.setdefault(name, []).append(container_id)
    return found


def volumes_of(record: Mapping[str, Any]) -> list[str]:
    """Names of the volumes that a container mounts."""
    return [mount["Name"] for mount in record.get("mounts", []) if mount["Type"] == "volume"]


def forget(engine: Engine, names: Iterable[str]) -> None:
    """Remove volumes that were made for one container, which is gone or never came to be."""
    for name in names:
        try:
            engine.store.volumes.remove(name, engine.delete_tree)
        except NotFoundError:
            continue
        note(engine, "volume", "remove", "", {"name": name})


def forget_unused(engine: Engine, names: Iterable[str]) -> None:
    """As :func:`forget`, but a volume stays that another container has by --volumes-from."""
    used = users(engine)
    forget(engine, [name for name in names if name not in used])
