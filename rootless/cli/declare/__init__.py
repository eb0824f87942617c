"""Every command of both programs, declared once, in Typer.

From these declarations come the help texts, the shell completion, the manual, every message about a malformed command
line, and the table of `rootless.cli.grammar`, by which well-formed lines are read without importing Typer (it costs
more than a whole container start). One file holds one family of commands; `build_app` collects them.
"""

from __future__ import annotations

import sys

import typer

from rootless.cli.declare import (
    artifacts,
    building,
    containers,
    copying,
    doctor,
    events,
    exec,
    health,
    images,
    life,
    logs,
    manifests,
    oci,
    pushing,
    registries,
    resources,
    root,
    run,
    system,
    trust,
    volumes,
)
from rootless.cli.declare.command import Command, Group, add_group, root_callback
from rootless.cli.declare.program import Program

EPILOG = "What this machine offers and lacks: rootless doctor. Manual page of a command: man rootless-COMMAND."

GROUPS = {
    "container": "Manage containers.",
    "image": "Manage images.",
    "image trust": "Show and change which images are accepted.",
    "manifest": "Manage image lists.",
    "artifact": "Manage artifacts: files that registries keep beside images.",
    "buildx": "Build images, by Docker's newer name.",
    "builder": "Build images, and forget what builds have kept.",
    "volume": "Manage volumes.",
    "system": "Look after the store.",
    "healthcheck": "Check the health of containers.",
}


FAMILIES = (
    run, life, exec, health, resources, containers, logs, copying, images, building, manifests, artifacts,
    trust, pushing, registries, volumes, system, doctor, events,
)  # fmt: skip


ROOTLESS = Program(
    name="rootless",
    help="Run containers without root and without a daemon.",
    epilog=EPILOG,
    grammar="grammar",
    version="system:program_version",
    commands=tuple(command for family in FAMILIES for command in family.COMMANDS),
    persistent_options=root.PERSISTENT_OPTIONS,
    root_options=root.ROOT_OPTIONS,
    groups=GROUPS,
)

OCI = Program(
    name="rootless-oci",
    help="Run a container from an OCI bundle, without root.",
    epilog="Manual page of a command: man rootless-oci-COMMAND.",
    grammar="oci_grammar",
    version="oci:program_version",
    commands=oci.COMMANDS,
    persistent_options=oci.PERSISTENT_OPTIONS,
    root_options=root.ROOT_OPTIONS,
)

PROGRAMS = (ROOTLESS, OCI)


def commands() -> list[Command]:
    """Every command of the engine, in the order of the help text."""
    return list(ROOTLESS.commands)


def program_of(name: str) -> Program:
    """The program that answers to ``name``, by which it was called."""
    return OCI if name == OCI.name else ROOTLESS


def build_app(program: Program = ROOTLESS) -> typer.Typer:
    """The Typer application with all commands of ``program``."""
    app = typer.Typer(
        name=program.name,
        cls=Group,
        pretty_exceptions_enable=False,
        # Boxes and colours are for people; a pipe gets plain text.
        rich_markup_mode="rich" if sys.stdout.isatty() else None,
        context_settings={"help_option_names": ["--help", "-h"]},
        epilog=program.epilog,
    )
    app.callback(help=program.help)(root_callback(program.global_options))
    groups: dict[str, typer.Typer] = {}
    for path, text in program.groups.items():
        above, _, name = path.rpartition(" ")
        groups[path] = add_group(groups[above] if above else app, name, text)
    for command in program.commands:
        for path in (*command.paths, *command.hidden_paths):
            group, _, name = path.rpartition(" ")
            hidden = command.hidden or path in command.hidden_paths
            command.register(groups[group] if group else app, name, program.persistent_options, hidden)
    return app
