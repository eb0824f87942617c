"""`doctor`: what this machine gives containers, and what would give them more."""

from __future__ import annotations

from rootless.cli.declare.command import Command
from rootless.cli.declare.containers import ROW_FORMAT

COMMANDS = (
    Command(
        ("doctor", "system doctor"),
        "doctor:doctor",
        "Check what this machine gives containers, and tell how to mend what it lacks.",
        (ROW_FORMAT,),
        panel="System",
    ),
)
