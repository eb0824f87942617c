"""`completion`: scripts for shells, which ask the program itself what could follow."""

from __future__ import annotations

import os
from typing import Any

import typer.main

from rootless.cli.declare import ROOTLESS, build_app
from rootless.cli.main import COMPLETION_VARIABLE, program_name
from rootless.errors import UsageError

SHELLS = ("bash", "zsh", "fish")


def completion(values: dict[str, Any], args: list[str], global_values: dict[str, Any]) -> int:
    """Print the completion script of a shell."""
    if args[0] not in SHELLS:
        raise UsageError(f"cannot complete in {args[0]!r}", f"choose from: {', '.join(SHELLS)}")
    os.environ[COMPLETION_VARIABLE] = f"source_{args[0]}"
    try:
        typer.main.get_command(build_app(ROOTLESS)).main([], prog_name=program_name(), complete_var=COMPLETION_VARIABLE)
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        del os.environ[COMPLETION_VARIABLE]
    return 0
