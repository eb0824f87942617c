"""What every step of a build works with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rootless.build.state import State
    from rootless.engine.context import Engine


class Job:
    """One stage's view of a build.

    ``values`` are the command line's options by name. ``work`` is the stage's own locked directory below tmp/, for
    containers and layer files. ``context`` is the build context's directory (absolute; '' for none). ``find`` gives the
    image behind a ``--from=`` or ``from=`` word: a stage's number or name, a named build context, or an image, pulled
    if need be. ``directory_of`` gives the directory of a named context that is one, or ''.
    ``ignored``: whether a path is no part of the context; ``enters``: whether something in a directory may be one,
    though it is ignored. ``epoch`` is SOURCE_DATE_EPOCH in seconds, or None. ``write`` takes what a command prints, for
    the user. ``mtime`` says which time of change (ns) a file with a given one has in a layer. ``arguments`` are the
    ARGs that a RUN sees now; the executor replaces it before each step.
    """

    __slots__ = (
        "arguments", "context", "directory_of", "engine", "enters", "epoch", "find", "ignored", "mtime", "platform",
        "values", "work", "write",
    )  # fmt: skip

    def __init__(
        self,
        engine: Engine,
        values: Mapping[str, Any],
        *,
        work: str,
        context: str,
        platform: str,
        find: Callable[[str], State],
        directory_of: Callable[[str], str],
        ignored: Callable[[str], bool],
        enters: Callable[[str], bool],
        epoch: int | None,
        write: Callable[[bytes], None],
        mtime: Callable[[int], int] = int,
        arguments: Mapping[str, str] | None = None,
    ) -> None:
        self.engine = engine
        self.values = values
        self.work = work
        self.context = context
        self.platform = platform
        self.find = find
        self.directory_of = directory_of
        self.ignored = ignored
        self.enters = enters
        self.epoch = epoch
        self.write = write
        self.mtime = mtime
        self.arguments = arguments or {}
