"""What a RUN executes: the words of its process, and a program that is given in the file itself. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from rootless.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootless.containerfile.model import Run

SHELL = ("/bin/sh", "-c")
PIPES = "/dev/pipes"
_LONGEST = 128 << 10
"""Of one argument of a process in Linux (MAX_ARG_STRLEN in execve(2))."""


class Command(NamedTuple):
    """``arguments`` of the process. ``program``: what the file ``place`` has to hold, '' if there is none."""

    arguments: list[str]
    place: str = ""
    program: str = ""


def of(step: Run, settings: Mapping[str, Any]) -> Command:
    """The command of a RUN in an image with these settings. Raises UsageError."""
    if not isinstance(step.command, str):
        return _checked(Command(list(step.command)))
    document = step.document
    if document is not None and document.data.startswith("#!"):
        place = f"{PIPES}/{document.name if document.name.replace('_', '').isalnum() else 'script'}"
        return Command([place], place, document.data)
    return _checked(Command([*(settings.get("Shell") or SHELL), step.script]))


def _checked(command: Command) -> Command:
    for word in command.arguments:
        if "\0" in word:
            raise UsageError("cannot RUN a command with a NUL byte")
        if len(word.encode("utf-8", "surrogateescape")) >= _LONGEST:
            hint = "copy the script into the image, or begin the heredoc with #! and the name of its interpreter"
            raise UsageError(f"cannot RUN a command of more than {_LONGEST >> 10} KiB", hint)
    return command
