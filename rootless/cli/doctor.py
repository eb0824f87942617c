"""``doctor``: one line for each thing that containers need, and how to mend what is missing."""

from __future__ import annotations

from rootless.cli import render
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Values = dict[str, Any]

_FAILED = 125


def doctor(values: Values, args: list[str], global_values: Values) -> int:
    """``doctor``: 0 when a container can run."""
    from rootless.engine.doctor import BROKEN, examine

    if values.get("json") and values.get("format"):
        raise UsageError("cannot use --json together with --format", "leave one of them out")
    template = "json" if values.get("json") else values.get("format")
    broken = False
    rows = []
    for check in examine(global_values):
        broken = broken or check.state == BROKEN
        if template:
            rows.append({
                "Name": check.name, "State": check.state, "Found": check.found, "Cost": check.cost,
                "Command": check.command, "Hint": check.hint,
            })  # fmt: skip
        else:
            mend = f"\n{'':8}hint: {check.hint}" if check.hint else ""
            render.line(f"{check.state:<8}{check.name}: {check.told}{mend}")
    if template:
        render.print_format(rows, template)
    return _FAILED if broken else 0
