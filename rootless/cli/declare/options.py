"""Options as values: each makes one Typer parameter, and can be shared by several commands."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from keyword import iskeyword
from typing import Annotated, Any, Literal

import typer

Kind = Literal["bool", "text", "number", "list", "csv", "maybe"]
# Called with the beginning of the word, and with the context if it has a parameter for it.
Completer = Callable[..., list[str]]

TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))

OPTIONAL = "[="
"""How the word for an option's value begins where the value may be left out."""


@dataclass(frozen=True)
class Option:
    """One option of a command.

    ``names`` starts with the long name, from which the key of the handlers' dictionary is made (``--cap-add`` gives
    ``cap_add``); further names are aliases and short forms. The kinds: *bool*, given or ``=true``/``=false``; *text*,
    the last one counts; *number*, a text that must be a whole number; *list*, collected; *csv*, collected and split at
    commas; *maybe*, a text that must follow a ``=``, and that is ``true`` without.
    """

    kind: Kind
    names: tuple[str, ...]
    help: str
    metavar: str = ""
    panel: str = ""
    hidden: bool = False
    complete: Completer | None = None

    @property
    def key(self) -> str:
        return self.names[0][2:].replace("-", "_")

    def parameter(self) -> inspect.Parameter:
        """The parameter that Typer reads; its default ``None`` means that the option was not given."""
        annotation: Any = {"bool": bool, "list": list[str], "csv": list[str]}.get(self.kind, str)
        information = typer.Option(
            *self.names,
            help=self.help,
            metavar=self.metavar,  # empty for a flag, which Typer would show as <bool>
            rich_help_panel=self.panel or None,
            hidden=self.hidden,
            show_default=False,
            parser=_whole_number if self.kind == "number" else None,
            autocompletion=self.complete,
        )
        return inspect.Parameter(
            self.key + "_" if iskeyword(self.key) else self.key,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[annotation | None, information],
        )


@dataclass(frozen=True)
class Arguments:
    """The words after the options: how the usage line shows them, how many there may be, how a shell completes them."""

    usage: str
    least: int = 0
    most: int | None = None
    complete: Completer | None = None


NO_ARGUMENTS = Arguments("", 0, 0)


def flag(*names: str, help: str, hidden: bool = False) -> Option:
    """An option without a value."""
    return Option("bool", names, help, hidden=hidden)


def text(*names: str, help: str, metavar: str = "TEXT", complete: Completer | None = None) -> Option:
    """An option with one value."""
    return Option("text", names, help, metavar, complete=complete)


def number(*names: str, help: str, metavar: str = "N") -> Option:
    """An option with a whole number."""
    return Option("number", names, help, metavar)


def many(*names: str, help: str, metavar: str = "TEXT", complete: Completer | None = None) -> Option:
    """An option that may be given several times."""
    return Option("list", names, help, metavar, complete=complete)


def commas(*names: str, help: str, metavar: str = "TEXT") -> Option:
    """An option that may be given several times, and whose value is a comma-separated list."""
    return Option("csv", names, help, metavar)


def perhaps(*names: str, help: str, metavar: str = "TEXT") -> Option:
    """An option that may be given alone, or with a value behind ``=``."""
    return Option("maybe", names, help, f"{OPTIONAL}{metavar}]")


def chosen(options: tuple[Option, ...], *names: str) -> tuple[Option, ...]:
    """Those of ``options`` that a command has in common with another, by their long names."""
    known = {option.names[0]: option for option in options}
    return tuple(known[name] for name in names)


def panel(title: str, *options: Option) -> tuple[Option, ...]:
    """The options under a heading of their own in the help text."""
    return tuple(replace(option, panel=title) for option in options)


def _whole_number(value: str) -> str:
    digits = value[1:] if value[:1] in ("-", "+") else value
    if not (digits.isascii() and digits.isdigit()):
        raise typer.BadParameter(f"{value!r} is not a whole number")
    return value
