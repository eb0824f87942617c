"""Commands on containers that exist."""

from __future__ import annotations

from rootless.cli.declare.command import Command
from rootless.cli.declare.complete import containers
from rootless.cli.declare.life import LATEST
from rootless.cli.declare.options import Arguments, flag, many, number, text

CONTAINERS = Arguments("CONTAINER [CONTAINER...]", complete=containers)
ONE_CONTAINER = Arguments("CONTAINER", 1, 1, containers)

FORMAT = text("--format", "-f", help="Output as json, or by a Go template.", metavar="TEMPLATE")
FILTER = many("--filter", "-f", help="Only those that match.", metavar="KEY=VALUE")
PRUNE_FILTER = many("--filter", help="Only those that match.", metavar="KEY=VALUE")
ROW_FORMAT = text("--format", help="Output as json, or a line for each by a Go template.", metavar="TEMPLATE")
FORCE_PRUNE = flag("--force", "-f", help="Do not ask.")

COMMANDS = (
    Command(
        ("ps", "container ls", "container ps"),
        "containers:ps",
        "List containers.",
        (
            flag("--all", "-a", help="Not only the running ones."),
            FILTER,
            ROW_FORMAT,
            number("--last", "-n", help="Only the last N created, in any state."),
            flag("--latest", "-l", help="Only the one created last, in any state."),
            flag("--noheading", help="No heading."),
            flag("--no-trunc", help="Full IDs and commands."),
            flag("--ns", help="Show the namespaces."),
            flag("--pod", "-p", help="Show the pod of each."),
            flag("--quiet", "-q", help="Only the IDs."),
            flag("--size", "-s", help="Show the size of each container's own files."),
            text("--sort", help="Order by command, created, id, image, names, runningfor, size or status."),
            flag("--sync", help="Ask for the state of each anew; it is always so."),
            number("--watch", "-w", help="Show it again every so many seconds.", metavar="SECONDS"),
        ),
        panel="Containers",
        hidden_paths=("container list",),
        examples=("rootless ps -a --filter status=exited", "rootless ps --format '{{.Names}} {{.Status}}'"),
    ),
    Command(
        ("rm", "container rm"),
        "containers:rm",
        "Remove containers.",
        (
            flag("--all", "-a", help="All containers."),
            text("--cidfile", help="Also the container whose ID is in this file.", metavar="FILE"),
            many("--filter", help="Those that match.", metavar="KEY=VALUE"),
            flag("--force", "-f", help="Kill it first if it runs; no error if there is none."),
            flag("--ignore", "-i", help="No error if there is none."),
            LATEST,
            number("--time", "-t", help="With --force, seconds to wait before SIGKILL.", metavar="SECONDS"),
            flag("--volumes", "-v", help="Also its anonymous volumes."),
        ),
        CONTAINERS,
        panel="Containers",
    ),
    Command(
        ("rename", "container rename"),
        "containers:rename",
        "Give a container another name; a running one too.",
        (),
        Arguments("CONTAINER NAME", 2, 2, containers),
        panel="Containers",
        examples=("rootless rename web web-old",),
    ),
    Command(
        ("port", "container port"),
        "port:port",
        "Show where the ports of a container are published.",
        (
            flag("--all", "-a", help="Those of all containers."),
            flag("--latest", "-l", help="Those of the container that was created last."),
        ),
        Arguments("CONTAINER [PORT[/PROTOCOL]]", 0, 2, containers),
        panel="Containers",
        examples=("rootless port web 80/tcp",),
    ),
    Command(
        ("inspect",),
        "containers:inspect_any",
        "Show all that is known of containers, images or volumes.",
        (
            FORMAT,
            text("--type", "-t", help="What to look for: all, container, image or volume.", metavar="TYPE"),
            flag("--size", "-s", help="Also the sizes of a container."),
            LATEST,
        ),
        Arguments("NAME [NAME...]", complete=containers),
        panel="Containers",
        examples=("rootless inspect --format '{{.State.Status}}' web",),
    ),
    Command(
        ("container inspect",),
        "containers:inspect",
        "Show all that is known of containers.",
        (
            FORMAT,
            flag("--size", "-s", help="Also the sizes."),
            LATEST,
        ),
        CONTAINERS,
    ),
    Command(
        ("container exists",),
        "containers:exists",
        "Exit with 0 if there is such a container, else with 1.",
        (),
        ONE_CONTAINER,
    ),
    Command(
        ("container prune",),
        "containers:prune",
        "Remove all containers that do not run.",
        (FORCE_PRUNE, PRUNE_FILTER),
    ),
)
