"""Moving network devices of the host into a container (``linux.netDevices``).

A device loses its addresses and is switched off by a move, so both are restored behind it.
Source: OCI runtime-spec 1.3, config-linux.md, "Network Devices".
"""

from __future__ import annotations

import os

from rootless.errors import RootlessError
from rootless.linux.libc import CLONE_NEWNET, setns
from rootless.linux.netlink import Route

_HINT = "only root of the machine, or of the user namespace that owns the device, may move it"


def move(devices: list[tuple[str, str]], pid: int) -> None:
    """Move devices, (name here, name there), to the network namespace of a process. Raises ``RootlessError``."""
    try:
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        outside = Route()
    except OSError as error:
        raise RootlessError(f"cannot move network devices: {os.strerror(error.errno or 0)}") from None
    moved: list[tuple[str, bool, list[bytes]]] = []
    for host, name in devices:
        try:
            index, is_up = outside.device(host)
            addresses = outside.addresses(index)
            outside.move(index, namespace, name)
        except OSError as error:
            raise _failure(host, error) from None
        moved.append((name, is_up, addresses))
    try:
        setns(namespace, CLONE_NEWNET)
        inside = Route()
        setns(own, CLONE_NEWNET)
    except OSError as error:
        raise _failure(devices[0][0], error) from None
    for name, is_up, addresses in moved:
        try:
            _restore(inside, name, is_up, addresses)
        except OSError as error:
            raise _failure(name, error) from None
    outside.close()
    inside.close()
    os.close(namespace)
    os.close(own)


def _restore(inside: Route, name: str, is_up: bool, addresses: list[bytes]) -> None:
    index = inside.device(name)[0]
    for address in addresses:
        inside.add_address(index, address)
    if is_up:
        inside.set_up(index)


def _failure(name: str, error: OSError) -> RootlessError:
    hint = _HINT if isinstance(error, PermissionError) else ""
    return RootlessError(f"cannot move the network device {name}: {os.strerror(error.errno or 0)}", hint)
