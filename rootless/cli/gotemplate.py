"""Go's ``text/template`` as far as ``--format`` uses it.

Source: the package documentation of Go's ``text/template`` and ``fmt``. Values are what JSON gives (dicts, lists,
strings, numbers, booleans, ``None``) and callables, which are methods. A dict stands for a Go struct, whose unknown
field is an error, unless it is reached through one of ``MAP_FIELDS``: those are Go maps, and a missing key prints
``<no value>``. Field names match without regard to case and underscores, so that ``.ID`` finds ``Id`` and
``.NetworkInterface`` finds ``network_interface``.

:mod:`rootless.cli.goparse` makes the tree, :class:`Template` walks it. Standard library only, without ``re``:
`ps --format` is a hot command.
"""

from __future__ import annotations

from rootless.cli.gofmt import format_value, printf
from rootless.cli.gofuncs import FUNCTIONS, MISSING, TemplateError, truth
from rootless.cli.goparse import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rootless.cli.goparse import Node

__all__ = ["Template", "TemplateError"]

MAP_FIELDS = frozenset(
    {"annotations", "data", "exposedports", "labels", "logopts", "networks"}
    | {"options", "portbindings", "ports", "sysctls", "tmpfs", "volumes"}
)


class GoMap(dict):  # type: ignore[type-arg]
    """A dict that stands for a Go map: its keys are data, not fields."""


class Template:
    """A parsed template; raises :class:`TemplateError` for a syntax error."""

    def __init__(self, text: str) -> None:
        self._nodes = Parser(text).parse()

    def render(self, value: object) -> str:
        """The template's output for ``value``; raises :class:`TemplateError` for an unknown field or a wrong type."""
        out: list[str] = []
        _Evaluation(value, out).nodes(self._nodes, value)
        return "".join(out)


class _LoopExit(Exception):
    def __init__(self, kind: str) -> None:
        self.kind = kind


class _Evaluation:
    def __init__(self, root: object, out: list[str]) -> None:
        self._out = out
        self._scopes: list[dict[str, Any]] = [{"": root}]

    def nodes(self, nodes: list[Node], dot: object) -> None:
        self._scopes.append({})
        try:
            for node in nodes:
                self._node(node, dot)
        finally:
            self._scopes.pop()

    def _node(self, node: Node, dot: object) -> None:
        kind = node[0]
        if kind == "text":
            self._out.append(node[1])
        elif kind == "print":
            value = self._pipe(node[3], dot)
            if node[1]:
                self._assign(node[1][0], value, declare=node[2] == ":=")
            else:
                self._out.append(format_value(value))
        elif kind in ("break", "continue"):
            raise _LoopExit(kind)
        elif kind == "range":
            self._range(node, dot)
        else:
            _, names, pipe, body, otherwise = node
            self._scopes.append({})
            try:
                value = self._pipe(pipe, dot)
                if names:
                    self._assign(names[0], value, declare=True)
                if truth(value):
                    self.nodes(body, value if kind == "with" else dot)
                else:
                    self.nodes(otherwise, dot)
            finally:
                self._scopes.pop()

    def _range(self, node: Node, dot: object) -> None:
        _, names, pipe, body, otherwise = node
        value = self._pipe(pipe, dot)
        items: list[tuple[Any, Any]]
        if isinstance(value, dict):
            items = [(key, _child(value, key)) for key in sorted(value)]
        elif isinstance(value, list):
            items = list(enumerate(value))
        elif isinstance(value, int) and not isinstance(value, bool):
            items = [(index, index) for index in range(value)]
        elif value is None or value is MISSING:
            items = []
        else:
            raise TemplateError(f"range can't iterate over {format_value(value)}")
        if not items:
            self.nodes(otherwise, dot)
        for key, item in items:
            scope = {names[0]: item} if len(names) == 1 else dict(zip(names, (key, item), strict=False))
            self._scopes.append(scope)
            try:
                self.nodes(body, item)
            except _LoopExit as end:
                if end.kind == "break":
                    break
            finally:
                self._scopes.pop()

    def _assign(self, name: str, value: object, declare: bool) -> None:
        if declare:
            self._scopes[-1][name] = value
            return
        for scope in reversed(self._scopes):
            if name in scope:
                scope[name] = value
                return
        raise TemplateError(f"undefined variable ${name}")

    def _pipe(self, pipe: Node, dot: object) -> Any:
        value: Any = MISSING
        for index, operands in enumerate(pipe[1]):
            value = self._command(operands, dot, [value] if index else [])
        return value

    def _command(self, operands: list[Node], dot: object, piped: list[Any]) -> Any:
        first = operands[0]
        if first[0] == "func":
            name = first[1]
            if name in ("and", "or"):
                return self._short_circuit(name, operands[1:], dot, piped)
            arguments = [self._value(operand, dot) for operand in operands[1:]] + piped
            return _call(printf if name == "printf" else FUNCTIONS[name], arguments, name)
        value = self._raw(first, dot)
        arguments = [self._value(operand, dot) for operand in operands[1:]] + piped
        if callable(value):
            return _call(value, arguments)
        if arguments:
            raise TemplateError("can't give argument to non-function")
        return value

    def _short_circuit(self, name: str, operands: list[Node], dot: object, piped: list[Any]) -> Any:
        value: Any = None
        for operand in operands:
            value = self._value(operand, dot)
            if truth(value) == (name == "or"):
                return value
        return piped[0] if piped else value

    def _value(self, node: Node, dot: object) -> Any:
        if node[0] == "func":
            return self._command([node], dot, [])
        value = self._raw(node, dot)
        return _call(value, []) if callable(value) else value

    def _raw(self, node: Node, dot: object) -> Any:
        kind = node[0]
        if kind == "value":
            return node[1]
        if kind == "dot":
            return dot
        if kind == "var":
            for scope in reversed(self._scopes):
                if node[1] in scope:
                    return scope[node[1]]
            raise TemplateError(f"undefined variable ${node[1]}")
        if kind == "pipe":
            return self._pipe(node, dot)
        return _field(self._value(node[1], dot), node[2])


def _call(function: Any, arguments: list[Any], name: str = "a method") -> Any:
    try:
        return function(*arguments)
    except TemplateError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise TemplateError(f"wrong arguments for {name}: {error}") from None


def _child(parent: dict[str, Any], key: str) -> Any:
    value = parent[key]
    if isinstance(value, dict) and not isinstance(parent, GoMap) and _plain(key) in MAP_FIELDS:
        return GoMap(value)
    return value


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _field(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        if name in value:
            return _child(value, name)
        if isinstance(value, GoMap):
            return MISSING
        wanted = _plain(name)
        for key in value:
            if _plain(key) == wanted:
                return _child(value, key)
    elif value is MISSING or value is None:
        raise TemplateError(f"nil pointer evaluating field {name}")
    raise TemplateError(f"can't evaluate field {name}")
