"""Go's ``fmt``: how a value prints in a template, and ``printf``."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Missing:
    """A key that a Go map does not have: prints as Go prints it, and is false."""

    def __bool__(self) -> bool:
        return False


MISSING = _Missing()
WIDEST = 1_000_000
"""The largest width and precision, as in Go."""


def format_value(value: Any) -> str:
    """``%v``: maps as ``map[a:b k:v]`` in key order, lists as ``[a b]``."""
    if isinstance(value, str):
        return value
    if value is True or value is False:
        return "true" if value else "false"
    if value is None:
        return "<nil>"
    if value is MISSING:
        return "<no value>"
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{format_value(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(format_value(item) for item in value) + "]"
    return str(value)


def _float(value: float) -> str:
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    text = repr(value)
    mantissa, mark, exponent = text.partition("e")
    return f"{mantissa}e{exponent[0]}{exponent[1:].zfill(2)}" if mark and exponent[0] in "+-" else text


def quote(text: str) -> str:
    """``%q``: a Go string literal."""
    out = ['"']
    for char in text:
        short = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}.get(char)
        if short:
            out.append(short)
        elif char.isprintable():
            out.append(char)
        else:
            code = ord(char)
            out.append(f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return "".join(out) + '"'


def printf(pattern: Any = "", *values: Any) -> str:
    """``fmt.Sprintf`` with the verbs v s d q t f g x X o b c T and the usual flags, width and precision."""
    pattern = format_value(pattern)
    out: list[str] = []
    rest = list(values)
    position = 0
    while position < len(pattern):
        char = pattern[position]
        position += 1
        if char != "%":
            out.append(char)
            continue
        start = position
        while position < len(pattern) and pattern[position] in "+-# 0123456789.":
            position += 1
        spec, verb = pattern[start:position], pattern[position : position + 1]
        position += 1
        if verb == "%":
            out.append("%")
        elif not verb:
            out.append("%!(NOVERB)")
        elif not rest:
            out.append(f"%!{verb}(MISSING)")
        else:
            out.append(_verb(spec, verb, rest.pop(0)))
    if rest:
        out.append("%!(EXTRA " + ", ".join(f"{type(value).__name__}={format_value(value)}" for value in rest) + ")")
    return "".join(out)


def _verb(spec: str, verb: str, value: Any) -> str:
    flags = spec[: len(spec) - len(spec.lstrip("+-# 0"))]
    width, _, precision = spec[len(flags) :].partition(".")
    if int(width or 0) > WIDEST:
        return "%!(BADWIDTH)" + format_value(value)
    if not (precision.isdigit() or not precision) or int(precision or 0) > WIDEST:
        return "%!(BADPREC)" + format_value(value)
    number = isinstance(value, int) and not isinstance(value, bool)
    if verb in "vs":
        text = format_value(value)
        if verb == "s" and precision:
            text = text[: int(precision)]
    elif verb == "q":
        text = quote(value) if isinstance(value, str) else format_value(value)
    elif verb == "t" and isinstance(value, bool):
        text = format_value(value)
    elif verb in "dxXob" and number:
        text = format(value, verb)
    elif verb in "xX" and isinstance(value, str):
        text = value.encode("utf-8", "surrogateescape").hex()
        text = text.upper() if verb == "X" else text
    elif verb in "feEgG" and isinstance(value, int | float):
        text = format(float(value), f".{precision or 6}{verb}")
    elif verb == "c" and number:
        text = chr(value)
    elif verb == "T":
        text = {str: "string", int: "int", bool: "bool", float: "float64"}.get(type(value), "interface {}")
    else:
        return f"%!{verb}({format_value(value)})"
    if "+" in flags and number and value >= 0:
        text = "+" + text
    if not width or len(text) >= int(width):
        return text
    if "-" in flags:
        return text.ljust(int(width))
    return text.zfill(int(width)) if "0" in flags and number else text.rjust(int(width))
