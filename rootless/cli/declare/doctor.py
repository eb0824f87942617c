"""`doctor`: what this machine gives containers, and what would give them more."""

from __future__ import annotations

from rootless.cli.declare.command import Command
from rootless.cli.declare.containers import ROW_FORMAT
from rootless.cli.declare.options import flag

COMMANDS = (
    Command(
        ("doctor", "system doctor"),
        "doctor:doctor",
        "Check what this machine gives containers, and tell how to mend what it lacks.",
        (ROW_FORMAT, flag("--json", help="The same as --format json: what is there, its cost, and the command.")),
        panel="System",
    ),
)
