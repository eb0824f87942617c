"""`login` and `logout`."""

from __future__ import annotations

import getpass
import sys
from typing import Any

from rootless.cli import render
from rootless.errors import UsageError
from rootless.registry import auth, memory
from rootless.registry.registries_conf import load as load_registries

Values = dict[str, Any]

# A password is read up to here; more is a mistake, such as a wrong file.
LONGEST_PASSWORD = 64 * 1024


def login(values: Values, args: list[str], global_values: Values) -> int:
    """``login``: credentials from the options, standard input or a terminal."""
    memory.close()
    registry = _registry(args)
    if values.get("get_login"):
        render.line(auth.logged_in_user(registry, values))
        return 0
    username, password = values.get("username"), values.get("password")
    if values.get("password_stdin"):
        if password is not None:
            raise UsageError("cannot take both --password and --password-stdin", "use --password-stdin alone")
        if not username:
            raise UsageError("cannot read a password for nobody", "give --username together with --password-stdin")
        password = sys.stdin.read(LONGEST_PASSWORD).rstrip("\r\n")
    if username is None and password is None:
        kept = auth.login_with_existing(registry, values)
        if kept:
            render.line(f"Authenticating with existing credentials for {registry}")
            render.line("Existing credentials are valid. Already logged in to " + registry)
            return 0
    if username is None:
        username = _ask("Username: ")
    if password is None:
        if not sys.stdin.isatty():
            raise UsageError("cannot ask for a password without a terminal", "give it with --password-stdin")
        password = getpass.getpass("Password: ")
    render.line(auth.login(registry, username, password, values))
    return 0


def logout(values: Values, args: list[str], global_values: Values) -> int:
    """``logout``."""
    memory.close()
    if values.get("all"):
        render.line(auth.logout_all(values))
    else:
        render.line(auth.logout(_registry(args), values))
    return 0


def _registry(args: list[str]) -> str:
    """The registry that was named, else the first that short names are looked for in."""
    if args:
        return args[0]
    known = load_registries().search
    if not known:
        raise UsageError("no registries found in registries.conf, a registry must be provided", "name the registry")
    return known[0]


def _ask(prompt: str) -> str:
    if not sys.stdin.isatty():
        raise UsageError("cannot ask for a user name without a terminal", "give it with --username")
    sys.stderr.write(prompt)
    sys.stderr.flush()
    return sys.stdin.readline().strip()
