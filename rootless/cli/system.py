"""`info`, `version`, and the commands that look after the store."""

from __future__ import annotations

import os

from rootless import __version__
from rootless.cli import render
from rootless.cli.main import program_name
from rootless.engine.context import open_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Values = dict[str, Any]

# The podman whose command line this program follows: tools that call a `podman` compare it with what they need.
PODMAN_VERSION = "5.8.0"


def program_version(values: Values, args: list[str], global_values: Values) -> int:
    """``--version``."""
    render.line(f"{program_name()} version {_version()}")
    return 0


def version(values: Values, args: list[str], global_values: Values) -> int:
    """``version``: the keys are podman's, for the tools that read them."""
    machine = os.uname()
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine.machine, machine.machine)
    client = {
        "APIVersion": PODMAN_VERSION,
        "Version": _version(),
        "RootlessVersion": __version__,
        "OsArch": f"linux/{architecture}",
        "Os": "linux",
    }
    template = values.get("format")
    if template:
        render.print_format([{"Client": client, **client}], template, whole=lambda: {"Client": client})
        return 0
    lines = {
        "Client": "Rootless Engine",
        "Version": __version__,
        "Podman": f"{PODMAN_VERSION} (the command line that this one follows)",
        "OS/Arch": client["OsArch"],
    }
    render.write("".join(f"{name + ':':<14}{text}\n" for name, text in lines.items()))
    return 0


def _version() -> str:
    return PODMAN_VERSION if program_name() == "podman" else __version__


def info(values: Values, args: list[str], global_values: Values) -> int:
    """``info``: YAML for people, JSON or a template for programs."""
    from rootless.engine import system

    report = system.info(open_engine(global_values))
    if values.get("format"):
        render.print_format([report], values["format"], whole=lambda: report)
    else:
        render.write(_yaml(report))
    return 0


def check(values: Values, args: list[str], global_values: Values) -> int:
    """``system check``: prints what is damaged; 125 if anything is left so. What killed commands left is no damage."""
    from rootless.cli.report import ENGINE_ERROR, print_error
    from rootless.engine import system

    findings = system.check(open_engine(global_values), values)
    for finding in findings:
        mended = " (repaired)" if finding["repaired"] else ""
        render.line(f"{finding['kind']} {finding['object']}: {finding['problem']}{mended}")
    left = [finding for finding in findings if not finding["repaired"] and finding["kind"] != "leftover"]
    if not left:
        return 0
    repairable = any(finding["repairable"] for finding in left)
    hint = "mend it with: rootless system check --repair (--force: without damaged containers)" if repairable else ""
    print_error(f"the store is damaged: {len(left)} problem{'s' if len(left) > 1 else ''}", hint)
    return ENGINE_ERROR


def prune(values: Values, args: list[str], global_values: Values) -> int:
    """``system prune``: prints what was removed and how much space it took."""
    from rootless.cli.df import compact
    from rootless.cli.many import confirmed
    from rootless.engine import system

    victims = ["all stopped containers", "all half-done work"]
    victims.append("all images without at least one container" if values.get("all") else "all dangling images")
    if values.get("all"):
        victims.append("all caches that no build uses")
    if values.get("volumes"):
        victims.append("all volumes not used by at least one container")
    question = "WARNING! This command removes:\n" + "".join(f"\t- {victim}\n" for victim in victims)
    if not confirmed(question, values.get("force")):
        return 0
    removed = system.prune(open_engine(global_values), values)
    for title, key in (("Containers", "containers"), ("Images", "images"), ("Volumes", "volumes")):
        if removed.get(key):
            render.line(f"Deleted {title}")
            render.write("".join(f"{name}\n" for name in removed[key]))
    render.line(f"Total reclaimed space: {compact(removed['reclaimed'])}")
    return 0


def dedup(values: Values, args: list[str], global_values: Values) -> int:
    """``system dedup``: tells how many files share what they hold now."""
    from rootless.cli.df import compact
    from rootless.engine import system

    shared = system.dedup(open_engine(global_values), values)
    how = "hard links" if shared.links else "reflinks"
    render.line(f"Deduplicated {shared.files} file{'' if shared.files == 1 else 's'} by {how}: {compact(shared.bytes)}")
    return 0


def df(values: Values, args: list[str], global_values: Values) -> int:
    """``system df``."""
    from rootless.cli.df import show
    from rootless.engine import system

    return show(system.df(open_engine(global_values), values), values)


def _yaml(value: object, indent: str = "") -> str:
    """Dicts, lists and scalars as YAML 1.2; every text that could be read as something else is quoted."""
    if isinstance(value, dict):
        return "".join(f"{indent}{key}:{_below(item, indent)}" for key, item in value.items())
    assert isinstance(value, list)
    return "".join(f"{indent}-{_item(item, indent)}" for item in value)


def _below(value: object, indent: str) -> str:
    if isinstance(value, (dict, list)) and value:
        return "\n" + _yaml(value, indent + "  ")
    return f" {_scalar(value)}\n"


def _item(value: object, indent: str) -> str:
    if isinstance(value, dict) and value:
        # The first key stands on the dash's line.
        return " " + _yaml(value, indent + "  ").removeprefix(indent + "  ")
    return _below(value, indent)


def _scalar(value: object) -> str:
    first = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ/")
    plain = first | set("0123456789._-+,() ")
    keywords = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")
    if isinstance(value, str) and value[:1] in first and plain.issuperset(value) and value[-1] != " ":
        return value if value.lower() not in keywords else f'"{value}"'
    from storage import jsonfast

    return jsonfast.dumps(value)
