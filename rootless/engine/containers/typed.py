"""The caller's keys on their way to a terminal that he may detach from."""

from __future__ import annotations

from rootless.engine.options.detach_keys import Scanner
from rootless.monitor.relay import Keys

_STDIN = 0


class Detached(Exception):
    """The keys that detach were typed."""


class Typed(Keys):
    """The caller's keys on their way to the terminal ``target``; raises when those are typed that detach."""

    __slots__ = ("_scanner",)

    def __init__(self, target: int, keys: bytes) -> None:
        super().__init__(_STDIN, target)
        self._scanner = Scanner(keys)

    def read(self) -> None:
        super().read()
        if self.source < 0:
            # The end of the input: what was held back is no beginning of the keys any more.
            self.pending = self._scanner.held + self.pending
            return
        self.pending, detached = self._scanner.feed(self.pending)
        if detached:
            if self.pending:
                self.write()
            raise Detached
