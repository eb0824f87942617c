"""``--security-opt``: one value per line of defence."""

from __future__ import annotations

import os

from rootless.engine.options.values import parse_bool
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


_HIDEPID = ("0", "1", "2", "4", "off", "noaccess", "invisible", "ptraceable")


class SecurityOptions:
    """The parsed options. ``seccomp`` is ``default``, ``unconfined`` or the absolute path of a profile.

    ``no_new_privileges`` is None when not mentioned. ``mask`` and ``unmask`` are absolute paths; ``unmask`` may be
    ``ALL``. ``proc_options`` are options of the proc file system (``hidepid=2``, ``subset=pid``). ``apparmor`` is the
    name of a profile, ``unconfined``, or empty. ``label`` has what was asked of SELinux, a value for each part
    (`security.selinux.PARTS`), and empty values for ``disable`` and ``nested``.
    """

    __slots__ = ("apparmor", "label", "mask", "no_new_privileges", "proc_options", "seccomp", "unmask")

    def __init__(self) -> None:
        self.no_new_privileges: bool | None = None
        self.seccomp = "default"
        self.mask: list[str] = []
        self.unmask: list[str] = []
        self.proc_options: list[str] = []
        self.apparmor = ""
        self.label: dict[str, str] = {}


def parse_security(entries: Iterable[str]) -> SecurityOptions:
    """Read every ``--security-opt``; ``:`` is taken for ``=`` after the name, as podman and Docker still do."""
    options = SecurityOptions()
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not equals:
            name, equals, value = entry.partition(":")
        if name == "no-new-privileges":
            options.no_new_privileges = not equals or parse_bool(value, "--security-opt no-new-privileges")
        elif name == "seccomp":
            options.seccomp = _seccomp(value)
        elif name in ("mask", "unmask"):
            (options.mask if name == "mask" else options.unmask).extend(_paths(name, value))
        elif name == "proc-opts" and value:
            options.proc_options += [_proc_option(word) for word in value.split(",")]
        elif name == "label":
            from rootless.security.selinux import parse

            part, text = parse(value)
            options.label[part] = text
        elif name == "apparmor":
            from rootless.security.apparmor import check_name

            check_name(value)
            options.apparmor = value
        else:
            hint = "use no-new-privileges, seccomp=, mask=, unmask=, proc-opts=, label= or apparmor="
            raise UsageError(f"cannot use {entry[:80]!r} for --security-opt", hint)
    return options


def _seccomp(value: str) -> str:
    if value in ("unconfined", "default", ""):
        return value or "default"
    path = os.path.abspath(value)
    if not os.path.isfile(path):
        raise UsageError(f"cannot read the seccomp profile {value[:200]!r}: no such file")
    return path


def _paths(name: str, value: str) -> list[str]:
    if name == "unmask" and value.upper() == "ALL":
        return ["ALL"]
    paths = value.split(":")
    for path in paths:
        if not path.startswith("/") or "\0" in path:
            raise UsageError(f"cannot use {path[:80]!r} for --security-opt {name}: the path must be absolute")
    return paths


def _proc_option(word: str) -> str:
    key, _, value = word.partition("=")
    if (key == "hidepid" and value in _HIDEPID) or word == "subset=pid":
        return word
    raise UsageError(f"cannot use {word[:80]!r} for --security-opt proc-opts", "use hidepid=0|1|2|4 or subset=pid")

