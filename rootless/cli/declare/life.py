"""The life of a container that exists: start, attach, stop, kill, restart, wait, init, resume."""

from __future__ import annotations

from rootless.cli.declare.command import Command
from rootless.cli.declare.complete import containers
from rootless.cli.declare.options import Arguments, commas, flag, many, number, text

CONTAINERS = Arguments("CONTAINER [CONTAINER...]", complete=containers)
ONE_CONTAINER = Arguments("CONTAINER", 0, 1, containers)

ALL = flag("--all", "-a", help="All containers that it can be done to.")
LATEST = flag("--latest", "-l", help="The container that was created last.")
CIDFILE = commas("--cidfile", help="Also the container whose ID is in this file.", metavar="FILE")
FILTER = many("--filter", "-f", help="Those that match.", metavar="KEY=VALUE")
IGNORE = flag("--ignore", "-i", help="No error if there is none.")
TIME = number("--time", "-t", help="Seconds between the stop signal and SIGKILL; -1 waits for ever.", metavar="SECONDS")
DETACH_KEYS = text("--detach-keys", help="Keys that detach (ctrl-p,ctrl-q); '' for none.", metavar="KEYS")
SIG_PROXY = flag("--sig-proxy", help="Forward signals to the container (on unless =false).")

COMMANDS = (
    Command(
        ("start", "container start"),
        "life:start",
        "Start created or ended containers.",
        (
            flag("--all", help="All containers that do not run."),
            flag("--attach", "-a", help="Connect its output and forward signals; exit with its code."),
            DETACH_KEYS,
            FILTER,
            flag("--interactive", "-i", help="Connect standard input too."),
            SIG_PROXY,
            LATEST,
        ),
        CONTAINERS,
        panel="Containers",
        examples=("rootless start web", "rootless start -a job"),
    ),
    Command(
        ("attach", "container attach"),
        "life:attach",
        "Connect to the streams of a running container.",
        (DETACH_KEYS, LATEST, flag("--no-stdin", help="Do not connect standard input."), SIG_PROXY),
        ONE_CONTAINER,
        panel="Containers",
    ),
    Command(
        ("stop", "container stop"),
        "life:stop",
        "Ask containers to end, and kill those that do not in time.",
        (ALL, CIDFILE, FILTER, IGNORE, LATEST, TIME),
        CONTAINERS,
        panel="Containers",
        examples=("rootless stop -t 2 web",),
    ),
    Command(
        ("kill", "container kill"),
        "life:kill",
        "Send a signal to containers.",
        (ALL, CIDFILE, LATEST, text("--signal", "-s", help="The signal (KILL).", metavar="SIGNAL")),
        CONTAINERS,
        panel="Containers",
        examples=("rootless kill -s HUP web",),
    ),
    Command(
        ("restart", "container restart"),
        "life:restart",
        "Stop containers and start them again.",
        (ALL, CIDFILE, FILTER, LATEST, flag("--running", help="Only containers that run."), TIME),
        CONTAINERS,
        panel="Containers",
    ),
    Command(
        ("wait", "container wait"),
        "life:wait",
        "Wait until containers have ended, and print their exit codes.",
        (
            many("--condition", help="Wait for a state: running, paused, exited, …", metavar="STATE"),
            flag("--ignore", help="Print -1 for a container that is not there."),
            text("--interval", "-i", help="Time between two looks (250ms).", metavar="DURATION"),
            LATEST,
        ),
        CONTAINERS,
        panel="Containers",
    ),
    Command(
        ("init", "container init"),
        "life:init",
        "Make all that containers need but let their programs wait for start.",
        (ALL, LATEST),
        CONTAINERS,
        panel="Containers",
    ),
    Command(
        ("resume",),
        "life:resume",
        "Start what restart policies want after a reboot or a logout.",
        (),
        panel="Containers",
        examples=("@reboot rootless resume",),
    ),
    # The monitor starts this program in its own place (rootless.monitor.ending).
    Command(
        ("monitor-restart",),
        "life:again",
        "Start a container once more.",
        (),
        Arguments("LOCK ID", 2, 2),
        hidden=True,
    ),
    Command(
        ("monitor-remove",),
        "life:remove_after",
        "Remove a container that has ended, and end with its exit code.",
        (),
        Arguments("LOCK ID CODE", 3, 3),
        hidden=True,
    ),
)
