"""Commands about which images are accepted, and signatures."""

from __future__ import annotations

from rootless.cli import render
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Values = dict[str, Any]

HEADINGS = ["TRANSPORT", "NAME", "TYPE", "ID", "STORE"]


def sign(values: Values, args: list[str], global_values: Values) -> int:
    """``image sign``: prints the files that hold the signatures."""
    from rootless.engine.context import open_engine
    from rootless.engine.images.trust.sign import sign_at_registry

    engine = open_engine(global_values)
    for name in args:
        for path in sign_at_registry(engine, name, values):
            render.line(path)
    return 0


def show(values: Values, args: list[str], global_values: Values) -> int:
    """``image trust show``."""
    from rootless.engine.images.trust import settings

    path = values.get("policypath") or ""
    if values.get("raw"):
        if values.get("json") or args:
            raise UsageError("cannot use --raw with a registry or --json", "it shows the whole policy as it is")
        render.write(settings.raw(path))
        return 0
    rows = settings.show(path, values.get("registrypath") or "", args[0] if args else "")
    if values.get("json"):
        render.write(render.json_text(rows) + "\n")
        return 0
    cells = [
        [row["transport"], _name(row), row["type"], row.get("gpg_id", ""), row.get("sigstore", "")] for row in rows
    ]
    render.write(render.table(HEADINGS, cells))
    return 0


def _name(row: Values) -> str:
    return "default" if row.get("repo_name") == "default" else str(row.get("name", ""))


def set_trust(values: Values, args: list[str], global_values: Values) -> int:
    """``image trust set``."""
    from rootless.engine.images.trust import settings

    kind, keys = values.get("type") or "signedBy", values.get("pubkeysfile") or []
    settings.change(args[0], kind, keys, values.get("policypath") or "")
    return 0
