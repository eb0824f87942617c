"""What the commands print: tables, JSON, Go templates, sizes and ages. Nothing else writes to stdout.

Tables are podman's: upper-case headings, columns at least twelve wide and two blanks apart, so that scripts that cut
columns keep working. Standard library only: `ps` and `images` are hot commands. The one use of rich, the progress of a
pull on a terminal, is in :mod:`rootless.cli.progress`.
"""

from __future__ import annotations

import os
import sys

from rootless.errors import UsageError
from storage import jsonfast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

_MINIMUM, _GAP = 12, 2


def write(text: str) -> None:
    """Write to stdout; on a terminal control characters from images and users are shown escaped, never acted on."""
    if not text:
        return
    if os.isatty(1):
        text = printable(text)
    data = text.encode("utf-8", "surrogateescape")
    try:
        sys.stdout.flush()
        while data:
            data = data[os.write(1, data) :]
    except OSError as error:
        from rootless.cli.report import of_output

        raise of_output(error) from None


def clear() -> None:
    """Begin a table anew at the top of the terminal; where the output is no terminal it goes on below."""
    if os.isatty(1):
        os.write(1, b"\x1b[2J\x1b[H")


def line(text: str) -> None:
    """Write one line to stdout."""
    write(text + "\n")


def printable(text: str) -> str:
    """``text`` with every control character but newline and tab replaced by its escape."""
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(
        char
        if char in "\n\t" or not _control(char)
        else f"\\x{ord(char):02x}"
        if ord(char) < 256
        else f"\\u{ord(char):04x}"
        for char in text
    )


def _control(char: str) -> bool:
    code = ord(char)
    # Besides C0 and C1: the bidirectional overrides, with which a name can be made to read as another.
    return (
        code < 32
        or 127 <= code < 160
        or 0x202A <= code <= 0x202E
        or 0x2066 <= code <= 0x2069
        or 0xD800 <= code < 0xE000
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], heading: bool = True) -> str:
    """Lay out ``rows`` under ``columns``; the last column is not padded."""
    cells = [[one_line(cell) for cell in row] for row in rows]
    if heading:
        cells.insert(0, list(columns))
    if not cells:
        return ""
    count = max(len(row) for row in cells)
    widths = [max([_MINIMUM] + [len(row[index]) + _GAP for row in cells if index < len(row)]) for index in range(count)]
    lines = []
    for row in cells:
        padded = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        lines.append("".join(padded) + (row[-1] if row else ""))
    return "\n".join(lines) + "\n"


def one_line(cell: str) -> str:
    """A name or another text that must not break the line it stands in."""
    return cell.replace("\n", "\\n").replace("\t", "\\t")


def json_text(value: object, indent: int = 4) -> str:
    """JSON with ``indent`` blanks a level, as podman prints it (its `inspect` uses five)."""
    out: list[str] = []
    _json(value, "\n", " " * indent, out)
    return "".join(out)


def _json(value: Any, newline: str, step: str, out: list[str]) -> None:
    if isinstance(value, dict) and value:
        inner = newline + step
        mark = "{"
        for key, item in value.items():
            out += (mark, inner, jsonfast.dumps(key), ": ")
            _json(item, inner, step, out)
            mark = ","
        out += (newline, "}")
    elif isinstance(value, list) and value:
        inner = newline + step
        mark = "["
        for item in value:
            out += (mark, inner)
            _json(item, inner, step, out)
            mark = ","
        out += (newline, "]")
    else:
        out.append(jsonfast.dumps(value))


def print_format(
    objects: Sequence[Mapping[str, Any]],
    template: str,
    headings: Mapping[str, str] | None = None,
    heading: bool = True,
    whole: Callable[[], object] | None = None,
) -> None:
    """Print ``objects`` by a ``--format`` value.

    ``json`` prints the list that ``whole`` returns (``objects`` without it). Anything else is a Go template, a row
    each; with the prefix ``table `` blanks-separated fields become columns under the names in ``headings``
    (field → heading; a field without one is its name in capitals). Raises :class:`UsageError` for a template that
    does not parse or asks for an unknown field.
    """
    if template in ("json", "{{json .}}", "{{ json . }}") and (template == "json" or whole is None):
        write(json_text(whole() if whole else list(objects)) + "\n")
        return
    from rootless.cli.gotemplate import Template, TemplateError

    as_table = template.startswith("table ")
    text = _unescape(template[6:].strip() if as_table else template)
    if as_table:
        text = _columns(text)
    try:
        parsed = Template(text)
        rows = [parsed.render(item) for item in objects]
        if as_table:
            names = _Headings(headings or {})
            title = parsed.render(names).split("\t") if heading else []
            write(table(title, [row.split("\t") for row in rows], heading))
            return
    except TemplateError as error:
        raise UsageError(
            f"cannot use the template {template!r}: {error}", "see --help for the fields of --format"
        ) from None
    write("".join(row if row.endswith("\n") else row + "\n" for row in rows))


class _Headings(dict):  # type: ignore[type-arg]
    """What a ``table`` template is rendered with once, for its heading line."""

    def __init__(self, names: Mapping[str, str]) -> None:
        super().__init__(names)
        self._names = {key.lower(): value for key, value in names.items()}

    def __contains__(self, key: object) -> bool:
        return True

    def __getitem__(self, key: str) -> str:
        return self._names.get(key.lower(), key.upper())


def _unescape(template: str) -> str:
    """``\\t`` and ``\\n`` as typed in a shell's single quotes, outside of actions."""
    parts = template.split("{{")
    head, rest = parts[0], parts[1:]
    out = [_literal(head)]
    for part in rest:
        action, closed, literal = part.partition("}}")
        out += ["{{", action, closed, _literal(literal)]
    return "".join(out)


def _literal(text: str) -> str:
    return text.replace("\\t", "\t").replace("\\n", "\n")


def _columns(text: str) -> str:
    """In a ``table`` template the blanks between two actions separate columns."""
    parts = text.split("}}")
    return "}}".join(
        [parts[0]] + ["\t" + part.lstrip(" ") if part.startswith(" ") and "{{" in part else part for part in parts[1:]]
    )


def size(count: float) -> str:
    """Bytes in decimal units with three digits: ``5.61 MB``."""
    units = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
    index = 0
    while count >= 1000 and index < len(units) - 1:
        count /= 1000
        index += 1
    return f"{_three_digits(count)} {units[index]}"


def _three_digits(value: float) -> str:
    text = f"{value:.3g}"
    return str(round(value)) if "e" in text else text


def age(seconds: float) -> str:
    """A duration in words, as Docker and podman round it: ``3 seconds``, ``About an hour``."""
    count = int(seconds)
    if count < 1:
        return "Less than a second"
    if count < 60:
        return "1 second" if count == 1 else f"{count} seconds"
    minutes, hours = count // 60, int(seconds / 3600 + 0.5)
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    if hours == 1:
        return "About an hour"
    for limit, unit, name in ((48, 1, "hours"), (336, 24, "days"), (1440, 168, "weeks"), (17520, 720, "months")):
        if hours < limit:
            return f"{hours // unit} {name}"
    return f"{hours // 8760} years"


def ago(timestamp: float, now: float) -> str:
    """The age of ``timestamp`` (seconds since the epoch) with `` ago``; never negative, even if the clock ran back."""
    return age(max(0.0, now - timestamp)) + " ago"
