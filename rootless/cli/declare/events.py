"""The command that tells what happens."""

from __future__ import annotations

from rootless.cli.declare.command import Command
from rootless.cli.declare.options import flag, many, text

COMMANDS = (
    Command(
        ("events", "system events"),
        "events:events",
        "Tell what happens to containers, images and volumes, as it happens.",
        (
            many("--filter", "-f", help="Only those that match.", metavar="KEY=VALUE"),
            text("--format", help="Output as json, or a line for each by a Go template.", metavar="TEMPLATE"),
            flag("--no-trunc", help="Full IDs (on unless =false)."),
            text("--since", help="Also what happened since then: a time, or a duration before now.", metavar="TIME"),
            flag("--stream", help="Go on with what happens next (on unless =false)."),
            text("--until", help="Only until then: a time, or a duration after now.", metavar="TIME"),
        ),
        panel="System",
        examples=("rootless events --since 10m --stream=false", "rootless events --filter event=died"),
    ),
)
