"""pasta (passt.top): the network namespace gets the host's addresses, connections leave from the host's own sockets.

Written for pasta of 2023 and later; options that came afterwards are used where ``pasta --help`` lists them.
"""

from __future__ import annotations

import os

from rootless.errors import RootlessError
from rootless.network import Network
from rootless.network.helper import start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.network.helper import NetworkHandle
    from rootless.network.ports import PortMapping

_NAMESERVER = "169.254.1.1"
_HOST = "169.254.1.2"
# Link-local addresses that no network has a use for; they are podman's.

_PORT_FLAGS = {
    "-t": ("-t", "--tcp-ports"), "-u": ("-u", "--udp-ports"), "-T": ("-T", "--tcp-ns"), "-U": ("-U", "--udp-ns"),
}  # fmt: skip


def describe(path: str, rest: str, addresses: tuple[str, str]) -> Network:
    """The network by the pasta at ``path``; ``rest`` holds further arguments, separated by commas, as with podman.

    ``addresses``: the host's own (`helper.route_addresses`), which the container has too.
    ``--map-gw`` among them lets the container reach the host by the address of the gateway.
    """
    network = Network("pasta", path, [word for word in rest.split(",") if word])
    network.own_address = addresses[0] or addresses[1]
    network.nameserver = _value(network.options, "--dns-forward") or _NAMESERVER
    mapped = _value(network.options, "--map-guest-addr")
    if mapped:
        network.host_address = "" if mapped == "none" else mapped
    elif not is_old(path):
        network.host_address = _HOST
    return network


def attach(network: Network, pid: int) -> NetworkHandle:
    """Start pasta for the namespaces of process ``pid``."""
    return start("pasta", pid, arguments(network))


def arguments(network: Network) -> list[str]:
    """The command line. Nothing is forwarded, in either direction, but what was asked for."""
    given = network.options
    argv = [
        network.helper, "--foreground", "--quiet", "--config-net", "--pid", "/proc/self/fd/1",
        "--netns", "/proc/self/fd/0", "--runas", "0:0",
    ]  # fmt: skip
    if "--map-gw" not in given:
        argv.append("--no-map-gw")
    if not _value(given, "--dns-forward"):
        argv += ["--dns-forward", network.nameserver]
    if network.host_address and not _value(given, "--map-guest-addr"):
        argv += ["--map-guest-addr", network.host_address]
    for mapping in network.ports:
        argv += ["-t" if mapping["protocol"] == "tcp" else "-u", _specification(mapping)]
    published = {mapping["protocol"] for mapping in network.ports}
    for flag, names in _PORT_FLAGS.items():
        opened = {"-t": "tcp", "-u": "udp"}.get(flag)
        if opened not in published and not any(word.partition("=")[0] in names for word in given):
            argv += [flag, "none"]
    return argv + [word for word in given if word != "--map-gw"]


def is_old(path: str) -> bool:
    """Whether this pasta is from before August 2024, when it learned ``--map-guest-addr``."""
    return "map-guest-addr" not in features(path)


def features(path: str) -> list[str]:
    """Which of the newer options this pasta has; asked once for each version and kept in the cache."""
    from rootless.paths import cache_dir

    status = os.stat(path)
    directory = cache_dir()
    note = f"{directory}/pasta-{status.st_size:x}-{status.st_mtime_ns:x}"
    try:
        with open(note, "rb") as file:
            return file.read(256).decode("ascii", "replace").split()
    except OSError:
        pass
    text = _help(path)
    found = [name for name in ("map-guest-addr",) if "--" + name in text]
    from storage.atomic import write
    from storage.errors import StorageError

    try:
        os.makedirs(directory, 0o700, exist_ok=True)
        write(note, " ".join(found).encode(), durable=False)
    except (OSError, StorageError):
        pass  # it is asked again next time
    return found


def _help(path: str) -> str:
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, writing, 1), (os.POSIX_SPAWN_DUP2, writing, 2)]
        child = os.posix_spawn(path, [path, "--help"], {}, file_actions=actions, setsigdef=[13])
    except OSError as error:
        os.close(reading)
        raise RootlessError(f"cannot run {path}: {error.strerror}") from error
    finally:
        os.close(writing)
    parts = []
    while part := os.read(reading, 1 << 16):
        parts.append(part)
    os.close(reading)
    os.waitpid(child, 0)
    return b"".join(parts).decode(errors="replace")


def _specification(mapping: PortMapping) -> str:
    """``192.0.2.1/8080:80``."""
    address = mapping["host_ip"] + "/" if mapping["host_ip"] else ""
    return f"{address}{mapping['host_port']}:{mapping['container_port']}"


def _value(options: list[str], name: str) -> str:
    """The value of an option given as ``--name,value`` or ``--name=value``."""
    for number, word in enumerate(options):
        if word == name and number + 1 < len(options):
            return options[number + 1]
        if word.startswith(name + "="):
            return word.partition("=")[2]
    return ""
