"""The network of a container: which helper connects it, and the start of that helper.

::

    choose(mode, ports) ──► Network ──► attach(network, pid) ──► NetworkHandle.wait_ready() … .close()

``none`` and ``host`` need no helper. Otherwise the container has a network namespace of its own, connected by a helper
that runs beside it as the same user: pasta, or slirp4netns where pasta is missing or old. Neither lets the container
reach the loopback addresses of the host. A helper lives as long as the process that attached it, see `helper`.
"""

from __future__ import annotations

import errno
import os

from rootless.errors import RootlessError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rootless.network.helper import NetworkHandle
    from rootless.network.ports import PortMapping

_TUN = "/dev/net/tun"
_INSTALL = "install pasta (Debian's package passt) or slirp4netns, or use --network none or --network host"


class Network:
    """What was chosen.

    ``kind`` is none, host, pasta or slirp4netns; ``helper`` its absolute path and ``options`` its further arguments.
    The addresses are as the container sees them, '' where there is none: ``own_address``, ``host_address`` of the
    host, and ``nameserver``, where the helper passes questions on to the host's own resolver. ``why``: for what reason
    a container has no way out for which nothing was asked.
    """

    __slots__ = ("helper", "host_address", "kind", "nameserver", "options", "own_address", "ports", "why")

    def __init__(self, kind: str, helper: str = "", options: Sequence[str] = ()) -> None:
        self.kind = kind
        self.helper = helper
        self.options = list(options)
        self.ports: list[PortMapping] = []
        self.own_address = ""
        self.host_address = ""
        self.nameserver = ""
        self.why = ""


def choose(mode: str = "", ports: Iterable[PortMapping] = ()) -> Network:
    """Read ``--network`` ('' is the default) and find its helper.

    ``ports`` are what `ports.parse` gave; with ``host`` they mean nothing, as podman has it, with ``none`` they cannot
    be had. Where a helper or its device is missing, a container for which nothing was asked has a network of its own
    without a way out. Raises ``RootlessError`` for what was asked for and cannot be had.
    """
    kind, _, rest = mode.partition(":")
    published = list(ports)
    if kind in ("none", "host"):
        if rest:
            raise UsageError(f"cannot use options with --network {kind}")
        if published and kind == "none":
            raise UsageError("cannot publish ports without a network", "leave --network none or --publish out")
        return Network(kind)
    if published:
        from rootless.network.ports import check

        check(published)
    network = _with_helper(kind, rest, bool(published))
    network.ports = published
    return network


def attach(network: Network, pid: int) -> NetworkHandle | None:
    """Start the helper of ``network`` for the namespaces of process ``pid``; None where none is needed.

    Returns at once, while the helper sets itself up. The process must exist and still be dumpable.
    """
    if not network.helper:
        return None
    if network.kind == "pasta":
        from rootless.network.pasta import attach as start
    else:
        from rootless.network.slirp4netns import attach as start
    handle = start(network, pid)
    handle.has_ports = bool(network.ports)
    return handle


def _with_helper(kind: str, rest: str, published: bool) -> Network:
    if kind not in ("", "pasta", "slirp4netns"):
        hint = "use none, host, pasta or slirp4netns"
        raise UsageError(f"cannot use the network {kind[:80]!r}: network not found", hint)
    from rootless.network.helper import route_addresses
    from rootless.paths import helper

    addresses = route_addresses()
    for name in (kind,) if kind else _order(addresses, published):
        path = helper(name)
        if not path:
            continue
        why, hint = tunnel(), f"ask an administrator for access to {_TUN}, or use --network none or host"
        if why:
            break
        if name == "pasta":
            from rootless.network.pasta import describe
        else:
            from rootless.network.slirp4netns import describe
        return describe(path, rest, addresses)
    else:
        why, hint = f"{kind} is not installed" if kind else "neither pasta nor slirp4netns is installed", _INSTALL
    if kind or published:
        raise RootlessError(f"cannot connect the container to the network: {why}", hint)
    network = Network("none")
    network.why = why
    return network


def tunnel() -> str:
    """Why no helper can make its device in a container, found by trying what that takes; empty where it can."""
    try:
        os.close(os.open(_TUN, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        return f"{_TUN} cannot be opened: {error.strerror}"
    from rootless.linux.libc import setns

    try:
        setns(-1, 0)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOSYS):
            return "a system call filter forbids to enter namespaces"
    return ""


def _order(addresses: tuple[str, str], published: bool) -> tuple[str, str]:
    """Which helper is tried first. pasta needs a route of the host's; ports keep the client's address with it alone.

    Where that is not lost by it, slirp4netns comes before an old pasta: one of 2023 takes 29 MB of memory for each
    container, and a third of the time of its start.
    """
    if not any(addresses):
        return "slirp4netns", "pasta"
    if addresses[0] and not published:
        from rootless.network.pasta import is_old
        from rootless.paths import helper

        path = helper("pasta")
        if path and is_old(path):
            return "slirp4netns", "pasta"
    return "pasta", "slirp4netns"
