"""From a command line to the handler of its command, and from what happened to an exit code."""

from __future__ import annotations

import os
import sys

from rootless.cli import fastparse
from rootless.cli.report import print_line, report
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

OCI = "rootless-oci"
"""The second program: the OCI runtime's command line."""

COMPLETION_VARIABLE = "_ROOTLESS_COMPLETE"

LOG_LEVELS = ("trace", "debug", "info", "warn", "warning", "error", "fatal", "panic")

LOG_FORMATS = ("text", "json")

# Options that choose between implementations of which this program has one.
SINGLE = ("runtime", "runtime_flag", "storage_opt", "events_backend", "tmpdir")


def main(words: list[str]) -> int:
    """Run the command line ``words`` (without the program's name); returns the exit code. Prints every error."""
    grammar: fastparse.Grammar
    name = program_name()
    if name == OCI:
        from rootless.cli import oci_grammar as grammar
    else:
        from rootless.cli import grammar
    global_values: dict[str, Any] = {}
    handler = ""
    try:
        understood = None if COMPLETION_VARIABLE in os.environ else fastparse.parse(words, grammar)
        if understood is None:
            from rootless.cli import typer_main

            answer = typer_main.parse(words, name, COMPLETION_VARIABLE)
            if isinstance(answer, int):
                return answer
            understood = answer
        handler, values, args, global_values = understood
        if values.get("creds") or values.get("password"):
            _hide(values)
        if global_values:
            _check(global_values)
        return load(handler)(values, args, global_values)
    except (Exception, KeyboardInterrupt) as error:
        if grammar.NAME == OCI:
            from rootless.cli.oci_log import record

            record(global_values or fastparse.leading(words, grammar), error)
        if isinstance(error, UsageError) and not error.hint:
            command = next((f" {known}" for known, entry in grammar.COMMANDS.items() if entry[0] == handler), "")
            error.hint = f"see '{name}{command} --help'"
        return report(error)


def load(handler: str) -> Callable[[dict[str, Any], list[str], dict[str, Any]], int]:
    """The function of a handler's name, ``module:function`` below ``rootless.cli``."""
    module, _, function = handler.partition(":")
    name = f"rootless.cli.{module}"
    __import__(name)
    found: Callable[[dict[str, Any], list[str], dict[str, Any]], int] = getattr(sys.modules[name], function)
    return found


def program_name() -> str:
    """The name by which the program was called, if it has a meaning, else ``rootless``."""
    name = os.path.basename(sys.argv[0])
    return name if name in ("podman", OCI) else "rootless"


def _hide(values: dict[str, Any]) -> None:
    """Take a password that was given on the command line out of it, where others see it, out of records and cores."""
    from rootless.linux.arguments import hide
    from rootless.registry.memory import leave_out_of_core

    creds, password = values.get("creds") or "", values.get("password")
    if ":" in creds:
        hide(creds, creds.partition(":")[0])
    if password:
        hide(password)
    leave_out_of_core()


def _check(global_values: dict[str, Any]) -> None:
    form = global_values.get("log_format", "text")
    if form not in LOG_FORMATS:
        raise UsageError(f"unknown log format {form!r}", f"choose from: {', '.join(LOG_FORMATS)}")
    level = global_values.get("log_level", "warn")
    if level.lower() not in LOG_LEVELS:
        raise UsageError(f"unknown log level {level!r}", f"choose from: {', '.join(LOG_LEVELS)}")
    if level.lower() in ("trace", "debug"):
        for key in SINGLE:
            if key in global_values:
                print_line(f"debug: --{key.replace('_', '-')} has no effect: there is one implementation")
