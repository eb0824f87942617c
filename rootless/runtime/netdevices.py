"""Moving network devices of the host into a container (``linux.netDevices``).

A device loses its addresses and is switched off by a move: it is given them again, and is switched on.
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
        setns(namespace, CLONE_NEWNET)
        inside = Route()
        setns(own, CLONE_NEWNET)
    except OSError as error:
        raise _failure(devices[0][0], error) from None
    try:
        _check(devices, outside.devices(), inside.devices())
        for host, name in devices:
            try:
                _move(outside, inside, namespace, host, name)
            except OSError as error:
                raise _failure(host, error) from None
    finally:
        outside.close()
        inside.close()
        os.close(namespace)
        os.close(own)


def _check(devices: list[tuple[str, str]], here: dict[str, int], there: dict[str, int]) -> None:
    """Refuse before anything is moved: a device that was renamed in vain would be lost with the container."""
    for host, name in devices:
        if host not in here:
            raise RootlessError(f"cannot move the network device {host}: there is none of that name")
        if name in there:
            raise RootlessError(f"cannot move the network device {host}: the container has a device {name} already")


def _move(outside: Route, inside: Route, namespace: int, host: str, name: str) -> None:
    index = outside.devices()[host]
    addresses = outside.addresses(index)
    # An index of our choice, as the kernel may make a name of ``name`` (eth%d).
    new_index = max(inside.devices().values()) + 1
    outside.move(index, namespace, name, new_index)
    for address in addresses:
        inside.add_address(new_index, address)
    inside.set_up(new_index)


def _failure(name: str, error: OSError) -> RootlessError:
    hint = _HINT if isinstance(error, PermissionError) else ""
    return RootlessError(f"cannot move the network device {name}: {os.strerror(error.errno or 0)}", hint)
