"""``doctor``: one line for each thing that containers need, and how to mend what is missing."""

from __future__ import annotations

from rootless.cli import render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Values = dict[str, Any]

_FAILED = 125


def doctor(values: Values, args: list[str], global_values: Values) -> int:
    """``doctor``: 0 when a container can run."""
    from rootless.engine.doctor import BROKEN, examine

    broken = False
    checks = []
    for check in examine(global_values):
        broken = broken or check.state == BROKEN
        checks.append(check)
        if not values.get("format"):
            mend = f"\n{'':8}hint: {check.mend}" if check.mend else ""
            render.line(f"{check.state:<8}{check.name}: {check.found}{mend}")
    if values.get("format"):
        rows = [{"Name": c.name, "State": c.state, "Found": c.found, "Hint": c.mend} for c in checks]
        render.print_format(rows, values["format"])
    return _FAILED if broken else 0
