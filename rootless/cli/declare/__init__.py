"""Every command of the program, declared once, in Typer.

From these declarations come the help texts, the shell completion, the manual, every message about a malformed command
line, and the table of `rootless.cli.grammar`, by which well-formed lines are read without importing Typer (it costs
more than a whole container start). One file holds one family of commands; `build_app` collects them.
"""

from __future__ import annotations

import sys

import typer

from rootless.cli.declare import containers, images, registries, run, system, volumes
from rootless.cli.declare.command import Command, Group, add_group, root_callback

EPILOG = "Report of what this machine offers: rootless info. Manual page of a command: man rootless-COMMAND."

GROUPS = {
    "container": "Manage containers.",
    "image": "Manage images.",
    "volume": "Manage volumes.",
    "system": "Look after the store.",
}


FAMILIES = (run, containers, images, registries, volumes, system)


def commands() -> list[Command]:
    """Every command, in the order of the help text."""
    return [command for family in FAMILIES for command in family.COMMANDS]


def build_app() -> typer.Typer:
    """The Typer application with all commands."""
    app = typer.Typer(
        name="rootless",
        cls=Group,
        pretty_exceptions_enable=False,
        # Boxes and colours are for people; a pipe gets plain text.
        rich_markup_mode="rich" if sys.stdout.isatty() else None,
        context_settings={"help_option_names": ["--help", "-h"]},
        epilog=EPILOG,
    )
    app.callback(help="Run containers without root and without a daemon.")(root_callback())
    groups = {name: add_group(app, name, text) for name, text in GROUPS.items()}
    for command in commands():
        for path in (*command.paths, *command.hidden_paths):
            group, _, name = path.rpartition(" ")
            command.register(groups[group] if group else app, name, hidden=path in command.hidden_paths)
    return app
