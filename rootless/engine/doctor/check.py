"""One finding of ``doctor``, and the words that its commands are made of."""

from __future__ import annotations

import os
import shlex

OK, LESS, BROKEN = "OK", "less", "BROKEN"
"""It is there; containers run with less; no container runs."""

_PACKAGES = {
    "newuidmap": "uidmap", "fuse-overlayfs": "fuse-overlayfs", "pasta": "passt", "slirp4netns": "slirp4netns",
}  # fmt: skip


class Check:
    """One line of the report. ``state`` is one of `OK`, `LESS` and `BROKEN`.

    ``found``: what is there, or what is missing; ``cost``: what containers do without for it. ``command``: what the
    administrator types to mend it, empty where no command can; ``advice``: what is to be known of it or done instead.
    """

    __slots__ = ("advice", "command", "cost", "found", "name", "state")

    def __init__(
        self, name: str, state: str, found: str, cost: str = "", *, command: str = "", advice: str = ""
    ) -> None:
        self.name = name
        self.state = state
        self.found = found
        self.cost = cost
        self.command = command
        self.advice = advice

    @property
    def told(self) -> str:
        """What was found and what it costs, for people."""
        return f"{self.found}: {self.cost}" if self.cost else self.found

    @property
    def hint(self) -> str:
        """How it is mended, for people."""
        if self.command and self.advice:
            return f"{self.command} ({self.advice})"
        return self.command or self.advice


def as_root(*lines: str) -> str:
    """Commands for the administrator, one after the other."""
    return "; ".join(line if os.geteuid() == 0 else f"sudo {line}" for line in lines)


def package(program: str) -> tuple[str, str]:
    """The command that installs ``program`` on Debian, and advice for other distributions."""
    return as_root(f"apt-get install {_PACKAGES[program]}"), f"or your distribution's package of {program}"


def user() -> str:
    """The caller's name as a word of a shell, else his number."""
    import pwd

    try:
        return shlex.quote(pwd.getpwuid(os.getuid()).pw_name)
    except KeyError:
        return str(os.getuid())


def profiles() -> str:
    """How root loads the profiles of ``contrib/apparmor`` in the sources, for the launcher that runs now."""
    import sys

    launcher = os.path.realpath(sys.argv[0]) if sys.argv and sys.argv[0] else "PATH_OF_ROOTLESS"
    return as_root(f"sh contrib/apparmor/install {shlex.quote(launcher)}")


def device(module: str, path: str) -> tuple[str, str]:
    """How a device comes here, as a command and advice: in a container it is for whoever starts that."""
    from rootless.cgroups.devices import is_in_user_namespace

    if is_in_user_namespace():
        return "", f"start the container that this is in with --device {path}"
    return as_root(f"modprobe {module}", f"chmod 666 {path}"), ""


def opens(path: str) -> str:
    """Why a device cannot be opened for reading and writing; empty where it can."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        return f"{path} cannot be opened: {error.strerror}"
    return ""


def nothing() -> bytes:
    """What is run in a user namespace to see whether it can be made."""
    return b""
