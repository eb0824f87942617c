"""The files that a container gets from the engine: hosts, resolv.conf, hostname, the time zone and .containerenv."""

from __future__ import annotations

import os

from rootless.errors import UsageError
from rootless.network import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Mapping
    from typing import Any

    from rootless.network import Network

_ZONES = "/usr/share/zoneinfo"
_MAX_ZONE = 1 << 20


def write(
    directory: str, record: Mapping[str, Any], hostname: str, network: Network, taken: Container[str]
) -> list[tuple[str, str]]:
    """Write the files of the container in ``directory``; (path on the host, path in the container) of each.

    What the user mounts something else on (``taken``) is left out. Called at each start: the host may have changed.
    """
    options = record["options"]
    contents: dict[str, str | bytes] = {"/etc/hostname": hostname + "\n"}
    if not options["no_hosts"]:
        contents["/etc/hosts"] = names.hosts(network, hostname, record["name"], options["add_host"])
    resolver = names.resolv(network, options["dns"], options["dns_search"], options["dns_option"])
    if resolver is not None:
        contents["/etc/resolv.conf"] = resolver
    contents["/run/.containerenv"] = _container_environment(record) if options["privileged"] else ""
    if options["tz"]:
        contents["/etc/localtime"] = time_zone(options["tz"])
    files = directory + "/files"
    try:
        os.mkdir(files, 0o700)
    except FileExistsError:
        pass
    bound = []
    for target, content in contents.items():
        if target not in taken:
            path = f"{files}/{target.rpartition('/')[2]}"
            _write(path, content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape"))
            bound.append((path, target))
    return bound


def _write(path: str, data: bytes) -> None:
    """Replace a file, readable by every user of the container; its directory lets nobody else in."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        os.fchmod(fd, 0o644)
        os.write(fd, data)
    finally:
        os.close(fd)


def _container_environment(record: Mapping[str, Any]) -> str:
    """What a privileged container may know about itself, in the form that toolbox reads."""
    from rootless.engine.info import PODMAN_API

    lines = {
        "engine": f"podman-{PODMAN_API}",
        "name": record["name"],
        "id": record["id"],
        "image": record["image_name"],
        "imageid": record["image"],
    }
    quoted = "".join(f'{key}="{value}"\n' for key, value in lines.items())
    return f"{quoted}rootless=1\ngraphRootMounted=1\n"


def time_zone(name: str) -> bytes:
    """The data of a time zone of the host (tzfile(5)); ``local`` is the host's own."""
    path = os.path.realpath("/etc/localtime" if name == "local" else f"{_ZONES}/{name}")
    if name != "local" and (".." in name.split("/") or name.startswith("/") or not path.startswith(_ZONES + "/")):
        raise UsageError(f"cannot use {name[:80]!r} for --tz: it is not the name of a time zone")
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_ZONE)
    except OSError as error:
        hint = "the names are those of the files in /usr/share/zoneinfo"
        raise UsageError(f"cannot use {name[:80]!r} for --tz: {error.strerror}", hint) from None
    if not data.startswith(b"TZif"):
        raise UsageError(f"cannot use {name[:80]!r} for --tz: it is not the name of a time zone")
    return data
