"""From a file to stages of instructions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rootless.containerfile.instructions import NO_TRIGGERS, Flags, reading
from rootless.containerfile.lines import Reader
from rootless.containerfile.model import Arg, Containerfile, Stage

if TYPE_CHECKING:
    from collections.abc import Container

    from rootless.containerfile.lines import Statement
    from rootless.containerfile.model import Instruction

BEGIN = "begin with FROM IMAGE or FROM scratch"
_STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]*")


def parse(data: bytes, name: str) -> Containerfile:
    """Read a Containerfile; ``name`` is what errors call it. Raises ContainerfileError."""
    reader = Reader(data, name)
    global_args: list[Arg] = []
    stages: list[tuple[Statement, str, str, str, list[Instruction]]] = []
    for statement in reader.statements():
        if statement.keyword == "FROM":
            stages.append((statement, *_from(statement), []))
            continue
        instruction = reading(reader, statement)
        if stages:
            stages[-1][-1].append(instruction)
        elif isinstance(instruction, Arg):
            global_args.append(instruction)
        else:
            raise statement.origin.error(
                f"{statement.keyword} stands before the first FROM", BEGIN, doing="read")
    if not stages:
        raise reader.source.error("there is no FROM" if global_args else "there are no instructions", 1, 1, BEGIN)
    return Containerfile(
        name, reader.directives, reader.escape, tuple(global_args),
        tuple(Stage(index, stage, base, platform, tuple(instructions), statement.origin)
              for index, (statement, base, platform, stage, instructions) in enumerate(stages)))  # fmt: skip


def parse_trigger(text: str, name: str) -> Instruction:
    """The instruction that a base image's OnBuild has; ``name`` is what errors call it. Raises ContainerfileError."""
    return parse_one(text, name, "a trigger", NO_TRIGGERS)


def parse_one(text: str, name: str, what: str, refused: Container[str] = ()) -> Instruction:
    """The single instruction that a text is; ``name`` is what errors call the text.

    Raises ContainerfileError, as for several or one of the ``refused``, which cannot be ``what`` ("a trigger").
    """
    reader = Reader(text.encode("utf-8", "surrogatepass"), name)
    statements = list(reader.statements())
    if len(statements) != 1:
        raise reader.source.error(f"{what} is one instruction", 1, 1)
    if statements[0].keyword in refused:
        raise statements[0].origin.error(f"{statements[0].keyword} cannot be {what}", doing="read")
    return reading(reader, statements[0])


def _from(statement: Statement) -> tuple[str, str, str]:
    """Base, platform and stage name of a FROM."""
    flags = Flags(statement, ("platform",))
    words = statement.rest.split()
    if len(words) == 3 and words[1].upper() == "AS":
        stage = words[2].lower()
        if not _STAGE_NAME.fullmatch(stage):
            raise statement.origin.error(
                f"{words[2][:40]!r} cannot name a stage", "use letters, digits, '-', '_' and '.', a letter first",
                near=words[2], offset=statement.offset, doing="read")
        return words[0], flags.text("platform"), stage
    if len(words) != 1:
        raise statement.origin.error(
            "FROM takes an image, or an image AS name" if words else "FROM needs an image",
            "write FROM IMAGE [AS NAME]", offset=statement.offset, doing="read")
    return words[0], flags.text("platform"), ""
