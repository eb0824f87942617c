"""``--device``, and the devices that ``--privileged`` brings along."""

from __future__ import annotations

import os

from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypedDict

    class Device(TypedDict):
        """A device of the host bound into the container."""

        source: str
        destination: str


_DIRECTORY, _CHARACTER, _BLOCK = 0o040000, 0o020000, 0o060000
_NESTED = ("/dev/fuse", "/dev/net/tun")
_OWN_DEV = frozenset(
    ("console", "full", "fd", "mqueue", "null", "ptmx", "pts", "random", "shm", "tty", "urandom", "zero")
)


def parse_devices(entries: Iterable[str]) -> list[Device]:
    """``HOST[:CONTAINER][:PERMISSIONS]``; a directory stands for every device below it.

    Without root there is no device cgroup, so permissions narrower than the device file's own are refused (``m`` makes
    no difference: no device node can be made in a user namespace).
    """
    devices: list[Device] = []
    for entry in entries:
        parts = entry.split(":")
        source = parts[0]
        permissions = parts.pop() if len(parts) > 1 and parts[-1] and frozenset("rwm").issuperset(parts[-1]) else "rwm"
        destination = parts[1] if len(parts) > 1 else source
        if len(parts) > 2 or not source.startswith("/") or not destination.startswith("/") or "\0" in entry:
            hint = "write it like /dev/fuse or /dev/sda:/dev/xvda:rwm"
            raise UsageError(f"cannot use {entry[:80]!r} for --device", hint)
        if not {"r", "w"} <= set(permissions):
            raise UsageError(f"cannot give {source} with permissions {permissions!r}: only root can narrow them")
        devices += _expand(source, destination)
    return devices


def _expand(source: str, destination: str) -> list[Device]:
    try:
        kind = os.stat(source).st_mode & 0o170000
        if kind == _DIRECTORY:
            found: list[Device] = []
            for name in sorted(os.listdir(source)):
                if os.lstat(f"{source}/{name}").st_mode & 0o170000 in (_CHARACTER, _BLOCK, _DIRECTORY):
                    found += _expand(f"{source}/{name}", f"{destination}/{name}")
            return found
    except OSError as error:
        raise UsageError(f"cannot use device {source}: {error.strerror}") from None
    if kind not in (_CHARACTER, _BLOCK):
        raise UsageError(f"cannot use {source} for --device: it is not a device")
    return [{"source": source, "destination": destination}]


def nested_devices() -> list[Device]:
    """What a container engine inside needs of ``/dev`` for layers and networks, as far as the user can open it."""
    paths = [path for path in _NESTED if os.access(path, os.R_OK | os.W_OK)]
    return [{"source": path, "destination": path} for path in paths]


def privileged_devices() -> list[Device]:
    """Every device of the host's ``/dev`` that the user can open, but for those that each container has of its own."""
    devices: list[Device] = []
    pending = [f"/dev/{name}" for name in sorted(os.listdir("/dev")) if name not in _OWN_DEV]
    while pending:
        path = pending.pop(0)
        try:
            kind = os.lstat(path).st_mode & 0o170000
            if kind == _DIRECTORY:
                pending += sorted(f"{path}/{name}" for name in os.listdir(path))
        except OSError:
            continue
        if kind in (_CHARACTER, _BLOCK) and os.access(path, os.R_OK | os.W_OK):
            devices.append({"source": path, "destination": path})
    return devices
