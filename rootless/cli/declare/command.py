"""Commands as values, and the Typer classes that give them podman's spelling of options."""

from __future__ import annotations

import csv
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from rootless.cli.declare.options import FALSE, NO_ARGUMENTS, OPTIONAL, TRUE, Arguments, Option
from rootless.errors import UsageError


@dataclass(frozen=True)
class Invocation:
    """A command line that was understood: what the dispatcher needs to call the handler."""

    handler: str
    values: dict[str, Any]
    args: list[str]
    global_values: dict[str, Any]


@dataclass(frozen=True)
class Command:
    """One command, under all the paths it can be called by (``"ps"``, ``"container ls"``).

    ``handler`` is ``module:function`` below ``rootless.cli``. With ``interspersed`` false the first argument ends the
    options: what follows belongs to the container's command. A ``hidden`` one is the program's own and not listed.
    """

    paths: tuple[str, ...]
    handler: str
    help: str
    options: tuple[Option, ...] = ()
    arguments: Arguments = NO_ARGUMENTS
    interspersed: bool = True
    panel: str = ""
    examples: tuple[str, ...] = ()
    hidden_paths: tuple[str, ...] = ()
    hidden: bool = False

    def register(
        self, app: typer.Typer, name: str, persistent: Sequence[Option] = (), hidden: bool = False
    ) -> None:
        """Declare the command in ``app`` under ``name``; a hidden one is understood but not listed.

        ``persistent`` are the program's own options that may follow the command's name.
        """
        own = {name for option in self.options for name in option.names}
        app.command(
            name,
            cls=PflagCommand,
            help=self.help,
            epilog="\n\n".join(f"Example: {line}" for line in self.examples) or None,
            rich_help_panel=self.panel or None,
            hidden=hidden,
            context_settings={
                "allow_interspersed_args": self.interspersed,
                "help_option_names": ["--help"] if "-h" in own else ["--help", "-h"],
            },
        )(self._callback(persistent))

    def _callback(self, persistent: Sequence[Option]) -> Callable[..., Invocation]:
        """A function with the signature that Typer reads; called, it tells what was understood."""
        options = {option.key: option for option in self.options}

        def understood(**found: Any) -> Invocation:
            context: typer.Context = found.pop("context")
            args: list[str] = found.pop("args", None) or []
            _check_count(args, self.arguments, context.command_path)
            global_values = dict(context.obj or {})
            values: dict[str, Any] = {}
            for name, value in found.items():
                key = name.removesuffix("_")  # of a word that Python has for itself
                if value is None:
                    continue
                if key not in options:
                    _add(global_values, key.removeprefix(_GLOBAL), value)
                elif options[key].kind == "csv":
                    values[key] = [part for item in value for part in _split(item)]
                else:
                    values[key] = value
            return Invocation(self.handler, values, args, global_values)

        parameters = [inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)]
        if self.arguments.most != 0:
            argument = typer.Argument(
                metavar=self.arguments.usage, show_default=False, autocompletion=self.arguments.complete, hidden=True
            )
            parameters.append(
                inspect.Parameter(
                    "args",
                    inspect.Parameter.KEYWORD_ONLY,
                    default=None,
                    annotation=Annotated[list[str] | None, argument],
                )
            )
        parameters += [option.parameter() for option in self.options]
        parameters += [_persistent(option) for option in persistent if option.key not in options]
        understood.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        # Typer hands a function's attributes on: the grammar generator finds the declaration by them.
        understood.declaration = self  # type: ignore[attr-defined]
        return understood


def _add(values: dict[str, Any], key: str, value: Any) -> None:
    """Collect the values of an option that was given both before and after the command's name."""
    values[key] = [*values.get(key, []), *value] if isinstance(value, list) else value


# Options that the program itself takes are understood after the command's name too, as in podman; there they have a
# prefixed parameter name, because a command may have an option of its own with the same key.
_GLOBAL = "global_"


def _persistent(option: Option) -> inspect.Parameter:
    parameter = Option(option.kind, option.names, option.help, option.metavar, hidden=True).parameter()
    return parameter.replace(name=_GLOBAL + parameter.name)


def root_callback(options: Sequence[Option]) -> Callable[..., None]:
    """The function behind the options before the command's name; it leaves them in the context for the command."""

    def remember(**found: Any) -> None:
        context: typer.Context = found.pop("context")
        context.obj = {key: value for key, value in found.items() if value is not None}

    parameters = [inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)]
    parameters += [option.parameter() for option in options]
    remember.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return remember


def add_group(app: typer.Typer, name: str, text: str) -> typer.Typer:
    """A group of commands, such as ``image``."""
    group = typer.Typer(name=name, cls=Group, rich_markup_mode=app.rich_markup_mode)
    app.add_typer(group, name=name, help=text, context_settings={"help_option_names": ["--help", "-h"]})
    return group


class PflagCommand(TyperCommand):
    """A command that reads options as Go's pflag does where click differs.

    ``--rm=false`` and ``-t=true`` are values of a flag, ``-e=A=1`` has the value ``A=1``.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        kept, denied = _to_click(args, self.params, bool(ctx.allow_interspersed_args))
        return _with_denied(ctx, denied, lambda: super(PflagCommand, self).parse_args(ctx, kept))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        declaration: Command = self.callback.declaration  # type: ignore[union-attr]
        return ["[OPTIONS]", declaration.arguments.usage] if declaration.arguments.usage else ["[OPTIONS]"]


class Group(TyperGroup):
    """A group whose own options are read as Go's pflag does."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        kept, denied = _to_click(args, self.params, interspersed=False)
        return _with_denied(ctx, denied, lambda: super(Group, self).parse_args(ctx, kept))


def _with_denied(ctx: Any, denied: set[str], parse: Callable[[], list[str]]) -> list[str]:
    """The result of ``parse``, after which the flags that were given as false are so."""
    try:
        rest = parse()
    except TyperException as error:
        # The parser itself does not know which command it reads for; the message needs it.
        if getattr(error, "ctx", ctx) is None:
            error.ctx = ctx  # type: ignore[attr-defined]
        raise
    for name in denied:
        ctx.params[name] = False
    return rest


def _to_click(args: Sequence[str], parameters: Sequence[Any], interspersed: bool) -> tuple[list[str], set[str]]:
    """Respell ``args`` so that click understands them; also the names of the flags that were given as false."""
    by_name = {spelling: parameter for parameter in parameters for spelling in parameter.opts if spelling[0] == "-"}
    kept: list[str] = []
    denied: set[str] = set()
    rest = list(args)

    def switch(spelling: str, value: str) -> None:
        name = by_name[spelling].name
        if value in TRUE:
            denied.discard(name)
            kept.append(spelling)
        elif value in FALSE:
            denied.add(name)
        else:
            raise UsageError(
                f"invalid argument {value!r} for {spelling!r}: neither true nor false",
                f"leave the value away, or write {spelling}=true or {spelling}=false",
            )

    while rest:
        word = rest.pop(0)
        if word == "--" or not interspersed and (word == "-" or word[:1] != "-"):
            return [*kept, word, *rest], denied
        if word[:1] != "-" or word == "-":
            kept.append(word)
            continue
        if word[:2] == "--":
            spelling, equals, value = word.partition("=")
            parameter = by_name.get(spelling)
            if parameter is not None and parameter.is_flag:
                switch(spelling, value if equals else "true")
                continue
            if parameter is not None and not equals and (parameter.metavar or "").startswith(OPTIONAL):
                kept.append(f"{spelling}=true")
                continue
            kept.append(word)
            if parameter is not None and not equals:
                kept += rest[:1]
                del rest[:1]
            continue
        letters = word[1:]
        while letters:
            spelling, letters = "-" + letters[0], letters[1:]
            parameter = by_name.get(spelling)
            if parameter is None:
                kept.append(spelling + letters)
                break
            if parameter.is_flag:
                explicit = len(letters) > 1 and letters[0] == "="
                switch(spelling, letters[1:] if explicit else "true")
                if explicit:
                    break
                continue
            value = letters[1:] if len(letters) > 1 and letters[0] == "=" else letters
            # As two words, because click would take a leading "=" for its own.
            kept += [spelling, value] if letters else [spelling, *rest[:1]]
            if not letters:
                del rest[:1]
            break
    return kept, denied


def _split(value: str) -> list[str]:
    """The parts of a comma-separated value; quotes protect commas, as in encoding/csv."""
    if '"' not in value:
        return value.split(",") if value else []
    try:
        return next(csv.reader([value], strict=True), [])
    except csv.Error as error:
        raise UsageError(f"cannot read the list {value!r}: {error}", "close each quotation mark, or use none") from None


def _check_count(args: Sequence[str], expected: Arguments, command_path: str) -> None:
    hint = f"see '{command_path} --help'"
    if len(args) < expected.least:
        raise UsageError(f"requires at least {expected.least} arg(s), only received {len(args)}", hint)
    if expected.most is not None and len(args) > expected.most:
        raise UsageError(f"accepts at most {expected.most} arg(s), received {len(args)}", hint)
