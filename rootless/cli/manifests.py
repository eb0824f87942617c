"""Commands on image lists."""

from __future__ import annotations

from rootless.cli import render
from rootless.engine.context import open_engine
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rootless.engine.context import Engine
    from storage.image_lists import ImageList

    Values = dict[str, Any]

_OF_ENTRY = ("arch", "features", "os", "os_features", "os_version", "variant")


def create(values: Values, args: list[str], global_values: Values) -> int:
    """``manifest create``: prints the list's ID."""
    from rootless.engine.images import manifests

    engine = open_engine(global_values)
    annotations = manifests.annotations_of(values.get("annotation") or [])
    entries = [entry for name in args[1:] for entry in manifests.look_up(engine, name, values)]
    made = manifests.create(engine, args[0], entries, annotations, amend=bool(values.get("amend")))
    render.line(made.id)
    return 0


def add(values: Values, args: list[str], global_values: Values) -> int:
    """``manifest add``: prints the list's ID."""
    from rootless.engine.images import manifests

    engine = open_engine(global_values)
    found = manifests.find(engine, args[0])
    if values.get("artifact"):
        render.line(_add_files(engine, found, args[1:], values))
        return 0
    for key in values:
        if key.startswith("artifact"):
            raise UsageError(f"cannot use --{key.replace('_', '-')} without --artifact")
    entries = [
        manifests.described(entry, values) for name in args[1:] for entry in manifests.look_up(engine, name, values)
    ]
    render.line(manifests.add(engine, found, entries).id)
    return 0


def _add_files(engine: Engine, found: ImageList, paths: list[str], values: Values) -> str:
    """Add files as one artifact; the list's ID."""
    from rootless.engine.images import manifests
    from rootless.engine.images.artifacts import of_files
    from storage import gc

    if values.get("all"):
        raise UsageError("cannot use --all with --artifact", "files have no platforms")
    with gc.adding(engine.store.layout):
        entry = manifests.described(manifests.Entry(of_files(engine, paths, values)), values)
        return manifests.add(engine, found, [entry]).id


def annotate(values: Values, args: list[str], global_values: Values) -> int:
    """``manifest annotate``: prints the list's ID."""
    from rootless.engine.images import manifests

    engine = open_engine(global_values)
    found = manifests.find(engine, args[0])
    if values.get("index"):
        for key in _OF_ENTRY:
            if values.get(key) is not None:
                flag = "--" + key.replace("_", "-")
                raise UsageError(f"cannot use {flag} with --index", f"{flag} is of an image in the list: name one")
        if len(args) > 1:
            raise UsageError("cannot use --index with an image", "leave out either of them")
        changed = manifests.annotate_list(engine, found, values)
    elif len(args) < 2:
        raise UsageError("cannot annotate without an image", "name an image of the list, or use --index")
    elif values.get("subject"):
        raise UsageError("cannot use --subject without --index", "the subject is that of the whole list")
    else:
        changed = manifests.annotate(engine, found, args[1], values)
    render.line(changed.id)
    return 0


def inspect(values: Values, args: list[str], global_values: Values) -> int:
    """``manifest inspect``: the list of that name here, else what the registry has."""
    from rootless.cli.many import inspect_document
    from rootless.engine.images import manifests

    engine = open_engine(global_values)
    inspect_document(manifests.document(engine, args[0], values), values.get("format"))
    return 0


def push(values: Values, args: list[str], global_values: Values) -> int:
    """``manifest push``: prints nothing on standard output."""
    from rootless.cli.progress import for_user
    from rootless.engine.images.manifests_push import push_list

    progress = for_user(bool(values.get("quiet")), "pushing", "pushed")
    push_list(open_engine(global_values), args[0], args[1] if len(args) > 1 else "", values, progress)
    return 0


def exists(values: Values, args: list[str], global_values: Values) -> int:
    """``manifest exists``."""
    from rootless.cli.many import exists
    from rootless.engine.images import manifests

    engine = open_engine(global_values)
    return exists(args[0], lambda name: manifests.exists(engine, name))


def remove(values: Values, args: list[str], global_values: Values) -> int:
    """``manifest remove``: prints the list's ID."""
    from rootless.engine.images import manifests

    engine = open_engine(global_values)
    render.line(manifests.remove(engine, manifests.find(engine, args[0]), args[1:]).id)
    return 0


def rm(values: Values, args: list[str], global_values: Values) -> int:
    """``manifest rm``: prints what lost its name and what was deleted."""
    from rootless.cli.many import remove_each
    from rootless.engine.images import manifests

    engine = open_engine(global_values)
    ignore = bool(values.get("ignore"))
    return remove_each(args, lambda name: manifests.delete(engine, manifests.find(engine, name)), ignore)
