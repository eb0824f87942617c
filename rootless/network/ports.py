"""``--publish``: ports of the host that lead into a container."""

from __future__ import annotations

import errno

from rootless.errors import RootlessError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Iterable
    from typing import TypedDict

    class PortMapping(TypedDict):
        """One port. ``host_ip`` is '' for every address, ``protocol`` is tcp or udp."""

        host_ip: str
        host_port: int
        container_port: int
        protocol: str


_HINT = "write [[IP:][HOSTPORT]:]PORT[/udp]; a port may be a range as 8000-8010"
_MAX_PORT = 65535


def parse(text: str) -> list[PortMapping]:
    """Read ``[[ip:][host]:]container[/protocol]``; ports may be ranges of equal length, IPv6 addresses stand in ``[]``.

    Without a host port the kernel is asked for a free one. Raises ``UsageError``.
    """
    body, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in ("tcp", "udp"):
        raise _bad(text, f"the protocol {protocol[:20]!r} is not tcp or udp")
    host_ip = ""
    if body.startswith("["):
        host_ip, bracket, body = body[1:].partition("]:")
        if not bracket or ":" not in host_ip:
            raise _bad(text, "the IPv6 address is not closed by ]:")
        if body.count(":") > 1:
            raise _bad(text, "too many colons")
    elif body.count(":") == 2:
        host_ip, _, body = body.partition(":")
    elif body.count(":") > 2:
        raise _bad(text, "an IPv6 address must be in brackets")
    if host_ip:
        host_ip = _address(host_ip, text)
    host, _, container = body.rpartition(":")
    first, last = _range(container, text)
    host_first = 0
    if host:
        host_first, host_last = _range(host, text)
        if host_last - host_first != last - first:
            raise _bad(text, "the two ranges differ in length")
    mappings: list[PortMapping] = []
    for number in range(last - first + 1):
        host_port = host_first + number if host_first else free_port(protocol, host_ip)
        mappings.append(
            {"host_ip": host_ip, "host_port": host_port, "container_port": first + number, "protocol": protocol}
        )
    return mappings


def check(mappings: Iterable[PortMapping]) -> None:
    """Refuse ports that are asked for twice, that are in use, or that only root may open. Raises ``RootlessError``.

    pasta goes on when it gets a port for one of the two IP versions alone, so each is tried here first.
    """
    seen: dict[tuple[str, int], set[str]] = {}
    for mapping in mappings:
        address = mapping["host_ip"]
        taken = seen.setdefault((mapping["protocol"], mapping["host_port"]), set())
        if address in taken or (taken and (not address or "" in taken)):
            raise UsageError(f"cannot publish port {_host(mapping)} twice: conflicting port mappings")
        taken.add(address)
        try:
            _bind(address, mapping["host_port"], mapping["protocol"]).close()
        except OSError as error:
            raise _refused(mapping, error) from error


def _refused(mapping: PortMapping, error: OSError) -> RootlessError:
    hint = ""
    if error.errno == errno.EADDRINUSE:
        hint = "another program or container has the port: choose another host port"
    elif error.errno == errno.EACCES:
        hint = (
            "low ports are reserved for root: choose a host port from 1024 on, or ask an administrator for "
            f"sysctl net.ipv4.ip_unprivileged_port_start={mapping['host_port']}"
        )
    elif error.errno == errno.EADDRNOTAVAIL:
        hint = "give an address of this machine, or none"
    reason = (error.strerror or "").lower()
    return RootlessError(f"cannot publish port {_host(mapping)}: bind: {reason}", hint)


def _host(mapping: PortMapping) -> str:
    address = mapping["host_ip"] or "0.0.0.0"
    return f"{f'[{address}]' if ':' in address else address}:{mapping['host_port']}/{mapping['protocol']}"


def _bind(address: str, port: int, protocol: str) -> socket:
    """A socket bound to the port; '' is every address of both IP versions."""
    import _socket

    kind = (_socket.SOCK_STREAM if protocol == "tcp" else _socket.SOCK_DGRAM) | _socket.SOCK_CLOEXEC
    try:
        found = _socket.socket(_socket.AF_INET if address and ":" not in address else _socket.AF_INET6, kind)
    except OSError:
        if address:
            raise
        found = _socket.socket(_socket.AF_INET, kind)
    try:
        if protocol == "tcp":  # else ports with connections that have just been closed would count as taken
            found.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        if found.family == _socket.AF_INET6:
            found.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 1 if address else 0)
        found.bind((address, port))
    except OSError:
        found.close()
        raise
    return found


def text(mapping: PortMapping) -> str:
    """``80/tcp -> 0.0.0.0:8080``, as podman's ``port``."""
    address = mapping["host_ip"] or "0.0.0.0"
    if ":" in address:
        address = f"[{address}]"
    return f"{mapping['container_port']}/{mapping['protocol']} -> {address}:{mapping['host_port']}"


def free_port(protocol: str = "tcp", host_ip: str = "") -> int:
    """A port that is free now. The socket that found it is closed again: another program may be faster."""
    try:
        probe = _bind(host_ip, 0, protocol)
    except OSError as error:
        raise RootlessError(f"cannot publish a port on {host_ip or 'this machine'}: {error.strerror}") from error
    try:
        return int(probe.getsockname()[1])
    finally:
        probe.close()


def _address(word: str, text: str) -> str:
    """``word`` as the kernel writes that address; '' for 0.0.0.0."""
    import _socket

    family = _socket.AF_INET6 if ":" in word else _socket.AF_INET
    try:
        address = _socket.inet_ntop(family, _socket.inet_pton(family, word))
    except (OSError, ValueError):
        raise _bad(text, f"{word[:60]!r} is no IP address") from None
    return "" if address == "0.0.0.0" else address


def _range(word: str, text: str) -> tuple[int, int]:
    first, dash, last = word.partition("-")
    low = _port(first, text)
    high = _port(last, text) if dash else low
    if high < low:
        raise _bad(text, f"the range {word[:20]} ends before it begins")
    return low, high


def _port(word: str, text: str) -> int:
    if word.isascii() and word.isdigit() and len(word) <= 5 and 1 <= int(word) <= _MAX_PORT:
        return int(word)
    raise _bad(text, f"{word[:20]!r} is no port from 1 to {_MAX_PORT}")


def _bad(text: str, reason: str) -> UsageError:
    return UsageError(f"cannot publish {text[:80]!r}: {reason}", _HINT)
