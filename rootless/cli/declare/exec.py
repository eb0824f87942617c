"""`exec`: a further process in a running container."""

from __future__ import annotations

from dataclasses import replace

from rootless.cli.declare.command import Command
from rootless.cli.declare.complete import container_first
from rootless.cli.declare.life import DETACH_KEYS, LATEST
from rootless.cli.declare.options import Arguments, commas, flag, many, number, text

COMMANDS = (
    Command(
        ("exec", "container exec"),
        "exec:run",
        "Run a command in a running container.",
        (
            text("--cidfile", help="The container whose ID is in this file.", metavar="FILE"),
            flag("--detach", "-d", help="Leave it in the background and print the ID of the session."),
            DETACH_KEYS,
            many("--env", "-e", help="Set a variable, or take it from the caller.", metavar="NAME[=VALUE]"),
            many("--env-file", help="File with variables.", metavar="FILE"),
            flag("--interactive", "-i", help="Connect standard input."),
            LATEST,
            commas("--preserve-fd", help="Pass a descriptor to the command.", metavar="N"),
            number("--preserve-fds", help="Pass the N descriptors from 3 on to the command."),
            flag("--privileged", help="Give it all capabilities of the container's user namespace."),
            flag("--tty", "-t", help="Give it a terminal."),
            text("--user", "-u", help="Who it runs as, by name or number.", metavar="USER[:GROUP]"),
            replace(number("--wait", help="Seconds to wait for its start.", metavar="SECONDS"), hidden=True),
            text("--workdir", "-w", help="Its working directory.", metavar="DIR"),
        ),
        Arguments("CONTAINER COMMAND [ARG...]", complete=container_first),
        interspersed=False,
        panel="Containers",
        examples=("rootless exec -it web sh", "rootless exec -u 0 -w /srv web ls -l"),
    ),
)
