"""The flags of a container's health check, and the command that checks at once."""

from __future__ import annotations

from rootless.cli.declare.command import Command
from rootless.cli.declare.life import ONE_CONTAINER
from rootless.cli.declare.options import Arguments, flag, number, panel, text

HEALTH = panel(
    "Health",
    text("--health-cmd", help="Command that tells whether it is well; none for no check.", metavar="COMMAND"),
    text("--health-interval", help="Time between two checks (30s); disable: only by hand.", metavar="DURATION"),
    text("--health-timeout", help="Time after which a check is killed and has failed (30s).", metavar="DURATION"),
    number("--health-retries", help="Failures in a row that make it unhealthy (3)."),
    text("--health-start-period", help="Time from the start in which failures do not count (0s).", metavar="DURATION"),
    text(
        "--health-on-failure",
        help="What becomes of an unhealthy container: none, kill, restart or stop.",
        metavar="ACTION",
    ),
    text("--health-startup-cmd", help="Command to be tried first, until it succeeds.", metavar="COMMAND"),
    text("--health-startup-interval", help="Time between two of those (30s).", metavar="DURATION"),
    text("--health-startup-timeout", help="Time after which one of those is killed (30s).", metavar="DURATION"),
    number("--health-startup-retries", help="Failures of it that restart the container (0: never)."),
    number("--health-startup-success", help="Successes that it takes (0: one)."),
    text("--health-log-destination", help="Where results go: local, events_logger or a directory.", metavar="PLACE"),
    number("--health-max-log-count", help="Results that are kept (5); 0: all."),
    number("--health-max-log-size", help="Characters of a result that are kept (500); 0: up to a million."),
    flag("--no-healthcheck", help="No check, whatever the image says."),
)

COMMANDS = (
    Command(
        ("healthcheck run",),
        "healthcheck:run",
        "Check the health of a container now: 0 healthy, 1 not.",
        (),
        Arguments("CONTAINER", 1, 1, ONE_CONTAINER.complete),
        panel="Containers",
        examples=("rootless healthcheck run web",),
    ),
)
