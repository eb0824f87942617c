"""The container's ``/etc/hosts`` (hosts(5)) and ``/etc/resolv.conf`` (resolv.conf(5)), as text."""

from __future__ import annotations

from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rootless.network import Network

_HOST_NAMES = "host.containers.internal host.docker.internal"
_GATEWAY = "host-gateway"
_RESOLVERS = "/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"
_LIMIT = 1 << 20
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")


def hosts(network: Network, hostname: str, name: str, add_host: Iterable[str] = (), base: str | None = None) -> str:
    """``/etc/hosts``: what ``--add-host`` says, then the host's own entries, then the names of host and container.

    ``hostname`` and ``name`` are the container's; ``base`` is the host's file unless given. A name that came earlier
    hides later ones. Raises ``UsageError`` for a bad ``--add-host``.
    """
    lines = [(address, names) for entry in add_host for address, names in [_extra(entry, network)]]
    taken = {word for _, names in lines for word in names}
    for address, names in _entries(_read("/etc/hosts") if base is None else base):
        left = [word for word in names if word not in taken]
        if left:
            lines.append((address, left))
    taken = {word for _, names in lines for word in names}
    if "localhost" not in taken:
        lines += [("127.0.0.1", ["localhost"]), ("::1", ["localhost"])]
    if network.host_address:
        lines.append((network.host_address, [word for word in _HOST_NAMES.split() if word not in taken]))
    own = [word for word in dict.fromkeys((hostname, name)) if word and word not in taken]
    lines.append((network.own_address or "127.0.0.1", own))
    return "".join(f"{address}\t{' '.join(names)}\n" for address, names in lines if names)


def resolv(
    network: Network, dns: Iterable[str] = (), search: Iterable[str] = (), options: Iterable[str] = ()
) -> str | None:
    """``/etc/resolv.conf`` from the host's and from ``--dns``, ``--dns-search`` and ``--dns-option``.

    None if ``--dns none`` leaves the image's own file alone. A name server that the container cannot reach at its
    address, one on the host's loopback or on the address that the container shares with the host, is replaced: by what
    systemd-resolved itself asks, else by the helper's address that leads to it. Raises ``UsageError``.
    """
    servers, domains, settings = list(dns), list(search), list(options)
    if "none" in servers:
        if servers != ["none"] or domains or settings:
            raise UsageError("cannot use --dns none together with other DNS settings")
        return None
    for server in servers:
        if not _is_address(server):
            raise UsageError(f"cannot use {server[:80]!r} for --dns: it is no IP address")
    for flag, words in (("--dns-search", domains), ("--dns-option", settings)):
        for word in words:
            if not word.isprintable() or not word.isascii() or " " in word or not word:
                raise UsageError(f"cannot use {word[:80]!r} for {flag}")
    found_servers, found_domains, found_settings = _resolver(network)
    lines = []
    if domains != ["."] and (domains or found_domains):
        lines.append("search " + " ".join(domains or found_domains))
    lines += [f"nameserver {server}" for server in servers or found_servers]
    if settings or found_settings:
        lines.append("options " + " ".join(settings or found_settings))
    return "".join(line + "\n" for line in lines)


def _resolver(network: Network) -> tuple[list[str], list[str], list[str]]:
    """Name servers, search domains and options of the host, as far as they hold in the container."""
    servers, domains, settings = parse_resolv(_read(_RESOLVERS[0]))
    if network.kind in ("host", "none"):
        return servers, domains, settings
    reachable = [server for server in servers if _reachable(server, network)]
    if servers and not reachable and all(server.startswith("127.0.0.5") for server in servers):
        upstream, more, _ = parse_resolv(_read(_RESOLVERS[1]))
        reachable = [server for server in upstream if _reachable(server, network)]
        domains = domains or more
    return reachable or [network.nameserver], domains, settings


def _reachable(server: str, network: Network) -> bool:
    loopback = server.startswith("127.") or server in ("::1", "0.0.0.0", "::")
    return not loopback and "%" not in server and server != network.own_address


def parse_resolv(text: str) -> tuple[list[str], list[str], list[str]]:
    """Name servers, search domains (of the last such line) and options in the text of a ``resolv.conf``."""
    servers: list[str] = []
    domains: list[str] = []
    settings: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0][0] in "#;":
            continue
        if words[0] == "nameserver" and _is_address(words[1].partition("%")[0]):
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            domains = words[1:]
        elif words[0] == "options":
            settings += words[1:]
    return servers, domains, settings


def _extra(entry: str, network: Network) -> tuple[str, list[str]]:
    """``name[;name…]:address``, where the address may be the word host-gateway."""
    words, _, address = entry.partition(":")
    names = words.split(";")
    for name in names:
        if not name or len(name) > 253 or not _NAME.issuperset(name):
            raise UsageError(f"cannot use {entry[:80]!r} for --add-host: write NAME:ADDRESS")
    if address == _GATEWAY:
        if not network.host_address:
            message = f"cannot use {_GATEWAY} for --add-host: the container cannot reach the host by this network"
            raise UsageError(message, "pasta of 2024_10 or later has such an address; or write the address itself")
        return network.host_address, names
    address = address.removeprefix("[").removesuffix("]")
    if not _is_address(address):
        raise UsageError(f"cannot use {entry[:80]!r} for --add-host: {address[:60]!r} is no IP address")
    return address, names


def _entries(text: str) -> list[tuple[str, list[str]]]:
    found = []
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) > 1 and _is_address(words[0].partition("%")[0]):
            found.append((words[0], words[1:]))
    return found


def _is_address(word: str) -> bool:
    import _socket

    try:
        _socket.inet_pton(_socket.AF_INET6 if ":" in word else _socket.AF_INET, word)
    except (OSError, ValueError):
        return False
    return True


def _read(path: str) -> str:
    """A file of the host's; one that is missing counts as empty."""
    try:
        with open(path, "rb") as file:
            return file.read(_LIMIT).decode("utf-8", "replace")
    except OSError:
        return ""
