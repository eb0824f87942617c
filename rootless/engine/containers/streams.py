"""What becomes 0, 1 and 2 of a container with a monitor, and the monitor's ends of it."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Streams:
    """``given`` are the container's 0, 1 and 2; ``stdin``, ``stdout`` and ``stderr`` the monitor's ends, -1 for none.

    With a terminal the container takes that instead. ``--log-driver=passthrough`` gives it the caller's own streams.
    """

    __slots__ = ("_opened", "given", "stderr", "stdin", "stdout")

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._opened: list[int] = []
        self.stdin = self.stdout = self.stderr = -1
        given = [0, 1, 2]
        if options["log_driver"] != "passthrough":
            if options["interactive"] and not options["tty"]:
                given[0], self.stdin = self._pipe()
            else:
                given[0] = self._keep(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
            if not options["tty"]:
                self.stdout, given[1] = self._pipe(1)
                self.stderr, given[2] = self._pipe(1)
        self.given = (given[0], given[1], given[2])

    def _keep(self, fd: int) -> int:
        self._opened.append(fd)
        return fd

    def _pipe(self, container: int = 0) -> tuple[int, int]:
        ends = os.pipe2(os.O_CLOEXEC)
        self._keep(ends[container])
        return ends

    def close_given(self) -> None:
        """Let go of the container's ends, so that the end of its output is seen."""
        for fd in self._opened:
            os.close(fd)
        self._opened = []
