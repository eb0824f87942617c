"""How a build looks: podman's lines, folded where a CI is recognised; on a terminal a board of what is being done."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager

from rootless.build.screen import Screen
from rootless.cli.report import of_output, print_line
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Values = dict[str, Any]

KINDS = ("auto", "plain", "tty")
_SHORT = 12


def to_stdout(values: Values) -> bool:
    """Whether the result itself goes to standard output, which must have nothing else then."""
    if not values.get("output"):
        return False
    from rootless.build.exports import parse

    return any(output.to_stdout for output in parse(values["output"]))


@contextmanager
def shown(values: Values, umask: int) -> Iterator[Screen]:
    """The screen that fits the options and where the output goes. Raises UsageError, RootlessError."""
    if values.get("logfile"):
        from rootless.engine.outfile import cannot_write, with_umask

        try:
            with with_umask(umask):
                file = open(values["logfile"], "wb")  # noqa: SIM115 - it is closed below
        except OSError as error:
            raise cannot_write(values["logfile"], error) from None
        with file:
            yield PlainScreen(file.write, file.flush)
        return
    yield _for_user(values)


def _for_user(values: Values) -> Screen:
    kind = values.get("progress") or "auto"
    if kind not in KINDS:
        raise UsageError(f"cannot use --progress {kind!r}", f"choose from: {', '.join(KINDS)}")
    if values.get("quiet"):
        return Screen()
    descriptor = 2 if to_stdout(values) else 1
    if kind == "tty" or (kind == "auto" and os.isatty(descriptor) and os.environ.get("TERM", "dumb") != "dumb"):
        from rootless.cli.build_board import BoardScreen

        return BoardScreen(descriptor)
    stream = sys.stderr if descriptor == 2 else sys.stdout

    def write(data: bytes) -> None:
        try:
            stream.buffer.write(data)
        except OSError as error:
            raise of_output(error) from None

    def flush() -> None:
        try:
            stream.flush()
        except OSError as error:
            raise of_output(error) from None

    if kind == "auto" and os.environ.get("GITHUB_ACTIONS") == "true":
        return FoldedScreen(write, flush, _github)
    if kind == "auto" and os.environ.get("GITLAB_CI") == "true":
        return FoldedScreen(write, flush, _gitlab)
    return PlainScreen(write, flush)


class PlainScreen(Screen):
    """Lines as podman writes them. What stages that are built at the same time print has the stage's number before it,
    a whole line at a time."""

    def __init__(self, write: Callable[[bytes], object], flush: Callable[[], object]) -> None:
        """``write`` takes bytes for the user; ``flush`` is called after each message."""
        self._write = write
        self._flush = flush
        self._names: list[str] = []
        self._platform = ""
        self._active: set[int] = set()
        self._rest: dict[int, bytes] = {}

    def _line(self, text: str) -> None:
        self._write(_safe(text).encode("utf-8", "backslashreplace") + b"\n")
        self._flush()

    def _prefix(self, stage: int) -> str:
        number = f"[{stage + 1}/{len(self._names)}] " if len(self._names) > 1 else ""
        return f"[{self._platform}] {number}" if self._platform else number

    def stages(self, names: list[str], platform: str) -> None:
        self._names, self._platform = names, platform

    def step(self, stage: int, number: int, total: int, text: str) -> None:
        self._active.add(stage)
        self._line(f"{self._prefix(stage)}STEP {number}/{total}: {text}")

    def cached(self, stage: int, image_id: str) -> None:
        self._line(f"{self._several(stage)}--> Using cache {image_id}")

    def output(self, stage: int, data: bytes) -> None:
        prefix = self._several(stage).encode()
        if not prefix:
            self._write(data)
            self._flush()
            return
        *lines, self._rest[stage] = (self._rest.get(stage, b"") + data).split(b"\n")
        self._write(b"".join(prefix + line + b"\n" for line in lines))
        self._flush()

    def _several(self, stage: int) -> str:
        """What tells lines of a stage from those of others that are built at the same time."""
        return self._prefix(stage) if len(self._active) > 1 or self._rest.get(stage) else ""

    def _end_output(self, stage: int) -> None:
        rest = self._rest.pop(stage, b"")
        if rest:
            self._write(self._prefix(stage).encode() + rest + b"\n")

    def made(self, stage: int, image_id: str) -> None:
        self._end_output(stage)
        self._line(f"{self._several(stage)}--> {image_id[:_SHORT]}")

    def done(self, stage: int) -> None:
        self._end_output(stage)
        self._active.discard(stage)

    def note(self, text: str) -> None:
        self._flush()
        print_line(text)

    def committing(self, names: list[str]) -> None:
        self._line(f"COMMIT {names[0]}" if names else "COMMIT")

    def named(self, name: str) -> None:
        self._line(f"Successfully tagged {name}")

    def close(self) -> None:
        for stage in list(self._rest):
            self._end_output(stage)
        self._flush()


class FoldedScreen(PlainScreen):
    """Plain lines, in which what a step prints can be folded away: the whole step is printed when it is done.

    ``fold`` makes the lines before and after of a heading.
    """

    def __init__(
        self, write: Callable[[bytes], object], flush: Callable[[], object],
        fold: Callable[[str, int, bool], str],
    ) -> None:  # fmt: skip
        super().__init__(write, flush)
        self._fold = fold
        self._open: dict[int, tuple[str, int]] = {}
        self._kept: dict[int, list[bytes]] = {}
        self._number = 0

    def step(self, stage: int, number: int, total: int, text: str) -> None:
        self._close_fold(stage)
        self._active.add(stage)
        self._number += 1
        self._open[stage] = (f"{self._prefix(stage)}STEP {number}/{total}: {text}", self._number)
        self._kept[stage] = []
        if len(self._active) == 1:
            self._begin(stage)

    def _begin(self, stage: int) -> None:
        heading, number = self._open[stage]
        self._write(self._fold(_safe(heading), number, True).encode("utf-8", "backslashreplace"))
        self._flush()

    def _is_direct(self, stage: int) -> bool:
        return self._active == {stage}

    def output(self, stage: int, data: bytes) -> None:
        if stage in self._open and not self._kept[stage] and self._is_direct(stage):
            self._write(data)
            self._flush()
        else:
            self._kept.setdefault(stage, []).append(data)

    def cached(self, stage: int, image_id: str) -> None:
        self.output(stage, f"--> Using cache {image_id}\n".encode())

    def made(self, stage: int, image_id: str) -> None:
        self.output(stage, f"--> {image_id[:_SHORT]}\n".encode())
        self._close_fold(stage)

    def _close_fold(self, stage: int) -> None:
        if stage not in self._open:
            return
        heading, number = self._open.pop(stage)
        kept = b"".join(self._kept.pop(stage, ()))
        self._write(kept + self._fold(_safe(heading), number, False).encode("utf-8", "backslashreplace"))
        self._flush()

    def done(self, stage: int) -> None:
        self._close_fold(stage)
        self._active.discard(stage)

    def close(self) -> None:
        for stage in list(self._open):
            self._close_fold(stage)


def _github(heading: str, number: int, opens: bool) -> str:
    """A group of a log of GitHub Actions."""
    return f"::group::{heading}\n" if opens else "::endgroup::\n"


def _gitlab(heading: str, number: int, opens: bool) -> str:
    """A section of a job log of GitLab CI."""
    word, what = ("start", heading) if opens else ("end", "")
    return f"\x1b[0Ksection_{word}:{int(time.time())}:build_step_{number}\r\x1b[0K{what}\n"


def _safe(text: str) -> str:
    """One line, in which nothing moves a cursor."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
