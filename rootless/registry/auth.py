"""``login`` and ``logout``: credentials are tried on the registry's ``/v2/`` before they are kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rootless.registry import authfile, registries_conf
from rootless.registry.authfile import Credentials
from rootless.registry.client import Registry
from rootless.registry.errors import RegistryError, UnauthorizedError
from rootless.registry.options import ConnectionOptions
from rootless.registry.registries_conf import Endpoint, RegistriesConf
from storage.reference import parse


def registry_key(text: str) -> str:
    """The key under which credentials for ``text`` are kept: "host[:port]" or, narrower, "host[:port]/namespace".

    A scheme is taken off. Raises RegistryError for what cannot be a registry.
    """
    key = authfile.canonical_key(text.strip())
    host = key.partition("/")[0]
    if not host or "@" in key or any(c.isspace() for c in key):
        raise RegistryError(f"cannot use {text[:100]!r} as a registry", "write HOST[:PORT], without user or path")
    parse(f"{key}/x" if "." in host or ":" in host or host == "localhost" else f"localhost/{key}/x")
    return key


def login(registry: str, username: str, password: str, values: Mapping[str, Any]) -> str:
    """Try the credentials on ``registry`` and keep them. Returns the line to print.

    ``values``: the command line's (``authfile``, ``cert_dir``, ``tls_verify``). Raises RegistryError; nothing is kept
    then.
    """
    key = registry_key(registry)
    if not username or "\n" in username or ":" in username:
        raise RegistryError("cannot log in: the user name is empty or holds a colon", "give it with --username")
    options = replace(
        ConnectionOptions.from_values({**values, "creds": None}),
        credentials=Credentials(username, password),
    )
    try:
        _client(key, options, registries_conf.load()).check_login()
    except UnauthorizedError:
        raise UnauthorizedError(
            f"cannot log in to {key}: invalid username/password", "check them, and whether an access token is wanted"
        ) from None
    authfile.store(_target(options), key, username, password)
    return "Login Succeeded!"


def login_with_existing(registry: str, values: Mapping[str, Any]) -> str:
    """Try the credentials that are kept for ``registry``. Returns the user name if they work, else ''."""
    key = registry_key(registry)
    options = ConnectionOptions.from_values({**values, "creds": None})
    found = _lookup(key, options)
    if found is None:
        return ""
    try:
        _client(key, replace(options, credentials=found), registries_conf.load()).check_login()
    except UnauthorizedError:
        return ""
    return found.username


def logged_in_user(registry: str, values: Mapping[str, Any]) -> str:
    """The user name kept for ``registry`` (``login --get-login``). Raises RegistryError if there is none."""
    key = registry_key(registry)
    found = _lookup(key, ConnectionOptions.from_values({**values, "creds": None}))
    if found is None:
        raise RegistryError(f"not logged into {key}", f"rootless login {key}")
    return found.username


def logout(registry: str, values: Mapping[str, Any]) -> str:
    """Forget the credentials for ``registry``. Returns the line to print. Raises RegistryError if there are none."""
    key = registry_key(registry)
    options = ConnectionOptions.from_values({**values, "creds": None})
    if authfile.erase(_target(options), key):
        return f"Removed login credentials for {key}"
    if _lookup(key, options) is not None:
        raise RegistryError(
            f"not logged into {key} with current tool; existing credentials were established by another",
            "log out with the tool that logged in, for example 'docker logout'",
        )
    raise RegistryError(f"not logged into {key}")


def logout_all(values: Mapping[str, Any]) -> str:
    """Forget every credential in the auth file. Returns the line to print."""
    authfile.erase_all(values.get("authfile") or authfile.default_path())
    return "Removed login credentials for all registries"


def _target(options: ConnectionOptions) -> str:
    return options.authfile or authfile.default_path()


def _lookup(key: str, options: ConnectionOptions) -> Credentials | None:
    if options.authfile and not os.path.exists(options.authfile):
        return None  # login is about to make it
    return authfile.lookup(key, options.authfile)


def _client(key: str, options: ConnectionOptions, conf: RegistriesConf) -> Registry:
    host = key.partition("/")[0]
    hub = host == authfile.DOCKER_HUB
    endpoint = Endpoint("registry-1.docker.io" if hub else host, "", conf.is_insecure(host))
    return Registry(endpoint, options, credentials_name=key)
