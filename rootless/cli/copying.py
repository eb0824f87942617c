"""`diff`, `export`, `commit`, `cp`, `mount`, `unmount` and `container clone`: files in and out of containers."""

from __future__ import annotations

import os

from rootless.cli import render
from rootless.engine.context import open_engine
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rootless.engine.context import Engine

    Values = dict[str, Any]


def diff(values: Values, args: list[str], global_values: Values) -> int:
    """``diff``: a container or an image."""
    return _diff(values, args, global_values, "all")


def diff_container(values: Values, args: list[str], global_values: Values) -> int:
    """``container diff``."""
    return _diff(values, args, global_values, "container")


def diff_image(values: Values, args: list[str], global_values: Values) -> int:
    """``image diff``."""
    return _diff(values, args, global_values, "image")


def _diff(values: Values, args: list[str], global_values: Values, kind: str) -> int:
    """A line for each difference, or lists of paths as JSON."""
    from rootless.engine.containers.diff import diff as differences

    template = values.get("format") or ""
    if template not in ("", "json", "{{json .}}", "{{ json . }}"):
        raise UsageError("only supported value for '--format' is 'json'")
    engine = open_engine(global_values)
    found = differences(engine, _named(engine, values, args), kind)
    if not template:
        render.write("".join(f"{kind} {render.one_line(path)}\n" for kind, path in found))
        return 0
    document = {}
    for key, letter in (("changed", "C"), ("added", "A"), ("deleted", "D")):
        paths = [path for kind, path in found if kind == letter]
        if paths:
            document[key] = paths
    render.write(render.json_text(document, 5) + "\n")
    return 0


def _named(engine: Engine, values: Values, args: list[str]) -> list[str]:
    """The containers that were named, or the one created last."""
    if not values.get("latest"):
        if not args:
            raise UsageError("you must provide at least one name or id", "name a container, or use --latest")
        return args
    if args:
        raise UsageError("--latest and containers cannot be used together")
    from rootless.engine.containers.listing import list_containers

    return [str(found["Id"]) for found in list_containers(engine, {"latest": True})]


def export(values: Values, args: list[str], global_values: Values) -> int:
    """``export``: an archive, to a file or to standard output."""
    from rootless.engine.containers.export import export as export_container
    from rootless.engine.outfile import new_file

    engine = open_engine(global_values)
    name = args[0].removeprefix("/")
    path = values.get("output")
    if not path:
        if os.isatty(1):
            raise UsageError("refusing to export to terminal. Use -o flag or redirect")
        export_container(engine, name, 1)
        return 0
    if ":" in path:
        raise UsageError(f"invalid filename (should not contain ':') {path!r}")
    engine.store.containers.find(name)  # before the file is made
    with new_file(path, engine.store.caller_umask) as fd:
        export_container(engine, name, fd)
    return 0


def commit(values: Values, args: list[str], global_values: Values) -> int:
    """``commit``: prints the ID of the image."""
    from rootless.engine.containers.commit import commit as commit_container

    engine = open_engine(global_values)
    found = commit_container(engine, args[0].removeprefix("/"), args[1] if len(args) > 1 else "", values)
    if values.get("iidfile"):
        from rootless.engine.outfile import new_file

        with new_file(values["iidfile"], engine.store.caller_umask) as fd:
            os.write(fd, found.encode())
    render.line(found)
    return 0


def cp(values: Values, args: list[str], global_values: Values) -> int:
    """``cp``: prints nothing."""
    from rootless.engine.containers.cp import copy

    copy(open_engine(global_values), args[0], args[1], values)
    return 0


def mount(values: Values, args: list[str], global_values: Values) -> int:
    """``mount``: prints the path of each root, or a row for each container that is mounted."""
    from rootless.cli.many import FAILURES
    from rootless.cli.report import report
    from rootless.engine.containers import mount as mounting

    mounting.check_namespace("mount")
    engine = open_engine(global_values)
    if not (args or values.get("latest") or values.get("all")):
        return _mounted(mounting.mounted(engine), values)
    code = 0
    for name in mounting.everything(engine) if values.get("all") else _named(engine, values, args):
        try:
            render.line(mounting.mount(engine, name))
        except FAILURES as error:
            code = report(error)
    return code


def _mounted(found: list[tuple[str, str, str]], values: Values) -> int:
    template = values.get("format") or ""
    if template == "json":
        rows = [{"id": container_id, "Names": [name], "mountpoint": path} for container_id, name, path in found]
        render.write(render.json_text(rows, 1) + "\n")
    elif template:
        raise UsageError(f"unknown --format argument: {template!r}", "use --format json")
    else:
        full = bool(values.get("no_trunc"))
        rows_shown = [[container_id if full else container_id[:12], path] for container_id, _, path in found]
        render.write(render.table(["ID", "PATH"], rows_shown, False))
    return 0


def unmount(values: Values, args: list[str], global_values: Values) -> int:
    """``unmount``: prints each container as it was named."""
    from rootless.cli.many import FAILURES
    from rootless.cli.report import report
    from rootless.engine.containers import mount as mounting

    mounting.check_namespace("unmount")
    engine = open_engine(global_values)
    names = [name for _, name, _ in mounting.mounted(engine)] if values.get("all") else _named(engine, values, args)
    code = 0
    for name in names:
        try:
            mounting.unmount(engine, name, force=bool(values.get("force")))
            render.line(name)
        except FAILURES as error:
            code = report(error)
    return code


def clone(values: Values, args: list[str], global_values: Values) -> int:
    """``container clone``: prints the ID of the new container."""
    from rootless.engine.containers.clone import clone as clone_container

    new_name, image = (args[1:2] or [""])[0], (args[2:3] or [""])[0]
    engine = open_engine(global_values)
    render.line(clone_container(engine, args[0], values, new_name, image, _making))
    return 0


def _making(words: list[str]) -> tuple[Values, list[str]] | None:
    """Flags and arguments of a command line that made a container."""
    from rootless.cli import fastparse, grammar

    understood = fastparse.parse(words, grammar)
    if understood is None:
        from rootless.cli.typer_main import parse

        answer = parse(words, grammar.NAME, "")
        if isinstance(answer, int):
            return None
        understood = answer
    handler, values, arguments, _ = understood
    return (values, arguments) if handler in ("run:run", "run:create") else None
