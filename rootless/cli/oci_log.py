"""The file of ``rootless-oci --log``: what went wrong, a line each, in the form that runc's callers read."""

from __future__ import annotations

import os
import time

from rootless.cli.report import describe, print_line
from storage import jsonfast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def record(global_values: Mapping[str, Any], error: BaseException) -> None:
    """Append ``error`` to the file that ``--log`` names, if any."""
    if not isinstance(error, KeyboardInterrupt):
        append(global_values, "error", describe(error)[0])


def warn(global_values: Mapping[str, Any], message: str) -> None:
    """Tell the caller, and the log, of something that is amiss and hinders nothing."""
    print_line(f"warning: {message}")
    append(global_values, "warning", message)


def tell_notes(global_values: Mapping[str, Any], notes: list[str]) -> None:
    """What a start has left out goes to the log, and with ``--debug`` to the caller."""
    for note in notes:
        append(global_values, "warning", note)
        if global_values.get("debug"):
            print_line(f"note: {note}")


def append(global_values: Mapping[str, Any], level: str, message: str) -> None:
    """Append a line to the file that ``--log`` names, if any. A file that cannot be written is told on stderr."""
    path = global_values.get("log")
    if not path:
        return
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if global_values.get("log_format") == "json":
        text = jsonfast.dumps({"level": level, "msg": message, "time": now})
    else:
        text = f'time="{now}" level={level} msg={jsonfast.dumps(message)}'
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOCTTY | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, (text + "\n").encode())
        finally:
            os.close(fd)
    except OSError as failure:
        print_line(f"Error: cannot write the log {path}: {failure.strerror}")
