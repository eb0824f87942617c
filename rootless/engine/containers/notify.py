"""``--sdnotify``: telling a service manager that the container is ready (sd_notify(3)).

Only where the caller has a ``NOTIFY_SOCKET``, as in a unit of ``Type=notify``. *conmon*: the engine says so when the
program was started. *container*: the program itself does, on a socket of the monitor's that is mounted into the
container; the monitor passes it on, and names itself as the main process. *healthy*: the monitor does, when the first
check of the container's health succeeds. *ignore*: nobody.
"""

from __future__ import annotations

import _socket
import os

from rootless.monitor.notify import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VARIABLE = "NOTIFY_SOCKET"
INSIDE = "/run/notify/notify.sock"
_NAME = "notify"


class Notifier:
    """What is to be told: ``target`` is the service manager's socket, ``listener`` the container's (-1: none)."""

    __slots__ = ("_mode", "_run", "listener", "target")

    def __init__(self, mode: str, run: str) -> None:
        target = os.environ.get(VARIABLE, "")
        self._run = run
        self._mode = mode if target[:1] in ("/", "@") else "ignore"
        self.target = target if self._mode != "ignore" else ""
        self.listener = -1
        if self._mode == "container":
            end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
            where = os.open(run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                end.bind(f"/proc/self/fd/{where}/{_NAME}")
                os.chmod(f"{run}/{_NAME}", 0o777)  # any user of the container; the directory is closed to others
            finally:
                os.close(where)
            self.listener = end.detach()

    def equip(self, spec: dict[str, Any]) -> dict[str, Any]:
        """The Spec with the socket in it."""
        if self.listener < 0:
            return spec
        mount = {
            "destination": INSIDE, "type": "bind", "source": f"{self._run}/{_NAME}", "options": ["bind", "nosuid"],
        }  # fmt: skip
        process = {**spec["process"], "env": [*spec["process"]["env"], f"{VARIABLE}={INSIDE}"]}
        return {**spec, "process": process, "mounts": [*spec["mounts"], mount]}

    def started(self) -> None:
        """The program runs. The main process is told at once: systemd gives up a unit whose first one has ended."""
        if self.target:
            ready = b"READY=1\n" if self._mode == "conmon" else b""
            tell(self.target, ready + b"MAINPID=%d" % os.getpid())
