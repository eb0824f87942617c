"""``--log-opt``."""

from __future__ import annotations

import os

from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

TAG_FIELDS = ("ID", "Id", "Image", "ImageName", "Name")
"""What may stand in a tag as ``{{.FIELD}}``."""


def parse_log_options(entries: Iterable[str]) -> tuple[str, int, str]:
    """``path=FILE``, ``max-size=SIZE`` and ``tag=TEXT``; (empty, 0, empty) where they are not given."""
    path, size, tag = "", 0, ""
    for entry in entries:
        key, _, value = entry.partition("=")
        if key == "path" and value:
            path = os.path.abspath(value)
        elif key == "max-size" and value:
            from rootless.engine.options.values import parse_bytes

            size = 0 if value == "-1" else parse_bytes(value, "--log-opt max-size")
        elif key == "tag" and value:
            tag = value
            _check_tag(tag)
        else:
            hint = "the options are path=FILE, max-size=SIZE and tag=TEXT"
            raise UsageError(f"cannot use {entry[:80]!r} for --log-opt", hint)
    return path, size, tag


def _check_tag(tag: str) -> None:
    rest = tag
    for field in TAG_FIELDS:
        rest = rest.replace("{{." + field + "}}", "")
    if "{{" in rest or not tag.isprintable():
        hint = "a tag is text, in which " + ", ".join(f"{{{{.{field}}}}}" for field in TAG_FIELDS) + " are replaced"
        raise UsageError(f"cannot use {tag[:80]!r} for --log-opt tag", hint)
