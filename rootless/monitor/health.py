"""The clock of a container's health checks.

The check itself is the engine's, in a process of its own (``healthcheck run``): there is one at a time, and the next
comes some time after the end of the last. What came of it, that process tells by the socket, whoever started it.
"""

from __future__ import annotations

import os
import time

from rootless.monitor import notify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.monitor.settings import Settings

_IGNORED = (1, 2, 13)  # SIGHUP, SIGINT, SIGPIPE: the monitor's own business


class Checks:
    """When a container is checked. ``settings["health"]``: ``interval``, the seconds between two checks, -1 for none
    by the clock; ``started``: the program runs already; ``ready``: the service manager waits for the first success."""

    __slots__ = ("_command", "_due", "_interval", "_manager", "_pid", "_soon")

    def __init__(self, settings: Settings) -> None:
        wanted = settings["health"]
        assert wanted
        self._command = [*settings["engine"], "healthcheck", "run", settings["id"]]
        self._interval: float = wanted["interval"]
        self._manager = settings["manager"] if wanted["ready"] else ""
        self._pid = 0
        self._soon = False
        self._due = time.monotonic() if wanted["started"] and self._interval >= 0 else 0.0
        # The check is not to hold the container's terminal, or its lock when this process is gone.
        for name in os.listdir("/proc/self/fd"):
            try:
                if int(name) > 2:
                    os.set_inheritable(int(name), False)
            except OSError:  # that of the list
                continue

    def due(self) -> float:
        """Begin a check that is due; the moment (time.monotonic) of the next, 0 when none is to come by the clock."""
        if self._due and not self._pid and time.monotonic() >= self._due:
            try:
                self._pid = os.posix_spawn(
                    self._command[0], self._command, os.environ, setsigmask=(), setsigdef=_IGNORED
                )
            except OSError:  # no memory, or too many processes: later
                self._again()
        return 0.0 if self._pid else self._due

    def ended(self, pid: int) -> None:
        """A child has ended."""
        if pid == self._pid:
            self._pid = 0
            self._again()

    def heard(self, data: bytes) -> bytes:
        """Somebody has checked. ``data``: the status, the seconds until the next check (0: at once, -1: none by the
        clock), and what is to be done, which is returned."""
        try:
            status, text, action = data.split()
            seconds = float(text)
        except ValueError:
            return b""
        self._soon = not seconds
        self._interval = seconds or self._interval
        if not self._pid:
            self._again()
        if status == b"healthy" and self._manager:
            notify.tell(self._manager, b"READY=1\nMAINPID=%d" % os.getpid())
            self._manager = ""
        return action

    def _again(self) -> None:
        wait = 0.0 if self._soon else self._interval
        self._soon = False
        self._due = time.monotonic() + wait if wait >= 0 else 0.0
