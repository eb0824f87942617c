"""slirp4netns: a TCP/IP stack in user space between the container and the host's sockets. Ports are asked for over its
socket, once it runs (slirp4netns(1), "API socket").
"""

from __future__ import annotations

import os

from rootless.errors import RootlessError, UsageError
from rootless.network import Network
from rootless.network.helper import start

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

    from rootless.network.helper import NetworkHandle
    from rootless.network.ports import PortMapping

_OWN, _HOST, _NAMESERVER = 100, 2, 3  # the last numbers of the addresses in the helper's network
_MTU = "65520"
_OPTIONS = ("allow_host_loopback", "cidr", "enable_ipv6", "mtu", "outbound_addr", "outbound_addr6", "port_handler")
_ANSWER_LIMIT = 1 << 16
_PATIENCE, _NAP = 5.0, 0.001  # seconds


def describe(path: str, rest: str, addresses: tuple[str, str]) -> Network:
    """The network by the slirp4netns at ``path``; ``rest`` holds podman's options, ``mtu=1500,cidr=10.9.0.0/24``…

    ``addresses``: the host's own (`helper.route_addresses`). The container has IPv6 where the host has.
    """
    network = Network("slirp4netns", path)
    values = _read(rest)
    base = [f"10.0.2.{last}" for last in (_OWN, _HOST, _NAMESERVER)]
    if "cidr" in values:
        import ipaddress

        try:
            net = ipaddress.IPv4Network(values["cidr"])
        except ValueError as error:
            raise UsageError(f"cannot use cidr={values['cidr'][:40]!r} for slirp4netns: {error}") from error
        if not 1 <= net.prefixlen <= 25:
            raise UsageError(f"cannot use cidr={values['cidr'][:40]!r} for slirp4netns: the prefix must be 1 to 25")
        base = [str(net.network_address + last) for last in (_OWN, _HOST, _NAMESERVER)]
        network.options += ["--cidr", str(net)]
    loopback = _flag(values, "allow_host_loopback")
    network.options += ["--mtu", values.get("mtu", _MTU)]
    if not loopback:
        network.options.append("--disable-host-loopback")
    if _flag(values, "enable_ipv6", bool(addresses[1])):
        network.options.append("--enable-ipv6")
    for name in ("outbound_addr", "outbound_addr6"):
        if name in values:
            network.options += ["--" + name.replace("_", "-"), values[name]]
    network.own_address, gateway, network.nameserver = base
    network.host_address = gateway if loopback else addresses[0] or addresses[1]
    return network


def _read(rest: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for word in rest.split(",") if rest else ():
        name, equals, value = word.partition("=")
        if name not in _OPTIONS or not equals or not value:
            hint = "use " + "=, ".join(_OPTIONS) + "="
            raise UsageError(f"cannot use {word[:80]!r} as an option of slirp4netns", hint)
        values[name] = value
    if not values.get("mtu", _MTU).isdecimal():
        raise UsageError(f"cannot use mtu={values['mtu'][:40]!r} for slirp4netns: it must be a number")
    if values.get("port_handler", "slirp4netns") != "slirp4netns":
        message = f"cannot use port_handler={values['port_handler'][:40]!r}: only slirp4netns is supported"
        raise UsageError(message, "use port_handler=slirp4netns, or --network pasta, which keeps the client's address")
    return values


def _flag(values: dict[str, str], name: str, default: bool = False) -> bool:
    value = values.get(name, str(default)).lower()
    if value not in ("true", "false"):
        raise UsageError(f"cannot use {name}={value[:20]!r} for slirp4netns: it must be true or false")
    return value == "true"


def attach(network: Network, pid: int) -> NetworkHandle:
    """Start slirp4netns for the namespaces of process ``pid``; `NetworkHandle.wait_ready` opens the ports."""
    argv = [
        network.helper, "--configure", "--ready-fd", "1", "--netns-type", "path", "--enable-sandbox",
        *network.options,
    ]  # fmt: skip
    if not network.ports:
        return start("slirp4netns", pid, [*argv, "/proc/self/fd/0", "tap0"])
    from rootless.paths import run_dir

    directory = run_dir()
    os.makedirs(directory, 0o700, exist_ok=True)
    # Its path must fit into 108 bytes (unix(7)).
    path = f"{directory}/slirp-{os.getpid()}-{os.urandom(4).hex()}"

    def publish() -> None:
        try:
            for mapping in network.ports:
                _publish(path, mapping)
        finally:
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass

    return start("slirp4netns", pid, [*argv, "--api-socket", path, "/proc/self/fd/0", "tap0"], publish)


def _publish(path: str, mapping: PortMapping) -> None:
    import _socket

    from storage.jsonfast import dumps, loads

    request = {
        "execute": "add_hostfwd",
        "arguments": {
            "proto": mapping["protocol"],
            "host_addr": mapping["host_ip"] or "0.0.0.0",
            "host_port": mapping["host_port"],
            "guest_port": mapping["container_port"],
        },
    }
    port = f"port {mapping['host_port']}/{mapping['protocol']}"
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        _connect(connection, path)
        connection.sendall(dumps(request).encode())
        connection.shutdown(_socket.SHUT_WR)
        answer = b""
        while len(answer) < _ANSWER_LIMIT and (part := connection.recv(4096)):
            answer += part
    except OSError as error:
        raise RootlessError(f"cannot publish {port}: slirp4netns does not answer ({error.strerror})") from error
    finally:
        connection.close()
    reply = loads(answer)
    if "error" in reply:
        said = reply["error"].get("desc", "refused")
        raise RootlessError(f"cannot publish {port}: {said}", "another program may have the port: choose another one")


def _connect(connection: _socket.socket, path: str) -> None:
    """Connect to the helper's socket, which it makes a moment after it has said that it is ready."""
    import time

    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            connection.connect(path)
            return
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > deadline:
                raise
        time.sleep(_NAP)
