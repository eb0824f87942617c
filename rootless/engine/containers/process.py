"""The container's process: command, environment, user, working directory. Pure functions of options and image."""

from __future__ import annotations

import os

from rootless.engine.options import env as parse_env
from rootless.errors import RootlessError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from rootless.engine.options.run import RunOptions

MAX_ID = (1 << 31) - 1
_LONGEST_USER = 512


def entrypoint_and_command(
    options: RunOptions, config: Mapping[str, Any], arguments: Sequence[str]
) -> tuple[list[str], list[str]]:
    """(entrypoint, command): the command line's, else the image's; an entrypoint of the user's drops the image's Cmd.

    Raises RootlessError when both are empty.
    """
    entrypoint = options.entrypoint
    command = list(arguments)
    if entrypoint is None:
        entrypoint = list(config.get("Entrypoint") or ())
        command = command or list(config.get("Cmd") or ())
    if not entrypoint and not command:
        raise RootlessError(
            "cannot start a container without a command: the image has neither an entrypoint nor a command",
            "name one: rootless run IMAGE COMMAND",
        )
    return entrypoint, command


def environment(
    options: RunOptions, config: Mapping[str, Any], host: Mapping[str, str], hostname: str
) -> dict[str, str]:
    """The variables of the container's process, lowest precedence first, as podman orders them.

    --env-host, defaults and proxies, the image, --env-file, --env, --env-merge; --unsetenv takes away defaults and
    those of the image. HOME is left to the runtime where nothing sets it: it is in the container's own passwd.
    """
    variables: dict[str, str] = dict(host) if options.env_host else {}
    base = {"PATH": parse_env.DEFAULT_PATH, "container": "podman"}  # the name that systemd and toolbox look for
    if options.tty:
        base["TERM"] = "xterm"
    if options.http_proxy:
        base.update(parse_env.proxy_variables(host))
    base.update(parse_env.image_variables(config.get("Env") or ()))
    if options.unsetenv_all:
        base = {}
    for name in options.unsetenv:
        base.pop(name, None)
    variables.update(base)
    for path in options.env_file:
        lines = parse_env.read_lines(path, "--env-file")
        variables.update(parse_env.parse_variables(lines, host, "--env-file"))
    if options.env:
        variables.update(parse_env.parse_variables(options.env, host))
    if options.env_merge:
        variables.update(parse_env.merge_variables(options.env_merge, variables))
    if not options.unsetenv_all:
        variables.setdefault("HOSTNAME", hostname)
    return variables


def working_directory(options: RunOptions, config: Mapping[str, Any]) -> str:
    """The absolute directory that the process starts in; it is resolved, and made, inside the container's root."""
    path = options.workdir or config.get("WorkingDir") or "/"
    if "\0" in path or len(path) > 4095:
        whose = "of --workdir" if options.workdir else "of the image"
        raise UsageError(f"cannot use the working directory {whose}: it is no path of at most 4095 characters")
    normal = "/" + os.path.normpath("/" + path).lstrip("/")
    if normal == "/proc" or normal.startswith("/proc/"):
        # Through /proc/self/fd a directory of the host could be reached (CVE-2024-21626).
        raise UsageError(f"cannot use {normal[:120]} as the working directory: it is in /proc")
    return normal


def user_text(options: RunOptions, config: Mapping[str, Any], keep_id_user: str) -> str:
    """``user[:group]`` as the user or the image wrote it; keep-id starts the process as the caller (``keep_id_user``).

    Names are looked up later, inside the container's root. Numbers beyond 31 bits and half-written pairs are refused
    here: read carelessly they have meant root (CVE-2024-40635).
    """
    text = options.user or keep_id_user or str(config.get("User") or "")
    if not text:
        return ""
    if len(text) > _LONGEST_USER:
        raise RootlessError(f"cannot run as user {text[:80]!r}…: the name is too long", exit_code=126)
    for part in text.split(":", 1):
        digits = part.lstrip("+-")
        if digits.isdigit() and (part != digits or not digits.isascii() or len(digits) > 10 or int(digits) > MAX_ID):
            raise RootlessError(f"cannot run as user {text[:80]!r}: ids are numbers from 0 to {MAX_ID}", exit_code=126)
        if not digits or not part.isprintable() or part != part.strip() or ":" in part:
            raise RootlessError(f"cannot run as user {text[:80]!r}: it must be USER or USER:GROUP", exit_code=126)
    return text


def is_root(user: str) -> bool:
    """Whether the text means uid 0 by number or by the name that passwd(5) gives it everywhere."""
    return user.partition(":")[0] in ("", "0", "root")
