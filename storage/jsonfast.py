"""JSON on the interpreter's C accelerator, without the cost of ``import json``.

The ``json`` package compiles regular expressions when it is imported, which takes longer than parsing every
document of a ``run``. Its C half, ``_json``, needs none of that. Values are those of ``json``; stricter than it:
nesting is bounded, ``NaN`` and infinite numbers are refused, and bytes must be UTF-8 (RFC 8259 section 8.1).
"""

from __future__ import annotations

from storage.errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Pairs = list[tuple[str, Any]]
    Scanner = Callable[[str, int], tuple[Any, int]]
    Encoder = Callable[[Any, int], Any]

MAX_DEPTH = 100
MAX_ITEMS = 200_000
"""Brackets and commas in a document from a stranger: each may cost 40 times its bytes in memory."""

_SPACE = " \t\n\r"


class JSONError(StorageError, ValueError):
    """The text is not a JSON document that is accepted here."""


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0.0:
        raise ValueError("a number is out of range")
    return number


def _no_duplicates(pairs: Pairs) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has the same key twice")
    return found


class _Context:
    """What the scanner reads its settings from (the attributes of ``json.JSONDecoder``)."""

    __slots__ = ("memo", "object_hook", "object_pairs_hook", "parse_constant", "parse_float", "parse_int", "strict")

    def __init__(self, object_pairs_hook: Callable[[Pairs], Any] | None) -> None:
        self.strict = True
        self.object_hook = None
        self.object_pairs_hook = object_pairs_hook
        self.parse_float = _finite
        self.parse_int = int
        self.parse_constant = _no_constant
        self.memo: dict[str, str] = {}


def _default(value: object) -> Any:
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")


def _portable() -> tuple[Scanner, Scanner, Encoder, Encoder]:
    """Scanners and encoders of the same shape from the ``json`` package, for an interpreter without ``_json``."""
    import json

    def scanner(hook: Callable[[Pairs], Any] | None) -> Scanner:
        decoder = json.JSONDecoder(
            parse_float=_finite, parse_constant=_no_constant, object_pairs_hook=hook)
        return decoder.scan_once  # type: ignore[attr-defined, no-any-return]

    def encoder(sort_keys: bool) -> Encoder:
        made = json.JSONEncoder(allow_nan=False, separators=(",", ":"), sort_keys=sort_keys, check_circular=False)
        return lambda value, _level: made.encode(value)

    return scanner(None), scanner(_no_duplicates), encoder(False), encoder(True)


try:
    from _json import encode_basestring_ascii, make_encoder, make_scanner

    _scan: Scanner = make_scanner(_Context(None))  # type: ignore[arg-type]
    _scan_strict: Scanner = make_scanner(_Context(_no_duplicates))  # type: ignore[arg-type]
    _encode: Encoder = make_encoder(None, _default, encode_basestring_ascii, None, ":", ",", False, False, False)
    _encode_sorted: Encoder = make_encoder(None, _default, encode_basestring_ascii, None, ":", ",", True, False, False)
except (ImportError, TypeError):
    _scan, _scan_strict, _encode, _encode_sorted = _portable()


def _check_depth(value: Any) -> None:
    """Refuse a value nested deeper than ``MAX_DEPTH`` (level by level, never recursively)."""
    containers = (dict, list)
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level if isinstance(node, containers)
            for child in (node.values() if isinstance(node, dict) else node) if isinstance(child, containers)
        ]
        if not level:
            return
    raise ValueError(f"nested deeper than {MAX_DEPTH} levels")


def _loads(data: bytes | str, scan: Scanner) -> Any:
    try:
        text = data if isinstance(data, str) else str(data, "utf-8")
        start = len(text) - len(text.lstrip(_SPACE))
        try:
            value, end = scan(text, start)
        except SystemError:
            # The accelerator words its complaints with json.decoder, and only if somebody has loaded it.
            import json.decoder  # noqa: F401

            value, end = scan(text, start)
        if text[end:].strip(_SPACE):
            raise ValueError(f"extra data after the document at character {end}")
        if text.count("[") + text.count("{") > MAX_DEPTH:
            _check_depth(value)
    except StopIteration:
        raise JSONError("cannot read JSON: no value where one is expected") from None
    except RecursionError:
        raise JSONError(f"cannot read JSON: nested deeper than {MAX_DEPTH} levels") from None
    except UnicodeDecodeError as error:
        raise JSONError(f"cannot read JSON: not UTF-8 at byte {error.start}") from None
    except ValueError as error:
        raise JSONError(f"cannot read JSON: {error}") from None
    return value


def loads(data: bytes | str) -> Any:
    """Return the value of a JSON document. Raises ``JSONError`` (a ``StorageError`` and a ``ValueError``)."""
    return _loads(data, _scan)


def loads_strict(data: bytes | str) -> Any:
    """As ``loads``, for documents from strangers: a key given twice in an object is refused too (two parsers could read
    two different things), and so is what has more than ``MAX_ITEMS`` items."""
    text = data.encode(errors="replace") if isinstance(data, str) else data
    if text.count(b"[") + text.count(b"{") + text.count(b",") > MAX_ITEMS:
        raise JSONError(f"cannot read JSON: more than {MAX_ITEMS} items")
    return _loads(data, _scan_strict)


def dumps(value: Any, *, sort_keys: bool = False) -> str:
    """Return ``value`` as one line of compact ASCII JSON. Raises ``TypeError`` or ``ValueError`` as ``json.dumps``."""
    return "".join((_encode_sorted if sort_keys else _encode)(value, 0))


def dump_bytes(value: Any, *, sort_keys: bool = False) -> bytes:
    """Return ``dumps(value)`` as bytes with a final newline, as every JSON file of the store is written."""
    return (dumps(value, sort_keys=sort_keys) + "\n").encode("ascii")


CHECKSUM = "crc32"
_SEAL = b',"crc32":"________"}\n'


def seal(text: bytes) -> bytes:
    """The text of an object that is not empty, with a last member that is a checksum of the text without it.

    So a check of the store tells a turned bit from a change. No reader need know of it: a record with one wrong bit may
    still be good for something.
    """
    from binascii import crc32

    body = text.rstrip(b"\n")
    return body[:-1] + b',"crc32":"%08x"}\n' % crc32(body)


def is_intact(data: bytes) -> bool:
    """Whether ``data`` is as ``seal`` gave it. What was written without a checksum is taken to be."""
    from binascii import crc32

    tail = data[-len(_SEAL):]
    if len(tail) < len(_SEAL):
        return True
    wrong = sum(a != b for a, b in zip(tail, _SEAL, strict=True) if b != ord("_"))
    if wrong:
        return wrong > 2  # something else; or the checksum itself is what was damaged
    return tail[10:18] == b"%08x" % crc32(data[:-len(_SEAL)] + b"}")
