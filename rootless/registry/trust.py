"""``~/.config/rootless/trusted-realms.toml``: token servers that the user trusts with a registry's password.

Needed only where a registry's token server belongs to another domain (see ``realm``)::

    "registry.example.com" = ["login.example.net"]
"""

from __future__ import annotations

import tomllib

from rootless import paths
from rootless.registry.errors import RegistryError


def trusted_realms(registry: str) -> list[str]:
    """The hosts listed for ``registry`` ("host[:port]"). Raises RegistryError for a file that cannot be read."""
    path = f"{paths.config_dir()}/trusted-realms.toml"
    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise RegistryError(f"cannot read {path}: {error}", "mend the file or move it away") from None
    hosts = table.get(registry, [])
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
        raise RegistryError(f"cannot read {path}: the value of {registry!r} is not a list of hosts")
    return hosts
