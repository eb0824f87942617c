"""`unshare`: a command in the user namespace of the containers."""

from __future__ import annotations

import os

from rootless import idmaps, userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Values = dict[str, Any]


def unshare(values: Values, args: list[str], global_values: Values) -> int:
    """Replace this process by the command, or the user's shell, as root of a new user namespace.

    The caller's ids are kept in the variables in which podman keeps them; `rootless.paths` reads one.
    """
    environment = dict(os.environ)
    environment.setdefault("_CONTAINERS_USERNS_CONFIGURED", "done")
    environment.setdefault("_CONTAINERS_ROOTLESS_UID", str(os.getuid()))
    environment.setdefault("_CONTAINERS_ROOTLESS_GID", str(os.getgid()))
    command = args or [environment.get("SHELL") or "/bin/sh"]
    userns.enter_and_exec(idmaps.default_map(), command, environment)
