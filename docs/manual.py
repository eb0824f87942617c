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
from rootless.cli.declare import OCI, PROGRAMS, ROOTLESS
from rootless.cli.declare.command import Command
from rootless.cli.declare.options import Option
from rootless.cli.declare.program import Program

SECTION = "1"
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


OCI_SUMMARY = "run a container from an OCI bundle, without root"
OCI_DESCRIPTION = (
    "The OCI runtime of rootless. It runs the container that a bundle describes: a directory with a config.json, as "
    "the OCI runtime specification has it, and a root file system. It pulls and stores nothing. What it keeps of a "
    "running container is below the user's runtime directory and ends with the boot."
)
ABOUT = {ROOTLESS.name: (SUMMARY, DESCRIPTION), OCI.name: (OCI_SUMMARY, OCI_DESCRIPTION)}


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
    program: Program = ROOTLESS

    @property
    def title(self) -> str:
        """The command as it is typed: ``rootless image exists``."""
        return self.of(self.name)

    @property
    def file(self) -> str:
        """The name of the page without its suffix: ``rootless-image-exists``."""
        return self.of(self.name).replace(" ", "-")

    def of(self, path: str) -> str:
        """Another command of the same program as it is typed."""
        return f"{self.program.name} {path}".strip()


def pages(program: Program = ROOTLESS) -> list[Page]:
    """Every page of a program: itself, its groups, its commands."""
    return [
        _program(program),
        *(_group(program, name) for name in program.groups),
        *(_command(program, command) for command in program.commands if not command.hidden),
    ]


def _program(program: Program) -> Page:
    own = [command for command in program.commands if " " not in command.paths[0] and not command.hidden]
    rest = "Other" if program.groups else "Commands"
    headings = dict.fromkeys(command.panel or rest for command in own)
    listed = tuple(
        (heading, tuple((c.paths[0], c.help) for c in own if (c.panel or rest) == heading)) for heading in headings
    )
    groups = (("Groups of commands", tuple(program.groups.items())),) if program.groups else ()
    summary, description = ABOUT[program.name]
    return Page(
        name="",
        summary=summary,
        usage="[OPTION...] COMMAND [ARG...]",
        description=description,
        options=_by_panel((*program.root_options, *program.persistent_options)),
        subcommands=(*listed, *groups),
        exits=OF_COMMAND,
        program=program,
    )


def _group(program: Program, name: str) -> Page:
    members = []
    for command in program.commands:
        for path in command.paths:
            group, _, own = path.rpartition(" ")
            if group == name:
                members.append((f"{name} {own}", command.help))
    return Page(
        name=name,
        summary=_summary(program.groups[name]),
        usage="COMMAND [ARG...]",
        description=program.groups[name],
        subcommands=(("Commands", tuple(sorted(members))),),
        exits=OF_COMMAND,
        program=program,
    )


def _command(program: Program, command: Command) -> Page:
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
        program=program,
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
        aliases = ", ".join(f"`{page.of(alias)}`" for alias in page.aliases)
        yield from (f"Also: {aliases}.", "")
    for heading, members in page.subcommands:
        yield from (f"## {heading}", "", "| command | what it does |", "|---|---|")
        for name, text in members:
            yield f"| [{page.of(name)}]({_link(page, name)}) | {_escaped(text)} |"
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


def _link(page: Page, name: str) -> str:
    """The site page of a command, or of the command that ``name`` is another path of."""
    for command in page.program.commands:
        if name in command.paths:
            name = command.paths[0]
    return f"{page.of(name).replace(' ', '-')}.md"


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|$])", r"\\\1", text)


# roff


def roff(page: Page) -> str:
    """The man page, in the ``man(7)`` macros."""
    return "\n".join(_roff_lines(page)) + "\n"


def _roff_lines(page: Page) -> Iterator[str]:
    date = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())))
    yield f'.TH {page.file.upper()} {SECTION} {date} "rootless {__version__}" "rootless manual"'
    yield from (".SH NAME", f"{_text(page.file)} \\- {_text(page.summary)}")
    yield from (".SH SYNOPSIS", f".B {_text(page.title)}", _text(page.usage))
    yield from (".SH DESCRIPTION", _text(page.description))
    if page.aliases:
        aliases = ", ".join(f"\\fB{_text(page.of(alias))}\\fR" for alias in page.aliases)
        yield from (".PP", f"The same command: {aliases}.")
    if page.subcommands:
        yield ".SH COMMANDS"
    for heading, members in page.subcommands:
        yield f".SS {_text(heading)}"
        for name, text in members:
            yield from (".TP", f".B {_text(page.of(name))}", _text(text))
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
    name = page.program.name
    other = OCI.name if page.program is ROOTLESS else ROOTLESS.name
    related = [name] if page.name else [f"{name}-run", other]
    group = page.name.rpartition(" ")[0]
    if group:
        related.append(f"{name}-{group}")
    return ",\n".join(f"\\fB{_text(name)}\\fR({SECTION})" for name in related)


def _text(text: str) -> str:
    """Text as roff prints it: no requests, no escapes, hyphens that can be copied."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...").replace("'", "\\(aq")
    return "\\&" + escaped if escaped.startswith((".", "'")) else escaped


def man_files() -> dict[str, str]:
    """Every man page, also under its command's other paths: file name (``rootless-run.1``) → text."""
    files = {}
    for program in PROGRAMS:
        for page in pages(program):
            for path in (page.name, *page.aliases):
                files[f"{page.of(path).replace(' ', '-')}.{SECTION}"] = roff(page)
    return files
