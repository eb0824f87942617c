"""Commands on volumes."""

from __future__ import annotations

from rootless.cli.declare.command import Command
from rootless.cli.declare.complete import volumes
from rootless.cli.declare.containers import FILTER, FORCE_PRUNE, FORMAT, PRUNE_FILTER, ROW_FORMAT
from rootless.cli.declare.options import Arguments, flag, many, text

VOLUMES = Arguments("VOLUME [VOLUME...]", complete=volumes)

COMMANDS = (
    Command(
        ("volume create",),
        "volumes:create",
        "Create a volume.",
        (
            text("--driver", "-d", help="Driver of the volume: local.", metavar="NAME"),
            flag("--ignore", help="No error if there is one of that name."),
            many("--label", "-l", help="Metadata of the volume.", metavar="KEY[=VALUE]"),
            many("--opt", "-o", help="Option of the driver.", metavar="KEY=VALUE"),
        ),
        Arguments("[NAME]", 0, 1),
    ),
    Command(
        ("volume ls",),
        "volumes:ls",
        "List volumes.",
        (
            FILTER,
            ROW_FORMAT,
            flag("--noheading", "-n", help="No heading."),
            flag("--quiet", "-q", help="Only the names."),
        ),
        hidden_paths=("volume list",),
    ),
    Command(
        ("volume inspect",),
        "volumes:inspect",
        "Show all that is known of volumes.",
        (flag("--all", "-a", help="All volumes."), FORMAT),
        VOLUMES,
    ),
    Command(
        ("volume rm",),
        "volumes:rm",
        "Remove volumes.",
        (
            flag("--all", "-a", help="All volumes."),
            flag("--force", "-f", help="Also the containers that use it; no error if there is none."),
        ),
        VOLUMES,
    ),
    Command(
        ("volume exists",),
        "volumes:exists",
        "Exit with 0 if there is such a volume, else with 1.",
        (),
        Arguments("VOLUME", 1, 1, volumes),
    ),
    Command(
        ("volume prune",),
        "volumes:prune",
        "Remove volumes that no container uses.",
        (
            FORCE_PRUNE,
            PRUNE_FILTER,
        ),
    ),
    Command(
        ("volume export",),
        "volumes:export",
        "Write what is in a volume as a tar archive.",
        (text("--output", "-o", help="Write to this file, not to standard output.", metavar="FILE"),),
        Arguments("VOLUME", 1, 1, volumes),
        examples=("rootless volume export -o data.tar data",),
    ),
    Command(
        ("volume import",),
        "volumes:import_archive",
        "Put what is in a tar archive into a volume.",
        (),
        Arguments("VOLUME FILE|-", 2, 2, volumes),
        examples=("rootless volume export old | rootless volume import new -",),
    ),
)
