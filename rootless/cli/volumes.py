"""Commands on volumes."""

from __future__ import annotations

from rootless.cli import render
from rootless.engine import volumes
from rootless.engine.context import open_engine
from rootless.errors import RootlessError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Values = dict[str, Any]

HEADINGS = {"Driver": "DRIVER", "Name": "VOLUME NAME"}


def create(values: Values, args: list[str], global_values: Values) -> int:
    """``volume create``: prints the name."""
    render.line(volumes.create(open_engine(global_values), args[0] if args else "", values))
    return 0


def ls(values: Values, args: list[str], global_values: Values) -> int:
    """``volume ls``."""
    found = volumes.list_volumes(open_engine(global_values), values)
    if values.get("format"):
        render.print_format(found, values["format"], HEADINGS, not values.get("noheading"))
    elif values.get("quiet"):
        render.write("".join(f"{volume['Name']}\n" for volume in found))
    elif found:
        cells = [[volume[key] for key in HEADINGS] for volume in found]
        render.write(render.table(list(HEADINGS.values()), cells, not values.get("noheading")))
    return 0


def inspect(values: Values, args: list[str], global_values: Values) -> int:
    """``volume inspect``."""
    from rootless.cli.many import choose, inspect_each

    everything = bool(values.get("all"))
    choose(args, everything, "volume")
    engine = open_engine(global_values)
    names = [volume["Name"] for volume in volumes.list_volumes(engine, {})] if everything else args
    return inspect_each(names, lambda name: volumes.inspect(engine, name), values.get("format"))


def rm(values: Values, args: list[str], global_values: Values) -> int:
    """``volume rm``: prints each volume as it was named."""
    from rootless.cli.many import choose, remove_each

    everything = bool(values.get("all"))
    choose(args, everything, "volume")
    engine = open_engine(global_values)
    names = [volume["Name"] for volume in volumes.list_volumes(engine, {})] if everything else args
    single = {**values, "all": False}
    return remove_each(names, lambda name: volumes.remove(engine, [name], single))


def exists(values: Values, args: list[str], global_values: Values) -> int:
    """``volume exists``."""
    from rootless.cli.many import exists

    engine = open_engine(global_values)
    return exists(args[0], lambda name: volumes.exists(engine, name))


def prune(values: Values, args: list[str], global_values: Values) -> int:
    """``volume prune``: prints the names."""
    from rootless.cli.many import confirmed

    question = "WARNING! This will remove all volumes not used by at least one container."
    if not confirmed(question, values.get("force")):
        return 0
    for name in volumes.prune(open_engine(global_values), values):
        render.line(name)
    return 0


def export(values: Values, args: list[str], global_values: Values) -> int:
    """``volume export``: an archive, to a file or to standard output."""
    import os

    from rootless.engine.outfile import new_file
    from rootless.engine.volume_archive import export as export_volume

    engine = open_engine(global_values)
    path = values.get("output")
    if path:
        engine.store.volumes.find(args[0])  # before the file is made
        with new_file(path, engine.store.caller_umask) as fd:
            export_volume(engine, args[0], fd, path)
    elif os.isatty(1):
        raise UsageError("refusing to write an archive to a terminal", "use --output, or redirect standard output")
    else:
        export_volume(engine, args[0], 1, "standard output")
    return 0


def import_archive(values: Values, args: list[str], global_values: Values) -> int:
    """``volume import``: prints nothing."""
    import os

    from rootless.engine.volume_archive import import_archive as import_into

    engine = open_engine(global_values)
    name, path = args[0], args[1]
    if path == "-":
        if os.isatty(0):
            raise UsageError("cannot read an archive from a terminal", "name a file, or redirect standard input")
        import_into(engine, name, 0, "standard input")
        return 0
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise RootlessError(f"cannot read {path}: {error.strerror}") from None
    try:
        import_into(engine, name, fd, path)
    finally:
        os.close(fd)
    return 0
