"""The progress of a pull, push, load or import on stderr: a bar for each layer on a terminal, plain lines elsewhere.

With `build_board` the only user of rich. It is imported when the first layer is known, in the process that waits for
the network anyway.
"""

from __future__ import annotations

import os
import sys

from rootless.engine.progress import PlainProgress, Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


def for_user(quiet: bool, doing: str = "pulling", done: str = "pulled") -> Progress:
    """The progress that fits where stderr goes: silent with ``--quiet``, bars on a terminal, lines elsewhere.

    ``doing`` and ``done`` are the words for a layer on its way, and for one that is there.
    """
    if quiet:
        return Progress()
    if os.isatty(2) and os.environ.get("TERM", "dumb") != "dumb":
        return BarProgress(doing, done)
    return PlainProgress(sys.stderr.write)


class BarProgress(PlainProgress):
    """One bar for each layer; its word says what is being done to it."""

    def __init__(self, doing: str, done: str) -> None:
        super().__init__(self._line)
        self._words = (doing, done)
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}

    def _line(self, text: str) -> None:
        if self._bars is None:
            sys.stderr.write(text)
        else:
            self._bars.console.print(text.rstrip("\n"), markup=False, highlight=False)

    def found(self, digest: str, size: int) -> None:
        bars, task = self._bar(digest, size)
        bars.update(task, completed=size, description="exists")

    def waiting(self, digest: str, size: int) -> None:
        self._bar(digest, size)

    def downloaded(self, digest: str, done: int, size: int) -> None:
        bars, task = self._bar(digest, size)
        bars.update(task, completed=done, description=self._words[done >= size])

    def unpacking(self, digest: str) -> None:
        if digest in self._tasks and self._bars is not None:
            self._bars.update(self._tasks[digest], description="unpacking")

    def unpacked(self, digest: str) -> None:
        if digest in self._tasks and self._bars is not None:
            self._bars.update(self._tasks[digest], description="done")

    def close(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def _bar(self, digest: str, size: int) -> tuple[Bars, TaskID]:
        if self._bars is None:
            self._bars = _start()
        if digest not in self._tasks:
            name = digest.partition(":")[2][:12]
            self._tasks[digest] = self._bars.add_task("waiting", total=max(size, 1), name=name)
        return self._bars, self._tasks[digest]


def _start() -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    bars = Bars(
        TextColumn("{task.fields[name]}"),
        TextColumn("{task.description:<9}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=Console(stderr=True),
        transient=False,
    )
    bars.start()
    return bars
