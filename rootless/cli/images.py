"""Commands on images: what `images` shows, and handlers that hand the rest to the engine."""

from __future__ import annotations

import time

from rootless.cli import render
from rootless.engine.context import open_engine
from rootless.engine.images.listing import list_images
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Values = dict[str, Any]

HEADINGS = {
    "Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "ID": "IMAGE ID", "CreatedSince": "CREATED",
    "Size": "SIZE", "CreatedAt": "CREATED AT",
}  # fmt: skip

SORTS = {
    "created": lambda row: (-row["seconds"], row["Repository"], row["Tag"]),
    "id": lambda row: row["ID"],
    "repository": lambda row: (row["Repository"], row["Tag"]),
    "size": lambda row: row["bytes"],
    "tag": lambda row: (row["Tag"], row["Repository"]),
}


def images(values: Values, args: list[str], global_values: Values) -> int:
    """``images``: a row for each name of each image."""
    order = values.get("sort") or "created"
    if order not in SORTS:
        raise UsageError(f"cannot sort by {order!r}", f"choose from: {', '.join(SORTS)}")
    if args:
        values = {**values, "filter": [*values.get("filter", []), f"reference={args[0]}"]}
    found = list_images(open_engine(global_values), values)
    full = bool(values.get("no_trunc"))
    now = time.time()
    rows = [row for image in found for row in fields(image, full, now)]
    rows.sort(key=SORTS[order])
    template = values.get("format")
    heading = not values.get("noheading")
    if template:
        render.print_format(rows, template, HEADINGS, heading, whole=lambda: found)
    elif values.get("quiet"):
        # An image of several names has several rows, but is one image.
        render.write("".join(f"{name}\n" for name in dict.fromkeys(row["ID"] for row in rows)))
    else:
        columns = [key for key in HEADINGS if key != "CreatedAt" and (key != "Digest" or values.get("digests"))]
        cells = [[row[key] for key in columns] for row in rows]
        render.write(render.table([HEADINGS[key] for key in columns], cells, heading))
    return 0


def fields(image: Mapping[str, Any], full: bool, now: float) -> list[Values]:
    """What a template may ask of an image, once for each of its names."""
    seconds = float(image.get("Created") or 0)
    moment = time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(seconds))
    rows = []
    for name in image.get("Names") or [""]:
        repository, tag = _split(name)
        rows.append(
            {
                **image,
                "ID": f"sha256:{image['Id']}" if full else image["Id"][:12],
                "Repository": repository,
                "Tag": tag,
                "Created": render.ago(seconds, now),
                "CreatedSince": render.ago(seconds, now),
                "CreatedAt": moment,
                "CreatedTime": moment,
                "Size": render.size(image["Size"]),
                "History": ", ".join(image.get("History") or []),
                "Labels": image.get("Labels") or {},
                "ReadOnly": False,
                "seconds": seconds,
                "bytes": image["Size"],
            }
        )
    return rows


def _split(name: str) -> tuple[str, str]:
    """Repository and tag of a full reference; a digest is no tag."""
    if not name:
        return "<none>", "<none>"
    repository, _, digest = name.partition("@")
    head, colon, tag = repository.rpartition(":")
    if colon and "/" not in tag:
        return head, tag
    return repository, "<none>"


def pull(values: Values, args: list[str], global_values: Values) -> int:
    """``pull``: prints the ID of each image."""
    from rootless.cli.progress import for_user
    from rootless.engine.images.pull import pull as pull_image

    engine = open_engine(global_values)
    for name in args:
        render.line(pull_image(engine, name, values, for_user(bool(values.get("quiet")))))
    return 0


def rmi(values: Values, args: list[str], global_values: Values) -> int:
    """``rmi``: prints what lost its name and what was deleted."""
    from rootless.cli.many import choose, remove_each
    from rootless.engine.images.removal import remove

    choose(args, bool(values.get("all")), "image")
    engine = open_engine(global_values)
    names = args
    if values.get("all"):
        names = [str(image["Id"]) for image in list_images(engine, {"all": True})]
        values = {**values, "force": True} if not values.get("force") else values
    ignore = bool(values.get("force") or values.get("ignore"))
    return remove_each(names, lambda name: remove(engine, [name], values), ignore)


def tag(values: Values, args: list[str], global_values: Values) -> int:
    """``tag``."""
    from rootless.engine.images import names

    names.tag(open_engine(global_values), args[0], args[1:])
    return 0


def untag(values: Values, args: list[str], global_values: Values) -> int:
    """``untag``."""
    from rootless.engine.images import names

    names.untag(open_engine(global_values), args[0], args[1:])
    return 0


def load(values: Values, args: list[str], global_values: Values) -> int:
    """``load``: prints the names of the images."""
    import sys

    from rootless.cli.progress import for_user
    from rootless.engine.images.transports.local import load as load_images

    source = values.get("input") or "-"
    if source == "-" and sys.stdin.isatty():
        raise UsageError("cannot read an archive from a terminal", "give it with --input or on standard input")
    for name in load_images(open_engine(global_values), source, for_user(bool(values.get("quiet")))):
        render.line(f"Loaded image: {name}")
    return 0


def save(values: Values, args: list[str], global_values: Values) -> int:
    """``save``: an archive or a directory; prints nothing."""
    import os

    from rootless.cli.progress import for_user
    from rootless.engine.images import save as saving

    saving.check(values, len(args))
    if not values.get("output") and os.isatty(1):
        raise UsageError("refusing to save to terminal. Use -o flag or redirect")
    quiet = bool(values.get("quiet")) or not values.get("output")
    saving.save(open_engine(global_values), args, values, 1, for_user(quiet))
    return 0


def import_image(values: Values, args: list[str], global_values: Values) -> int:
    """``import``: prints the ID."""
    from rootless.cli.progress import for_user
    from rootless.engine.images.transports.rootfs import import_image as import_rootfs

    name = args[1] if len(args) > 1 else ""
    shown = for_user(bool(values.get("quiet")))
    found = import_rootfs(open_engine(global_values), args[0], name, values, shown)
    render.line(f"sha256:{found}")
    return 0


def history(values: Values, args: list[str], global_values: Values) -> int:
    """``history``: a row for each step that made the image, the last first."""
    from rootless.cli.history import show
    from rootless.engine.images import inspect, names

    engine = open_engine(global_values)
    return show(inspect.history(engine, names.find(engine, args[0])), values)


def inspect(values: Values, args: list[str], global_values: Values) -> int:
    """``image inspect``."""
    from rootless.cli.many import inspect_each
    from rootless.engine.images import inspect as details
    from rootless.engine.images import names

    engine = open_engine(global_values)
    return inspect_each(args, lambda name: details.inspect(engine, names.find(engine, name)), values.get("format"))


def exists(values: Values, args: list[str], global_values: Values) -> int:
    """``image exists``."""
    from rootless.cli.many import exists
    from rootless.engine.images import names

    engine = open_engine(global_values)
    return exists(args[0], lambda name: names.exists(engine, name))


def prune(values: Values, args: list[str], global_values: Values) -> int:
    """``image prune``: prints the IDs."""
    from rootless.cli.many import confirmed
    from rootless.engine.images.removal import prune as prune_images

    what = "images without at least one container" if values.get("all") else "dangling images"
    what += ", and those of containers of other programs" if values.get("external") else ""
    caches = ", and what RUN --mount=type=cache has kept" if values.get("build_cache") else ""
    if not confirmed(f"WARNING! This command removes all {what}{caches}.", values.get("force")):
        return 0
    engine = open_engine(global_values)
    for name in prune_images(engine, values):
        render.line(name)
    if caches:
        from storage.caches import Caches

        Caches(engine.store.layout).prune(engine.delete_tree)
    return 0
