"""The manual, made from the declarations of the command line: a Markdown page and a man page for each command.

Both are written from the same :class:`Page` values, so that the site and the man pages say the same, and both from
``rootless.cli.declare``, so that neither can drift from the program.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rootless import __version__
from rootless.cli.declare import GROUPS, commands
from rootless.cli.declare.command import Command
from rootless.cli.declare.options import Option
from rootless.cli.declare.root import PERSISTENT_OPTIONS, ROOT_OPTIONS

SECTION = "1"
PROGRAM = "rootless"
SUMMARY = "run containers without root and without a daemon"
DESCRIPTION = (
    "Rootless finds, pulls, stores and runs OCI images as an ordinary user. Each invocation unshares a user namespace "
    "with the user's subordinate ids, assembles a root file system from unpacked layers, confines the process and "
    "starts it; when the container ends nothing is left running. The command line is podman's."
)
OF_CONTAINER = (
    ("0-124, 128-255", "The exit code of the container's command; 128+N if it was ended by signal N."),
    ("125", "The container could not be made or started; the reason is on standard error."),
    ("126", "The command was found but cannot be invoked."),
    ("127", "The command was not found."),
)
OF_COMMAND = (("0", "Success."), ("125", "Failure; the reason is on standard error."))
OF_REMOVAL = (
    ("0", "Success."),
    ("1", "There is no such object."),
    ("2", "The object is in use."),
    ("125", "Another failure; the reason is on standard error."),
)
OF_QUESTION = (("0", "Yes."), ("1", "No."), ("125", "It could not be found out."))


@dataclass(frozen=True)
class Page:
    """What a manual page says, whatever it is written in.

    ``name`` is the command as typed after the program's name ("" is the program itself), ``options`` are groups of
    options under their headings, ``subcommands`` pairs of name and summary.
    """

    name: str
    summary: str
    usage: str
    description: str
    options: tuple[tuple[str, tuple[Option, ...]], ...] = ()
    subcommands: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    aliases: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    exits: tuple[tuple[str, str], ...] = ()

    @property
    def title(self) -> str:
        """The command as it is typed: ``rootless image exists``."""
        return f"{PROGRAM} {self.name}".strip()

    @property
    def file(self) -> str:
        """The name of the page without its suffix: ``rootless-image-exists``."""
        return _file(self.name)


def _file(path: str) -> str:
    return f"{PROGRAM} {path}".strip().replace(" ", "-")


def pages() -> list[Page]:
    """Every page: the program, its groups, its commands."""
    return [_program(), *(_group(name) for name in GROUPS), *(_command(command) for command in commands())]


def _program() -> Page:
    own = [command for command in commands() if " " not in command.paths[0]]
    headings = dict.fromkeys(command.panel or "Other" for command in own)
    listed = tuple(
        (heading, tuple((c.paths[0], c.help) for c in own if (c.panel or "Other") == heading)) for heading in headings
    )
    groups = ("Groups of commands", tuple(GROUPS.items()))
    return Page(
        name="",
        summary=SUMMARY,
        usage="[OPTION...] COMMAND [ARG...]",
        description=DESCRIPTION,
        options=_by_panel((*ROOT_OPTIONS, *PERSISTENT_OPTIONS)),
        subcommands=(*listed, groups),
        exits=OF_COMMAND,
    )


def _group(name: str) -> Page:
    members = []
    for command in commands():
        for path in command.paths:
            group, _, own = path.rpartition(" ")
            if group == name:
                members.append((f"{name} {own}", command.help))
    return Page(
        name=name,
        summary=_summary(GROUPS[name]),
        usage="COMMAND [ARG...]",
        description=GROUPS[name],
        subcommands=(("Commands", tuple(sorted(members))),),
        exits=OF_COMMAND,
    )


def _command(command: Command) -> Page:
    usage = " ".join(filter(None, ("[OPTION...]" if command.options else "", command.arguments.usage)))
    return Page(
        name=command.paths[0],
        summary=_summary(command.help),
        usage=usage,
        description=command.help,
        options=_by_panel(command.options),
        aliases=command.paths[1:],
        examples=command.examples,
        exits=_exits(command),
    )


def _exits(command: Command) -> tuple[tuple[str, str], ...]:
    name = command.paths[0].rpartition(" ")[2]
    if name in {"run", "start"}:
        return OF_CONTAINER
    if name in {"rm", "rmi"}:
        return OF_REMOVAL
    return OF_QUESTION if name == "exists" else OF_COMMAND


def _summary(text: str) -> str:
    """The first sentence, as the NAME section has it: without a capital and a full stop."""
    first = re.split(r"\.(?:\s|$)", text, maxsplit=1)[0]
    return first[:1].lower() + first[1:]


def _by_panel(options: Iterable[Option]) -> tuple[tuple[str, tuple[Option, ...]], ...]:
    grouped: dict[str, list[Option]] = {}
    for option in options:
        if not option.hidden:
            grouped.setdefault(option.panel, []).append(option)
    return tuple((panel, tuple(members)) for panel, members in grouped.items())


def _spellings(option: Option) -> list[str]:
    """Every spelling of an option, the short ones first, as usage texts have it."""
    return sorted(option.names, key=lambda name: (name.startswith("--"), name))


def _value(option: Option) -> str:
    return "" if option.kind == "bool" else option.metavar or "TEXT"


def _help(option: Option) -> str:
    repeated = {"list": " May be given several times.", "csv": " May be given several times, or comma-separated."}
    return option.help + repeated.get(option.kind, "")


# Markdown


def markdown(page: Page) -> str:
    """The page of the site."""
    return "\n".join(_markdown_lines(page)) + "\n"


def _markdown_lines(page: Page) -> Iterator[str]:
    yield from (f"# {page.title}", "", _escaped(page.description), "")
    yield from ("```text", f"{page.title} {page.usage}", "```", "")
    if page.aliases:
        aliases = ", ".join(f"`{PROGRAM} {alias}`" for alias in page.aliases)
        yield from (f"Also: {aliases}.", "")
    for heading, members in page.subcommands:
        yield from (f"## {heading}", "", "| command | what it does |", "|---|---|")
        for name, text in members:
            yield f"| [{PROGRAM} {name}]({_link(name)}) | {_escaped(text)} |"
        yield ""
    if page.options:
        yield from ("## Options", "")
    for panel, options in page.options:
        if panel:
            yield from (f"### {panel}", "")
        for option in options:
            spelled = ", ".join(_spellings(option))
            value = f" {_value(option)}" if _value(option) else ""
            yield from (f"`{spelled}{value}`", f":   {_escaped(_help(option))}", "")
    if page.examples:
        yield from ("## Examples", "", "```sh", *page.examples, "```", "")
    yield from ("## Exit status", "", "| code | meaning |", "|---|---|")
    yield from (f"| {code} | {meaning} |" for code, meaning in page.exits)


def _link(name: str) -> str:
    """The site page of a command, or of the command that ``name`` is another path of."""
    for command in commands():
        if name in command.paths:
            name = command.paths[0]
    return f"{_file(name)}.md"


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|$])", r"\\\1", text)


# roff


def roff(page: Page) -> str:
    """The man page, in the ``man(7)`` macros."""
    return "\n".join(_roff_lines(page)) + "\n"


def _roff_lines(page: Page) -> Iterator[str]:
    date = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())))
    yield f'.TH {page.file.upper()} {SECTION} {date} "{PROGRAM} {__version__}" "{PROGRAM} manual"'
    yield from (".SH NAME", f"{_text(page.file)} \\- {_text(page.summary)}")
    yield from (".SH SYNOPSIS", f".B {_text(page.title)}", _text(page.usage))
    yield from (".SH DESCRIPTION", _text(page.description))
    if page.aliases:
        aliases = ", ".join(f"\\fB{_text(f'{PROGRAM} {alias}')}\\fR" for alias in page.aliases)
        yield from (".PP", f"The same command: {aliases}.")
    if page.subcommands:
        yield ".SH COMMANDS"
    for heading, members in page.subcommands:
        yield f".SS {_text(heading)}"
        for name, text in members:
            yield from (".TP", f".B {_text(f'{PROGRAM} {name}')}", _text(text))
    if page.options:
        yield ".SH OPTIONS"
    for panel, options in page.options:
        if panel:
            yield f".SS {_text(panel)}"
        for option in options:
            spelled = ", ".join(f"\\fB{_text(name)}\\fR" for name in _spellings(option))
            value = f" \\fI{_text(_value(option))}\\fR" if _value(option) else ""
            yield from (".TP", spelled + value, _text(_help(option)))
    if page.examples:
        yield from (".SH EXAMPLES", ".nf", *(_text(example) for example in page.examples), ".fi")
    yield ".SH EXIT STATUS"
    for code, meaning in page.exits:
        yield from (".TP", f".B {_text(code)}", _text(meaning))
    yield from (".SH SEE ALSO", _see_also(page))


def _see_also(page: Page) -> str:
    related = [PROGRAM] if page.name else [f"{PROGRAM}-run", f"{PROGRAM}-pull"]
    group = page.name.rpartition(" ")[0]
    if group:
        related.append(f"{PROGRAM}-{group}")
    return ",\n".join(f"\\fB{_text(name)}\\fR({SECTION})" for name in related)


def _text(text: str) -> str:
    """Text as roff prints it: no requests, no escapes, hyphens that can be copied."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...").replace("'", "\\(aq")
    return "\\&" + escaped if escaped.startswith((".", "'")) else escaped


def man_files() -> dict[str, str]:
    """Every man page, also under its command's other paths: file name (``rootless-run.1``) → text."""
    files = {}
    for page in pages():
        for path in (page.name, *page.aliases):
            files[f"{_file(path)}.{SECTION}"] = roff(page)
    return files
