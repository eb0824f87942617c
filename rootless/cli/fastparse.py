"""Read a well-formed command line by the generated table, as Go's pflag reads it; decline every other.

What is declined (help, an unknown option, a missing value, a wrong number of arguments) is read again by Typer, which
owns every message. Importing Typer takes longer than starting a container, so the commands that people wait for must
not need it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Grammar(Protocol):
        """A generated table of commands, such as `rootless.cli.grammar`."""

        NAME: str
        VERSION: str
        GROUPS: tuple[str, ...]
        ROOT: dict[str, str]
        PERSISTENT: dict[str, str]
        ALIASES: dict[str, str]
        COMMANDS: dict[str, tuple[str, bool, int, int, dict[str, str]]]

    Values = dict[str, Any]
    # handler ("module:function"), values, arguments, global values
    Understood = tuple[str, Values, list[str], Values]

SWITCH = {
    "1": True, "t": True, "T": True, "true": True, "TRUE": True, "True": True,
    "0": False, "f": False, "F": False, "false": False, "FALSE": False, "False": False,
}  # fmt: skip


class _Declined(Exception):
    """The line is not well-formed, or asks for what only Typer knows."""


def parse(words: list[str], grammar: Grammar) -> Understood | None:
    """Read the command line ``words`` (without the program's name) of the program with that table.

    None if it is declined.
    """
    try:
        return _parse(words, grammar)
    except _Declined:
        return None


def leading(words: list[str], grammar: Grammar) -> Values:
    """The options before the command's name, as far as they are well-formed."""
    found: Values = {}
    try:
        _options(words, 0, {}, {}, {**grammar.PERSISTENT, **grammar.ROOT}, found, [], False)
    except _Declined:
        pass
    return found


def _parse(words: list[str], grammar: Grammar) -> Understood:
    global_values: Values = {}
    start = _options(words, 0, {}, {}, {**grammar.PERSISTENT, **grammar.ROOT}, global_values, [], False)
    if global_values.get("version"):
        return grammar.VERSION, {}, [], global_values
    if start == len(words) or words[start - 1 : start] == ["--"]:
        raise _Declined
    name = words[start]
    start += 1
    while name in grammar.GROUPS:
        name += " " + (words[start] if start < len(words) else "")
        start += 1
    entry = grammar.COMMANDS.get(grammar.ALIASES.get(name, name))
    if entry is None:
        raise _Declined
    handler, interspersed, least, most, options = entry
    values: Values = {}
    args: list[str] = []
    end = _options(words, start, options, values, grammar.PERSISTENT, global_values, args, interspersed)
    args += words[end:]
    if len(args) < least or 0 <= most < len(args):
        raise _Declined
    return handler, values, args, global_values


def _options(
    words: list[str],
    index: int,
    options: dict[str, str],
    values: Values,
    global_options: dict[str, str],
    global_values: Values,
    args: list[str],
    interspersed: bool,
) -> int:
    """Read options from ``words[index]`` on; returns the index of the first word that is none of theirs."""

    def lookup(name: str) -> tuple[str, str, Values]:
        for table, target in ((options, values), (global_options, global_values)):
            kind = table.get(name)
            if kind is not None:
                if kind[0] == "-":
                    name, kind = kind, table[kind]
                return name[2:].replace("-", "_"), kind, target
        raise _Declined

    count = len(words)
    while index < count:
        word = words[index]
        if word[:1] != "-" or word == "-":
            if not interspersed:
                return index
            args.append(word)
            index += 1
            continue
        index += 1
        if word == "--":
            return index
        if word[1] == "-":
            name, equals, value = word.partition("=")
            key, kind, target = lookup(name)
            if kind == "bool" or kind == "maybe":
                _store(target, key, kind, value if equals else "true")
                continue
            if not equals:
                if index == count:
                    raise _Declined
                value = words[index]
                index += 1
            _store(target, key, kind, value)
            continue
        letters = word[1:]
        while letters:
            key, kind, target = lookup("-" + letters[0])
            letters = letters[1:]
            # pflag: "-e=A" has the value "A", but a lone "=" is itself the value.
            explicit = len(letters) > 1 and letters[0] == "="
            if kind == "bool" and not explicit:
                _store(target, key, kind, "true")
                continue
            value = letters[1:] if explicit else letters
            if not value and kind != "bool":
                if index == count:
                    raise _Declined
                value = words[index]
                index += 1
            _store(target, key, kind, value)
            break
    return index


def _store(target: Values, key: str, kind: str, value: str) -> None:
    if kind == "bool":
        if value not in SWITCH:
            raise _Declined
        target[key] = SWITCH[value]
    elif kind == "list":
        target.setdefault(key, []).append(value)
    elif kind == "csv":
        if '"' in value:  # quotes protect commas, as in encoding/csv
            raise _Declined
        target.setdefault(key, []).extend(value.split(",") if value else ())
    else:
        if kind == "number":
            digits = value[1:] if value[:1] in ("-", "+") else value
            if not (digits.isascii() and digits.isdigit()):
                raise _Declined
        target[key] = value
