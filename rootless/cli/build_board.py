"""A build on a terminal: a line for each step with its time, and the last lines of what is being done now.

One of the two users of rich. It is loaded when the first step begins.
"""

from __future__ import annotations

import os
import time
from collections import deque
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from rootless.build.screen import Screen

if TYPE_CHECKING:
    from rich.console import RenderableType

_TAIL = 6
"""Lines of output that a step shows while it is done."""
_LONGEST_LINE = 4096


class _Step:
    def __init__(self, heading: str) -> None:
        self.heading = heading
        self.began = time.monotonic()
        self.took: float | None = None
        self.cached = False
        self.lines: deque[str] = deque(maxlen=_TAIL)
        self.rest = b""
        self.log = bytearray()

    def take(self, data: bytes) -> None:
        self.log += data
        *lines, rest = (self.rest + data).split(b"\n")
        self.rest = rest[-_LONGEST_LINE:]
        self.lines.extend(_plain(line.rpartition(b"\r")[2] or line) for line in lines)

    def text(self) -> Text:
        if self.cached:
            return Text(f"=> CACHED {self.heading}", style="blue", no_wrap=True, overflow="ellipsis")
        seconds = self.took if self.took is not None else time.monotonic() - self.began
        found = Text(f"=> {self.heading}", style="blue" if self.took is not None else "", no_wrap=True)
        found.append(f"  {seconds:.1f}s", style="dim")
        found.overflow = "ellipsis"
        return found

    def shown(self) -> list[RenderableType]:
        tail = [*self.lines, _plain(self.rest)] if self.rest else list(self.lines)
        return [self.text(), *(Text(f"=> => # {line}", style="dim", no_wrap=True, overflow="ellipsis")
                               for line in tail[-_TAIL:])]  # fmt: skip


class BoardScreen(Screen):
    """Steps that are done stay above; those that are being done have a place at the bottom."""

    interval = 125

    def __init__(self, descriptor: int) -> None:
        self._console = Console(file=os.fdopen(descriptor, "w", closefd=False), force_terminal=True, highlight=False)
        self._names: list[str] = []
        self._platform = ""
        self._steps: dict[int, _Step] = {}
        self._began = self._drawn = time.monotonic()
        # Without a thread that refreshes it: this process forks.
        self._live = Live(console=self._console, get_renderable=self._render, auto_refresh=False, transient=True)
        self._live.start()

    def _render(self) -> RenderableType:
        head = Text(f"[+] Building {time.monotonic() - self._began:.1f}s", style="bold")
        return Group(head, *(line for step in list(self._steps.values()) for line in step.shown()))

    def tick(self) -> None:
        now = time.monotonic()
        if now - self._drawn >= self.interval / 1000:
            self._drawn = now
            self._live.refresh()

    def stages(self, names: list[str], platform: str) -> None:
        self._names, self._platform = names, platform

    def step(self, stage: int, number: int, total: int, text: str) -> None:
        self._end(stage)
        name = self._names[stage] or (f"stage-{stage}" if len(self._names) > 1 else "")
        where = " ".join(part for part in (self._platform, name, f"{number}/{total}") if part)
        self._steps[stage] = _Step(f"[{where}] {_plain(text.encode('utf-8', 'replace'))}")

    def cached(self, stage: int, image_id: str) -> None:
        self._steps[stage].cached = True

    def output(self, stage: int, data: bytes) -> None:
        if stage in self._steps:
            self._steps[stage].take(data)

    def made(self, stage: int, image_id: str) -> None:
        self._end(stage)

    def done(self, stage: int) -> None:
        self._end(stage)

    def note(self, text: str) -> None:
        self._console.print(Text(_plain(text.encode("utf-8", "replace"))))

    def committing(self, names: list[str]) -> None:
        self._console.print(Text("=> exporting the image", style="blue"))

    def named(self, name: str) -> None:
        self._console.print(Text(f"=> => naming to {name}", style="blue"))

    def close(self) -> None:
        self._live.stop()
        for stage, step in list(self._steps.items()):
            self._console.print(step.text())
            if step.log:  # it failed, or was stopped: what it said tells why
                for line in bytes(step.log).rstrip(b"\n").split(b"\n"):
                    self._console.print(Text(_plain(line)))
            del self._steps[stage]

    def _end(self, stage: int) -> None:
        step = self._steps.pop(stage, None)
        if step is not None:
            step.took = time.monotonic() - step.began
            self._console.print(step.text())


def _plain(line: bytes) -> str:
    """A line without what would move the cursor or change the terminal."""
    text = line[-_LONGEST_LINE:].decode("utf-8", "replace").replace("\t", "    ").rstrip("\r")
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)
