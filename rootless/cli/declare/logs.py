"""The command that shows what containers wrote."""

from __future__ import annotations

from rootless.cli.declare.command import Command
from rootless.cli.declare.complete import containers
from rootless.cli.declare.life import LATEST
from rootless.cli.declare.options import Arguments, flag, number, text

COMMANDS = (
    Command(
        ("logs", "container logs"),
        "logs:logs",
        "Show what containers have written.",
        (
            flag("--color", help="A colour for each container."),
            flag("--follow", "-f", help="Go on with what it writes, until it ends."),
            LATEST,
            flag("--names", "-n", help="Before each line of several containers the name, not the ID."),
            text("--since", help="Only since then: a time, or a duration before now.", metavar="TIME"),
            number("--tail", help="Only so many last lines; -1 for all.", metavar="LINES"),
            flag("--timestamps", "-t", help="Before each line its time."),
            text("--until", help="Only until then: a time, or a duration after now.", metavar="TIME"),
        ),
        Arguments("CONTAINER [CONTAINER...]", complete=containers),
        panel="Containers",
        examples=("rootless logs -f --tail 20 web", "rootless logs --since 10m web"),
    ),
)
