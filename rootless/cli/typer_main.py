"""The slow way through a command line: help, completion, and the message about what is wrong with it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import typer
import typer.main
from typer.exceptions import TyperException

from rootless.cli import render
from rootless.cli.declare import build_app, program_of
from rootless.cli.declare.command import Invocation
from rootless.cli.report import ENGINE_ERROR, of_output, print_error
from rootless.errors import UsageError

if TYPE_CHECKING:
    from rootless.cli.fastparse import Understood

_MISSING = "missing command"


def parse(words: list[str], name: str, completion: str) -> Understood | int:
    """Read ``words`` by the declarations of the program ``name``.

    ``completion``: the environment variable with which a shell asks what could follow.
    Returns what the handler needs, or an exit code when all is done (help was printed). Raises `UsageError`.
    """
    command = typer.main.get_command(build_app(program_of(name)))
    try:
        if not words and completion not in os.environ:
            command.main(["--help"], prog_name=name, standalone_mode=False)
            sys.stdout.flush()
            print_error(_MISSING, f"see '{name} --help'")
            return ENGINE_ERROR
        result = command.main(words, prog_name=name, complete_var=completion, standalone_mode=False)
    except UsageError:
        if completion in os.environ:
            return ENGINE_ERROR  # half a line is being completed: nobody wants its error yet
        raise
    except TyperException as error:
        usage_error = _usage_error(error, words, name)
        context = getattr(error, "ctx", None)  # errors of usage have one
        if usage_error.message == _MISSING and context is not None:  # a group was named: show what is in it
            render.write(context.get_help() + "\n")
        raise usage_error from None
    except OSError as error:  # the declarations read and write nothing but the help
        raise of_output(error) from None
    except SystemExit as end:
        if completion not in os.environ:  # Typer's way out when nobody reads the help
            raise BrokenPipeError from None
        return int(end.code or 0)  # a shell was told what could follow
    except typer.Abort:
        raise KeyboardInterrupt from None
    if isinstance(result, Invocation):
        return result.handler, result.values, result.args, result.global_values
    return int(result or 0)


def _usage_error(error: Any, words: list[str], name: str) -> UsageError:
    """Typer's error in podman's words, for scripts that look for them."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else name
    hint = f"see '{path} --help'"
    kind = type(error).__name__
    option = getattr(error, "option_name", "")
    if kind == "NoSuchOption":
        near = [word for word in error.possibilities or () if word[:2] == "--"]
        if near:
            hint = f"did you mean {' or '.join(near)}? {hint}"
        if option[:2] == "--":
            return UsageError(f"unknown flag: {option}", hint)
        return UsageError(f"unknown shorthand flag: {option[1:]!r} in {_word_with(option[1:], words)}", hint)
    if kind == "BadOptionUsage":
        return UsageError(f"flag needs an argument: {option}", hint)
    if kind == "BadParameter":
        return UsageError(f"invalid argument for {'/'.join(error.param.opts)}: {error.message}", hint)
    message = error.format_message()
    if message.startswith("Missing command"):
        return UsageError(_MISSING, hint)
    if message.startswith("No such command"):
        unknown, _, advice = message.removeprefix("No such command ").partition(". ")
        if advice:
            hint = f"{advice[0].lower()}{advice[1:]} {hint}"
        return UsageError(f"unrecognized command {unknown.rstrip('.')} of {path}", hint)
    return UsageError(f"{message[:1].lower()}{message[1:].rstrip('.')}", hint)


def _word_with(letter: str, words: list[str]) -> str:
    """The word in which an unknown short option was written."""
    return next((word for word in words if word[:1] == "-" and word[:2] != "--" and letter in word[1:]), f"-{letter}")
