"""The parser of Go's ``text/template``: text to a tree of tuples, which :mod:`rootless.cli.gotemplate` walks."""

from __future__ import annotations

from rootless.cli.gofuncs import FUNCTIONS, TemplateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Node = tuple[Any, ...]

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


def _split_actions(text: str) -> Iterator[tuple[str, str]]:
    """Yield ``("text", …)`` and ``("action", …)`` in order, with the trim markers carried out."""
    position, trim_next = 0, False
    while True:
        start = text.find("{{", position)
        literal = text[position:] if start < 0 else text[position:start]
        if trim_next:
            literal = literal.lstrip()
        if start < 0:
            if literal:
                yield "text", literal
            return
        end = _action_end(text, start + 2)
        action = text[start + 2 : end]
        if action[:1] == "-" and action[1:2].isspace():
            literal, action = literal.rstrip(), action[2:]
        trim_next = action[-1:] == "-" and action[-2:-1].isspace()
        if trim_next:
            action = action[:-2]
        if literal:
            yield "text", literal
        yield "action", action.strip()
        position = end + 2


def _action_end(text: str, position: int) -> int:
    quote = ""
    while position < len(text):
        char = text[position]
        if quote:
            if char == "\\" and quote != "`":
                position += 1
            elif char == quote:
                quote = ""
        elif char in "\"`'":
            quote = char
        elif text.startswith("}}", position):
            return position
        position += 1
    raise TemplateError("unclosed action: no }} after {{")


def _tokens(action: str) -> list[tuple[str, Any]]:
    """Split an action into ``(kind, value)``; kinds: str num word field var op, ``sp`` where white space separates."""
    out: list[tuple[str, Any]] = []
    position, size = 0, len(action)
    while position < size:
        char = action[position]
        if char.isspace():
            if out and out[-1][0] != "sp":
                out.append(("sp", " "))
            position += 1
        elif char in "\"'":
            value, position = _quoted(action, position)
            out.append(("str", value) if char == '"' else ("num", ord(value) if len(value) == 1 else 0))
        elif char == "`":
            end = action.find("`", position + 1)
            if end < 0:
                raise TemplateError("unterminated raw quoted string")
            out.append(("str", action[position + 1 : end]))
            position = end + 1
        elif action.startswith(":=", position):
            out.append(("op", ":="))
            position += 2
        elif char in "|(),=":
            out.append(("op", char))
            position += 1
        else:
            end = _word_end(action, position)
            out.append(_word(action[position:end]))
            position = end
    return out[:-1] if out and out[-1][0] == "sp" else out


def _word_end(action: str, position: int) -> int:
    """The end of the number, field, variable or name that starts at ``position``; at least one character."""
    end = position + 1
    number = action[position].isdigit() or (action[position] in "+-" and action[end : end + 1].isdigit())
    while end < len(action) and (action[end].isalnum() or action[end] == "_" or (number and action[end] == ".")):
        end += 1
    return end


def _quoted(action: str, position: int) -> tuple[str, int]:
    quote = action[position]
    out: list[str] = []
    position += 1
    while position < len(action):
        char = action[position]
        if char == quote:
            return "".join(out), position + 1
        if char == "\\":
            position += 1
            escape = action[position : position + 1]
            width = {"x": 2, "u": 4, "U": 8}.get(escape)
            if width:
                try:
                    out.append(chr(int(action[position + 1 : position + 1 + width], 16)))
                except (ValueError, OverflowError):
                    raise TemplateError("invalid escape in a quoted string") from None
                position += width
            elif escape in _ESCAPES:
                out.append(_ESCAPES[escape])
            else:
                raise TemplateError(f"invalid escape \\{escape} in a quoted string")
        else:
            out.append(char)
        position += 1
    raise TemplateError("unterminated quoted string")


def _word(word: str) -> tuple[str, Any]:
    if word[0] == ".":
        return "field", word[1:]
    if word[0] == "$":
        return "var", word[1:]
    if word[0].isdigit() or (word[0] in "+-" and word[1:2].isdigit()):
        try:
            return "num", int(word, 0)
        except ValueError:
            try:
                return "num", float(word)
            except ValueError:
                raise TemplateError(f"bad number: {word}") from None
    if not word.replace("_", "a").isalnum():
        raise TemplateError(f"unexpected {word!r} in operand")
    return "word", word


class Parser:
    """Recursive descent over the actions; every block is ``(kind, …)``."""

    def __init__(self, text: str) -> None:
        self._parts = _split_actions(text)
        self._depth = 0

    def parse(self) -> list[Node]:
        nodes, end = self._block(())
        assert end == ""
        return nodes

    def _block(self, stops: tuple[str, ...]) -> tuple[list[Node], str]:
        self._depth += 1
        if self._depth > 50:
            raise TemplateError("blocks are nested too deeply")
        nodes: list[Node] = []
        for kind, text in self._parts:
            if kind == "text":
                nodes.append(("text", text))
                continue
            if text.startswith("/*"):
                if not text.endswith("*/"):
                    raise TemplateError("comment ends before closing delimiter")
                continue
            keyword, _, rest = text.partition(" ")
            if keyword in ("end", "else"):
                if keyword not in stops:
                    raise TemplateError(f"unexpected {{{{{keyword}}}}}")
                self._depth -= 1
                return nodes, text
            if keyword in ("if", "with", "range"):
                nodes.append(self._control(keyword, rest))
            elif keyword in ("break", "continue"):
                nodes.append((keyword,))
            elif keyword in ("define", "template", "block"):
                raise TemplateError(f"{{{{{keyword}}}}} cannot be used in --format")
            else:
                nodes.append(("print", *_pipeline(text)))
        if stops:
            raise TemplateError("unexpected EOF: a block has no {{end}}")
        return nodes, ""

    def _control(self, keyword: str, rest: str) -> Node:
        names, pipeline = _pipeline(rest, commas=keyword == "range")[::2]
        body, end = self._block(("end", "else"))
        otherwise: list[Node] = []
        if end != "end":
            tail = end[4:].strip()
            if not tail:
                otherwise, end = self._block(("end",))
            else:
                inner, _, inner_rest = tail.partition(" ")
                if inner != keyword or keyword == "range":
                    raise TemplateError(f"unexpected {tail!r} after else")
                otherwise = [self._control(inner, inner_rest)]
        return keyword, names, pipeline, body, otherwise


def _pipeline(text: str, commas: bool = False) -> tuple[list[str], str, Node]:
    """Parse ``[$a[, $b] :=] command | command``; the result is ``(names, operator, pipe)``."""
    tokens = _tokens(text)
    names: list[str] = []
    operator = ""
    for index, (kind, value) in enumerate(tokens):
        if kind == "op" and value in (":=", "="):
            operator = value
            names = [str(v) for k, v in tokens[:index] if k == "var"]
            others = [v for k, v in tokens[:index] if k not in ("var", "sp") and not (commas and v == ",")]
            if others or not 1 <= len(names) <= (2 if commas else 1):
                raise TemplateError(f"bad declaration in {text!r}")
            tokens = tokens[index + 1 :]
            break
    pipe, position = _pipe(tokens, 0)
    if position != len(tokens):
        raise TemplateError(f"unexpected {tokens[position][1]!r} in {text!r}")
    return names, operator, pipe


def _pipe(tokens: list[tuple[str, Any]], position: int) -> tuple[Node, int]:
    commands: list[list[Node]] = []
    operands: list[Node] = []
    while position < len(tokens):
        kind, value = tokens[position]
        if kind == "sp":
            position += 1
        elif kind == "op" and value == "|":
            if not operands:
                raise TemplateError("missing value for command")
            commands.append(operands)
            operands = []
            position += 1
        elif kind == "op" and value == ")":
            break
        else:
            operand, position = _operand(tokens, position)
            operands.append(operand)
    if not operands:
        raise TemplateError("missing value for command")
    commands.append(operands)
    return ("pipe", commands), position


def _operand(tokens: list[tuple[str, Any]], position: int) -> tuple[Node, int]:
    kind, value = tokens[position]
    position += 1
    node: Node
    if kind == "op" and value == "(":
        node, position = _pipe(tokens, position)
        if position >= len(tokens):
            raise TemplateError("unclosed left paren")
        position += 1
    elif kind in ("str", "num"):
        return ("value", value), position
    elif kind == "field":
        node = ("dot",) if not value else ("field", ("dot",), value)
    elif kind == "var":
        node = ("var", value)
    elif kind == "word" and value in ("true", "false", "nil"):
        return ("value", {"true": True, "false": False, "nil": None}[value]), position
    elif kind == "word":
        if value not in FUNCTIONS and value not in ("and", "or"):
            raise TemplateError(f"function {value!r} not defined")
        return ("func", value), position
    else:
        raise TemplateError(f"unexpected {value!r} in operand")
    while position < len(tokens) and tokens[position][0] == "field" and tokens[position][1]:
        node = ("field", node, tokens[position][1])
        position += 1
    return node, position
