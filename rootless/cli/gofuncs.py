"""The functions of a ``--format`` template: those of Go's ``text/template`` and podman's additions."""

from __future__ import annotations

from rootless.cli.gofmt import MISSING, WIDEST, format_value
from storage import jsonfast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["FUNCTIONS", "MISSING", "TemplateError", "truth"]


class TemplateError(ValueError):
    """A template that cannot be parsed, or does not fit the value it is given."""


def truth(value: Any) -> bool:
    """Go's truth: empty strings, collections, zeros and nil are false."""
    return value is not MISSING and bool(value)


def _comparable(left: Any, right: Any) -> None:
    numbers = (int, float)
    if isinstance(left, bool) != isinstance(right, bool) or isinstance(left, str) != isinstance(right, str):
        raise TemplateError("incompatible types for comparison")
    if isinstance(left, numbers) != isinstance(right, numbers):
        raise TemplateError("incompatible types for comparison")


def _eq(first: Any, *others: Any) -> bool:
    if not others:
        raise TemplateError("missing argument for comparison")
    for other in others:
        if first is not None and other is not None and MISSING not in (first, other):
            _comparable(first, other)
    return any(first == other for other in others)


def _less(left: Any, right: Any) -> bool:
    _comparable(left, right)
    if not isinstance(left, str | int | float):
        raise TemplateError("invalid type for comparison")
    return bool(left < right)


def _len(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogateescape"))
    if isinstance(value, dict | list):
        return len(value)
    raise TemplateError(f"len of type {format_value(value)}")


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, dict):
            value = value[key] if key in value else _zero(value)
        elif isinstance(value, list | str):
            if isinstance(key, bool) or not isinstance(key, int):
                raise TemplateError(f"cannot index slice/array with {format_value(key)}")
            if not 0 <= key < len(value):
                raise TemplateError(f"index out of range: {key}")
            value = value[key] if isinstance(value, list) else ord(value[key])
        elif value is None or value is MISSING:
            raise TemplateError("index of untyped nil")
        else:
            raise TemplateError(f"can't index item of type {format_value(value)}")
    return value


def _zero(mapping: dict[str, Any]) -> Any:
    """What Go's ``index`` gives for a key that is not there: the zero value of the map's type, as far as it is seen."""
    kind = type(next(iter(mapping.values()), ""))
    return kind() if kind in (str, int, bool, float, list, dict) else ""


def _slice(value: Any, *bounds: Any) -> Any:
    if not isinstance(value, str | list):
        raise TemplateError("slice of something that has no parts")
    start = bounds[0] if bounds else 0
    end = bounds[1] if len(bounds) > 1 else len(value)
    if not (isinstance(start, int) and isinstance(end, int) and 0 <= start <= end <= len(value)):
        raise TemplateError("slice bounds out of range")
    return value[start:end]


def _print(*values: Any) -> str:
    """``fmt.Sprint``: a space between two operands when neither is a string."""
    out = ""
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            out += " "
        out += format_value(value)
    return out


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TemplateError(f"wrong type for value; expected string, got {format_value(value)}")
    return value


def _strings(value: Any) -> list[str]:
    return [format_value(item) for item in value] if isinstance(value, list) else [_text(value)]


def _title(value: Any) -> str:
    return " ".join(word[:1].upper() + word[1:] for word in _text(value).split(" "))


def _pad(value: Any, before: int, after: int) -> str:
    if max(before, after) > WIDEST:
        raise TemplateError(f"cannot pad by more than {WIDEST}")
    return " " * before + _text(value) + " " * after if value else ""


def _json(value: Any) -> str:
    return jsonfast.dumps(None if value is MISSING else value)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "eq": _eq,
    "ne": lambda left, right: not _eq(left, right),
    "lt": _less,
    "le": lambda left, right: not _less(right, left),
    "gt": lambda left, right: _less(right, left),
    "ge": lambda left, right: not _less(left, right),
    "not": lambda value: not truth(value),
    "len": _len,
    "index": _index,
    "slice": _slice,
    "print": _print,
    "println": lambda *values: " ".join(format_value(value) for value in values) + "\n",
    "printf": lambda *values: "",
    "json": _json,
    "join": lambda values, separator: _text(separator).join(_strings(values)),
    "split": lambda value, separator: _text(value).split(_text(separator)),
    "lower": lambda value: _text(value).lower(),
    "upper": lambda value: _text(value).upper(),
    "title": _title,
    "pad": _pad,
    "truncate": lambda value, size: _text(value)[:size],
}
