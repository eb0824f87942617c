"""Which format a local source has, which image of it is meant, and what it will be called here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rootless.engine.context import Engine
from rootless.engine.events import note
from rootless.engine.images import platform as image_platform
from rootless.engine.images.install import install
from rootless.engine.images.platform import Wanted
from rootless.engine.images.transports import docker_archive, oci_layout, plain_dir, podman_storage
from rootless.engine.images.transports.files import DirectoryFiles, Files, TarFiles
from rootless.engine.images.trust import check as trust
from rootless.engine.images.worker import Send
from rootless.engine.progress import Progress
from rootless.errors import RootlessError, UsageError
from storage import reference
from storage.errors import StorageError
from storage.store import Store
from storage.work import WorkDirectory

_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789/._-")
_SEPARATORS = "._-"


def source(engine: Engine, name: str, platform: Wanted) -> Callable[[Send], None]:
    """The source for ``TRANSPORT:PATH[:IMAGE]``, as ``pull`` takes it. Raises UsageError."""
    transport, _, rest = name.partition(":")
    store = engine.store
    if transport == "containers-storage":
        return lambda send: podman_storage.take(engine, rest, platform, name, send)
    path, image = _split(transport, rest)
    if not path:
        raise UsageError(f"cannot use {name}: no path", f"write {transport}:PATH")

    def work(send: Send) -> None:
        with _files(store, path, name, directory=transport in ("dir", "oci")) as files:
            take(files, send)

    def take(files: Files, send: Send) -> None:
        trust.check_local(transport, path, image)
        if transport == "dir":
            plain_dir.take(store, files, [name_of_path(path)], platform, name, send)
        elif transport == "docker-archive":
            _take_saved(store, files, image, platform, name, send)
        else:
            entry = oci_layout.select(oci_layout.entries(files, name), image, name)
            named = local_names([entry.name]) if transport == "oci-archive" else [name_of_path(path)]
            oci_layout.take(store, files, entry, named, platform, name, send)

    return work


@contextmanager
def _files(store: Store, path: str, where: str, *, directory: bool) -> Iterator[Files]:
    """The files of a directory, or of an archive, which may be standard input (``-``)."""
    if directory:
        yield DirectoryFiles(path)
        return
    with WorkDirectory(store.layout) as scratch:
        try:
            stream = open(0 if path == "-" else path, "rb", buffering=0, closefd=path != "-")  # noqa: SIM115 - below
        except OSError as error:
            raise RootlessError(f"cannot read {where}: {error.strerror}") from None
        with stream:
            yield TarFiles(stream, where, scratch.path)


def _split(transport: str, rest: str) -> tuple[str, str]:
    """Path and image of ``PATH[:IMAGE]``; a path that exists as a whole has no image behind it."""
    if transport == "dir" or os.path.exists(rest):
        return rest, ""
    path, _, image = rest.partition(":")
    return path, image


def _take_saved(store: Store, files: Files, image: str, platform: Wanted, where: str, send: Send) -> None:
    """The image of that tag (or ``@N``) in a docker archive; without one the only one."""
    saved = docker_archive.entries(files, where)
    if image.startswith("@") and image[1:].isdigit():
        chosen = saved[int(image[1:]) : int(image[1:]) + 1]
    elif image:
        wanted = str(reference.parse(image))
        chosen = [each for each in saved if any(str(reference.parse(tag)) == wanted for tag in each.tags)]
    else:
        chosen = saved
    if len(chosen) != 1:
        tags = ", ".join(tag for each in saved for tag in each.tags)[:300]
        raise RootlessError(
            f"cannot find image {image} in {where}" if image else f"cannot choose an image in {where}",
            f"it has: {tags}" if tags else "choose one by its position: docker-archive:PATH:@0",
        )
    docker_archive.take(store, files, chosen[0], local_names(chosen[0].tags), platform, where, send)


def load(engine: Engine, path: str, progress: Progress | None = None) -> list[str]:
    """Load every image of an archive, a layout or a ``dir:`` directory; their names, or ``sha256:ID`` without one.

    ``path`` ``-`` is standard input. Raises RootlessError, StorageError.
    """
    if path == "-":
        return _load_all(engine, path, "standard input", progress)
    if not os.path.exists(path):
        raise RootlessError(f"cannot read {path}: no such file or directory", "correct --input")
    return _load_all(engine, path, path, progress)


def _load_all(engine: Engine, path: str, where: str, progress: Progress | None) -> list[str]:
    platform = image_platform.wanted({})
    found = install(engine, lambda send: _load(engine.store, path, where, platform, send), progress or Progress())
    for installed in found:
        note(engine, "image", "loadfromarchive", installed.image.id, {"name": where})
    return [name for installed in found for name in installed.names or [f"sha256:{installed.image.id}"]]


def _load(store: Store, path: str, where: str, platform: Wanted, send: Send) -> None:
    with _files(store, path, where, directory=os.path.isdir(path)) as files:
        _take_all(store, files, path, where, platform, send)


def _take_all(store: Store, files: Files, path: str, where: str, platform: Wanted, send: Send) -> None:
    """Tell the format by what is there. An archive of both formats is read as Docker's, which has the tags."""
    if os.path.isdir(path) and docker_archive.is_archive(files) and files.document("version") is not None:
        trust.check_local("dir", path, "")
        plain_dir.take(store, files, [name_of_path(path)], platform, where, send)
    elif docker_archive.is_archive(files):
        trust.check_local("docker-archive", path, "")
        for saved in docker_archive.entries(files, where):
            docker_archive.take(store, files, saved, local_names(saved.tags), platform, where, send)
    elif oci_layout.is_layout(files):
        for entry in oci_layout.entries(files, where):
            trust.check_local("oci" if os.path.isdir(path) else "oci-archive", path, entry.name)
            oci_layout.take(store, files, entry, local_names([entry.name]), platform, where, send)
    else:
        raise RootlessError(
            f"cannot load {where}: it is not an image archive",
            "use 'rootless import' for a tar archive of a root file system",
        )


def local_names(names: list[str] | tuple[str, ...]) -> list[str]:
    """What an archive calls an image, as full references without bad ones; short names belong to ``localhost/``."""
    found = []
    for name in names:
        try:
            full = reference.parse(f"localhost/{name}" if reference.is_short(name) else name)
        except StorageError:
            continue
        if full.tag is not None:
            found.append(full.tagged())
    return list(dict.fromkeys(found))


def name_of_path(path: str) -> str:
    """The name of an image that has none but the path it was read from: ``localhost/PATH:latest``."""
    plain = "".join(character if character in _NAME_CHARACTERS else "-" for character in path.lower())
    parts = [_component(part) for part in plain.split("/")]
    name = "/".join(part for part in parts if part)
    try:
        return reference.parse(f"localhost/{name or 'image'}").tagged()
    except StorageError:  # too long
        return reference.parse("localhost/image").tagged()


def _component(text: str) -> str:
    """Leave single separators and put a dash in place of each run of them: two different ones may not meet."""
    out = ""
    for character in text.strip(_SEPARATORS):
        if character not in _SEPARATORS:
            out += character
        elif out[-1] in _SEPARATORS:
            out = out[:-1] + "-"
        else:
            out += character
    return out
