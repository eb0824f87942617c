"""``save``: images of the store as an archive or a directory that other programs read."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from rootless.engine.context import Engine
from rootless.engine.events import note
from rootless.engine.images import names as image_names
from rootless.engine.images.transports import destinations
from rootless.engine.images.transports.outgoing import Outgoing, Report, converted, of_store
from rootless.engine.images.transports.relayered import compressed, uncompressed
from rootless.engine.outfile import new_file
from rootless.engine.progress import Progress
from rootless.errors import UsageError
from storage.work import WorkDirectory

if TYPE_CHECKING:
    from storage.image_lists import ImageList
    from storage.images import Image

FORMATS = ("docker-archive", "oci-archive", "docker-dir", "oci-dir")


def check(values: Mapping[str, Any], arguments: int) -> None:
    """Refuse what the options of ``save`` cannot mean together. Raises UsageError."""
    form = _format(values)
    if form not in FORMATS:
        raise UsageError(f"unknown format {form!r}", f"use one of {', '.join(FORMATS)}")
    if values.get("compress") and form != "docker-dir":
        raise UsageError("--compress can only be set when --format is 'docker-dir'")
    if values.get("uncompressed") and not form.startswith("oci-"):
        raise UsageError("--uncompressed is for --format oci-archive and oci-dir", "the layers of docker-archive are")
    if arguments > 1 and form == "docker-dir":
        raise UsageError("a docker-dir holds one image, without a name", "save one image into each directory")
    output = values.get("output") or ""
    if not output and form.endswith("-dir"):
        raise UsageError(f"cannot write {form} to standard output", "name a directory with --output")
    if ":" in output:
        raise UsageError(f"invalid filename (should not contain ':') {output!r}")


def _format(values: Mapping[str, Any]) -> str:
    return values.get("format") or "docker-archive"


def save(engine: Engine, names: list[str], values: Mapping[str, Any], output: int, progress: Progress) -> None:
    """Write images to the path in ``values`` (``output``), or to the descriptor ``output``.

    ``values``: ``format``, ``output``, ``compress``, ``uncompressed``, ``multi_image_archive``: then each of ``names``
    is an image, else the first is, and the others are what it is to be called too. Raises UsageError, NotFoundError,
    RootlessError, StorageError.
    """
    check(values, len(names))
    form = _format(values)
    path = values.get("output") or ""
    try:
        with ExitStack() as stack:
            images = []
            for image in _chosen(engine, names, bool(values.get("multi_image_archive"))):
                if form.startswith("oci-"):
                    image = uncompressed(image) if values.get("uncompressed") else image
                elif form == "docker-dir":
                    scratch = stack.enter_context(WorkDirectory(engine.store.layout))
                    image = compressed(image, scratch.path, everything=bool(values.get("compress")))
                    image = converted(image, docker=True)
                images.append(image)
            if path and form.endswith("-archive"):
                with new_file(path, engine.store.caller_umask) as fd:
                    _write(form, fd, path, images, 0, progress)
            else:
                umask = engine.store.caller_umask
                _write(form, output, path or "standard output", images, umask, progress)
    finally:
        progress.close()
    for image in images:
        note(engine, "image", "save", _id(image), {"name": path or "standard output"})


def _write(form: str, fd: int, where: str, images: list[Outgoing], umask: int, progress: Progress) -> None:
    report = _reporting(images, progress)
    named: list[destinations.Named] = [(image, image.names) for image in images]
    if form == "docker-archive":
        destinations.write_docker_archive(fd, where, images, report)
    elif form == "oci-archive":
        destinations.write_layout_archive(fd, where, named, report)
    elif form == "oci-dir":
        destinations.write_layout_directory(where, named, umask, report)
    else:
        destinations.write_image(f"dir:{where}", images[0], umask, report)
    for image in images:
        progress.config(f"sha256:{_id(image)}")
    progress.recording()


def _reporting(images: list[Outgoing], progress: Progress) -> Report:
    for image in images:
        for layer in image.document["layers"]:
            progress.waiting(layer["digest"], layer["size"])
    return progress.downloaded


def _id(image: Outgoing) -> str:
    return image.document["config"]["digest"].partition(":")[2]


def _chosen(engine: Engine, names: list[str], several: bool) -> list[Outgoing]:
    """The images that are meant, each once, with what they are to be called."""
    found: dict[str, Outgoing] = {}
    for name in names if several else names[:1]:
        image = image_names.find(engine, name)
        called = _called(image_names.find_named(engine, name), name)
        if not several:
            called += [image_names.local_name(tag) for tag in names[1:]]
        earlier = found[image.digest].names if image.digest in found else ()
        found[image.digest] = of_store(engine.store, image, tuple(dict.fromkeys([*earlier, *called])))
    return list(found.values())


def _called(image: Image | ImageList, name: str) -> list[str]:
    """The full name that ``name`` means; none for an id, or for a digest, which is no name in an archive."""
    if image.id.startswith(name.removeprefix("sha256:")) or "@" in name:
        return []
    return [image_names.name_of(image, name)]
