"""Commands about registries."""

from __future__ import annotations

from rootless.cli.declare.command import Command
from rootless.cli.declare.options import Arguments, flag, text
from rootless.cli.declare.pulling import AUTHFILE, CONNECTION

COMMANDS = (
    Command(
        ("login",),
        "login:login",
        "Log in to a registry.",
        (
            text("--username", "-u", help="User name.", metavar="NAME"),
            text("--password", "-p", help="Password; others can see it, so better use --password-stdin."),
            flag("--password-stdin", help="Read the password from standard input."),
            flag("--get-login", help="Print the user that is logged in."),
            *CONNECTION,
        ),
        Arguments("[REGISTRY]", 0, 1),
        panel="Images",
    ),
    Command(
        ("logout",),
        "login:logout",
        "Forget the credentials of a registry.",
        (flag("--all", "-a", help="Of all registries."), AUTHFILE),
        Arguments("[REGISTRY]", 0, 1),
        panel="Images",
    ),
)
