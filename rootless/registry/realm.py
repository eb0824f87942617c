"""Who may see a password: the rule for the ``realm`` of a bearer challenge.

A registry names, in an unauthenticated answer, the URL where tokens are had. Whoever can forge that answer, or runs
the registry, chooses the host that is sent the user's password, so the choice is bounded:

1. The URL is http or https, without user name, password or fragment; https if the registry was reached by https.
2. A host other than the registry's own may not be a loopback, private, link-local or unspecified address: no
   registry can make the client knock on doors behind the user's firewall.
3. For an anonymous token that is enough. A password or an identity token goes only to

   * the registry's own host (any port), or
   * a host of the same organisation, by https: one that shares the registered domain, as ``auth.docker.io`` does
     with ``registry-1.docker.io`` and ``gitlab.com`` with ``registry.gitlab.com``, or
   * a host that the user listed for that registry in ``~/.config/rootless/trusted-realms.toml`` (see ``trust``).

4. Nothing secret crosses plain http, unless to this machine itself.

There is no list of public suffixes here: the registered domain is the last two labels, or three where the last two
are of the form ``co.uk`` (a second label of at most three letters under a two-letter one).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from rootless.registry.errors import RegistryError

CONFIG_HINT = "if you trust it, list it for this registry in ~/.config/rootless/trusted-realms.toml"


@dataclass(frozen=True)
class Origin:
    """Scheme, host (lower case, without brackets) and port: what credentials are bound to."""

    scheme: str
    host: str
    port: int

    @property
    def place(self) -> str:
        """The host as the user writes it: with the port unless it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"http": 80, "https": 443}[self.scheme] else f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine."""
        address = _address(self.host)
        return self.host == "localhost" or (address is not None and address.is_loopback)


def joined(url: str, reference: str) -> str:
    """The URL that a reference in the answer for ``url`` means (RFC 3986, section 5). Raises RegistryError."""
    check_text(reference)  # the next function drops some of it
    try:
        return urljoin(url, reference)
    except ValueError:
        raise RegistryError("cannot follow the registry's answer: its URL is malformed") from None


def origin(url: str) -> Origin:
    """The origin of an absolute http(s) URL. Raises RegistryError for any other, and for one with a user name."""
    check_text(url)
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname
    except ValueError:
        raise RegistryError("cannot follow the registry's answer: its URL is malformed") from None
    if parts.scheme not in ("http", "https"):
        raise RegistryError(f"cannot follow the registry's answer: {parts.scheme[:20] or 'no'} is not http or https")
    if not host or parts.username is not None or parts.password is not None:
        raise RegistryError("cannot follow the registry's answer: its URL has no host, or has credentials in it")
    return Origin(parts.scheme, host.lower().rstrip("."), port or (443 if parts.scheme == "https" else 80))


def check_text(url: str) -> None:
    """Refuse a URL or a reference with control characters or backslashes: some readers pass over them, others end the
    host there. Raises RegistryError."""
    if any(c < " " or c in "\\\x7f" for c in url):
        raise RegistryError("cannot follow the registry's answer: its URL is malformed")


def check_realm(registry: Origin, realm_url: str, *, secret: bool, trusted: Collection[str] = ()) -> Origin:
    """Check where a token would be asked for, and return its origin.

    ``secret``: a password or identity token would be sent. ``trusted`` are the hosts that the user listed for this
    registry. Raises RegistryError if the rule above forbids it.
    """
    realm = origin(realm_url)
    refuse = f"cannot log in to {registry.host}: its token server {realm.host}"
    if urlsplit(realm_url).fragment:
        raise RegistryError(f"{refuse} has a malformed address")
    if registry.scheme == "https" and realm.scheme != "https":
        raise RegistryError(f"{refuse} is not reached by https")
    same_host = realm.host == registry.host
    listed = realm.host in trusted or f"{realm.host}:{realm.port}" in trusted
    if not same_host and not listed and is_internal(realm.host):
        raise RegistryError(f"{refuse} is an internal address", CONFIG_HINT)
    if not secret:
        return realm
    check_secret_transport(realm)
    if not same_host and not listed:
        if registered_domain(realm.host) != registered_domain(registry.host):
            raise RegistryError(f"{refuse} belongs to another domain; the password was not sent", CONFIG_HINT)
        if realm.scheme != "https":
            raise RegistryError(f"{refuse} is not reached by https; the password was not sent", CONFIG_HINT)
    return realm


def check_secret_transport(target: Origin) -> None:
    """Refuse to send a secret in clear to another machine. Raises RegistryError."""
    if target.scheme != "https" and not target.is_loopback:
        raise RegistryError(
            f"cannot send credentials to {target.host}: the connection is not encrypted",
            "use https, or pull without credentials",
        )


def is_internal(host: str) -> bool:
    """Whether ``host`` is an address (or localhost) that means something only from inside the user's network."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and not address.is_global


def registered_domain(host: str) -> str:
    """The part of a host name that one organisation registered; an address is its own."""
    labels = host.split(".")
    if _address(host) is not None or len(labels) < 2:
        return host
    keep = 3 if len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= 3 else 2
    return ".".join(labels[-keep:])


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return _loose_ipv4(host)
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if isinstance(mapped, ipaddress.IPv4Address) else address


def _loose_ipv4(host: str) -> ipaddress.IPv4Address | None:
    """The shorter spellings that the resolver takes as addresses: 127.1, 0x7f000001, 2130706433, 0177.0.0.1."""
    numbers = []
    for part in host.split("."):
        try:
            octal = len(part) > 1 and part[0] == "0" and part[1] not in "xX"
            numbers.append(int(part, 8 if octal else 0))
        except ValueError:
            return None
    *heads, last = numbers
    value = last
    for index, head in enumerate(heads):
        if not 0 <= head < 256:
            return None
        value |= head << (24 - 8 * index)
    return ipaddress.IPv4Address(value) if len(numbers) <= 4 and 0 <= value < 2**32 else None
