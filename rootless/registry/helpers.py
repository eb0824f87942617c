"""Credential helpers: the ``docker-credential-NAME`` programs that keep passwords for other tools.

Protocol: the action is the only argument, the server name (or for ``store`` a JSON object) comes on standard input,
the answer is JSON on standard output. The helper is the user's own program and gets the user's environment, but it is
only taken from absolute directories of ``PATH`` that nobody else can write to, and its name may not hold a path.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
from dataclasses import dataclass

from rootless.registry.errors import RegistryError

TIMEOUT = 60.0
MAX_ANSWER = 1024 * 1024

_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
_NOT_FOUND = "credentials not found"


@dataclass(frozen=True)
class Secret:
    """What a helper keeps for one server. The username ``<token>`` marks an identity token."""

    username: str
    password: str


def check_name(name: str) -> None:
    """Refuse a helper name that could point elsewhere than at one program in PATH. Raises RegistryError."""
    if not name or len(name) > 128 or not set(name) <= _NAME or ".." in name or name[0] in ".-":
        raise RegistryError(
            f"cannot use credential helper {name[:64]!r}: not a valid name",
            "correct credsStore and credHelpers in auth.json or ~/.docker/config.json",
        )


def find(name: str, path: str | None = None) -> str:
    """The absolute path of helper ``name``. Raises RegistryError if no safe one is in PATH."""
    check_name(name)
    program = f"docker-credential-{name}"
    search = os.environ.get("PATH", os.defpath) if path is None else path
    unsafe = ""
    for directory in search.split(":"):
        if not directory.startswith("/"):
            continue  # a relative entry would run a program from wherever the user happens to be
        full = f"{directory}/{program}"
        if not os.path.isfile(full) or not os.access(full, os.X_OK):
            continue
        if _others_can_write(directory) or _others_can_write(full):
            unsafe = full
            continue
        return full
    if unsafe:
        raise RegistryError(f"cannot use credential helper {unsafe}: other users can change it", f"chmod go-w {unsafe}")
    raise RegistryError(
        f"cannot find credential helper {program} in PATH",
        "install it, or remove credsStore and credHelpers from the file that names it",
    )


def _others_can_write(path: str) -> bool:
    info = os.stat(path)
    sticky_directory = stat.S_ISDIR(info.st_mode) and info.st_mode & stat.S_ISVTX
    by_group = info.st_mode & stat.S_IWGRP and info.st_gid not in (0, os.getgid())
    return info.st_uid not in (0, os.getuid()) or bool(info.st_mode & stat.S_IWOTH or by_group or sticky_directory)


def get(name: str, server: str) -> Secret | None:
    """Ask helper ``name`` for the credentials of ``server``; None if it has none."""
    answer = _call(name, "get", server)
    if answer is None:
        return None
    try:
        document = json.loads(answer)
        return Secret(str(document["Username"]), str(document["Secret"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise RegistryError(f"cannot use credential helper {name}: its answer is not valid JSON") from None


def store(name: str, server: str, username: str, password: str) -> None:
    """Have helper ``name`` keep credentials for ``server``."""
    _call(name, "store", json.dumps({"ServerURL": server, "Username": username, "Secret": password}))


def erase(name: str, server: str) -> bool:
    """Have helper ``name`` forget ``server``; False if it knew nothing of it."""
    return _call(name, "erase", server) is not None


def _call(name: str, action: str, text: str) -> bytes | None:
    """Run the helper; its output, or None when it says that it has no such credentials."""
    program = find(name)
    try:
        done = subprocess.run([program, action], input=text.encode(), capture_output=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise RegistryError(f"cannot use credential helper {name}: no answer in {TIMEOUT:.0f} s") from None
    except OSError as error:
        raise RegistryError(f"cannot run credential helper {name}: {error.strerror}") from error
    if done.returncode == 0:
        return done.stdout[:MAX_ANSWER]
    said = (done.stdout + done.stderr)[:300].decode(errors="replace").strip()
    if _NOT_FOUND in said.lower():
        return None
    raise RegistryError(f"cannot use credential helper {name}: {printable(said) or f'exit code {done.returncode}'}")


def printable(text: str, limit: int = 200) -> str:
    """Foreign text made fit for one line of a terminal: no control characters, at most ``limit`` long."""
    return "".join(c if c.isprintable() else " " for c in text)[:limit].strip()
