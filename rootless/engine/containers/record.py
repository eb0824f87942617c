"""The record of a container: what ps, inspect, start and the collection of garbage read of it."""

from __future__ import annotations

import sys
import time

from rootless.engine.containers.process import entrypoint_and_command
from rootless.engine.containers.rootfs import driver_for
from rootless.errors import RootlessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from rootless.engine.containers.rootfs import Source
    from rootless.engine.context import Engine
    from rootless.engine.options.run import RunOptions
    from rootless.idmaps import IdMap

# What inspect and a later start want to know of the options.
_KEPT = (
    "interactive", "tty", "privileged", "read_only", "init", "ipc", "pid", "uts", "cgroupns", "cap_add", "cap_drop",
    "shm_size", "stop_timeout", "timeout", "umask", "log_driver", "add_host", "no_hosts", "dns", "dns_option",
    "dns_search", "groups", "keep_groups", "pidfile", "preserve_fds", "publish_all", "hardened", "nested",
    "hostname", "tz",
    "log_path", "log_size", "log_tag", "resources", "oom_score_adj", "cgroups", "cgroup_parent",
    "detach_keys", "sdnotify", "conmon_pidfile",
    "volumes_from", "devices", "rlimits", "sysctls", "attach", "sig_proxy", "require", "strict",
)  # fmt: skip


def describe(
    engine: Engine, options: RunOptions, source: Source, arguments: Sequence[str], idmap: IdMap
) -> dict[str, Any]:
    """The record of a new container.

    ``id`` and ``name`` are added by the store, ``mounts`` and ``anonymous`` once volumes are there. ``layers`` keeps
    the image's layers from being collected.
    """
    image = source.image
    entrypoint, command = entrypoint_and_command(options, source.config, arguments)
    labels = dict(source.config.get("Labels") or {})
    labels.update(options.labels)
    driver = driver_for(engine, idmap) if image is not None or source.overlay else None
    return {
        "created": time.time_ns(),
        "image": image.id if image is not None else "",
        "image_name": source.name if image is not None else "",
        "image_digest": image.digest if image is not None else "",
        "layers": image.diff_ids if image is not None else [],
        "rootfs": source.directory,
        "driver": driver.name if driver else "",
        "driver_why": driver.why if driver else "",
        "command": entrypoint + command,
        "entrypoint": entrypoint,
        "labels": labels,
        "annotations": options.annotations,
        "rm": options.rm,
        "network": options.network,
        "ports": _ports(options, source.config),
        "exposed": _exposed(options, source.config),
        "userns": options.userns.mode if options.userns is not None else "",
        "user": options.user or source.config.get("User") or "",
        "seccomp": seccomp(options),
        "health": _health(options, source.config),
        "restart": [options.restart, options.restart_retries],
        "stop_signal": options.stop_signal or _image_stop_signal(source.config),
        "cidfile": options.cidfile,
        "create_command": list(sys.argv),
        "security": security(options),
        "options": {name: getattr(options, name) for name in _KEPT},
        "mounts": [],
        "anonymous": [],
    }


def _health(options: RunOptions, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """How the container's health is checked, see rootless.engine.options.health."""
    if options.health is None and not config.get("Healthcheck") and options.sdnotify != "healthy":
        return None
    from rootless.engine.options.health import choose

    return choose(options.health, config.get("Healthcheck"), options.sdnotify)


def _image_stop_signal(config: Mapping[str, Any]) -> int:
    text = config.get("StopSignal") or ""
    if not text:
        return 15
    from rootless.engine.options.values import parse_signal

    return parse_signal(text, "the image's STOPSIGNAL")


def _ports(options: RunOptions, config: Mapping[str, Any]) -> list[Any]:
    ports = list(options.ports)
    if options.publish_all and options.network not in ("none", "host"):
        from rootless.network.ports import parse

        taken = {(port["container_port"], port["protocol"]) for port in ports}
        for number, protocols in _exposed(options, config).items():
            for protocol in protocols:
                if (int(number), protocol) not in taken:
                    ports += parse(f"{number}/{protocol}")
    return ports


def _exposed(options: RunOptions, config: Mapping[str, Any]) -> dict[str, list[str]]:
    """{port: protocols} of ``--expose`` and of the image; entries of the image that make no sense are left out."""
    found: dict[str, list[str]] = {}
    words = [(word, True) for word in options.expose] + [(word, False) for word in config.get("ExposedPorts") or ()]
    for word, own in words:
        ports, _, protocol = word.partition("/")
        first, dash, last = ports.partition("-")
        last = last if dash else first
        good = all(part.isascii() and part.isdigit() and 0 < len(part) <= 5 for part in (first, last))
        if not good or not 0 < int(first) <= int(last) <= 65535 or protocol not in ("", "tcp", "udp", "sctp"):
            if own:
                raise RootlessError(f"cannot use {word[:40]!r} for --expose", "write it like 80, 53/udp or 8000-8010")
            continue
        for number in range(int(first), int(last) + 1):
            found.setdefault(str(number), []).append(protocol or "tcp")
    return found


def security(options: RunOptions) -> dict[str, Any]:
    """What ``--security-opt`` said; empty where it was not given."""
    given = options.security
    return {name: getattr(given, name) for name in type(given).__slots__} if given else {}


def seccomp(options: RunOptions) -> str:
    """The profile that the launcher loads: ``default``, ``unconfined`` or a path."""
    if options.security is not None and options.security.seccomp != "default":
        return options.security.seccomp
    return "unconfined" if options.privileged else "default"
