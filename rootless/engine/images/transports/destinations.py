"""Places to write an image to: ``TRANSPORT:PATH[:NAME]`` for ``oci:``, ``oci-archive:``, ``docker-archive:``, ``dir:``.

A file appears when it is whole. Into a directory the documents that name the blobs are written last.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rootless.engine.images.transports import TRANSPORTS, write_dir
from rootless.engine.images.transports.outgoing import Outgoing, OutgoingIndex, Report, no_report
from rootless.engine.images.transports.sinks import DirectorySink, TarSink, cannot_write
from rootless.engine.images.transports.write_docker import DockerArchiveWriter
from rootless.engine.images.transports.write_layout import LayoutWriter
from rootless.errors import RootlessError, UsageError
from storage import oci, reference


def write_image(
    destination: str, image: Outgoing | OutgoingIndex, umask: int, report: Report = no_report
) -> str:
    """Write ``image`` to ``TRANSPORT:PATH[:NAME]``; the digest of the manifest or index that is there now.

    Files get the modes that ``umask``, the user's, leaves them; an archive appears when it is whole. Without NAME the
    image is called as its ``names`` say, but for ``oci:``, where it has no name then. Raises UsageError, RootlessError,
    StorageError.
    """
    transport, path, name = split(destination)
    if transport == "oci":
        return write_layout_directory(path, [(image, (name,) if name else ())], umask, report)[0]
    if transport == "dir":
        with _umask(umask):
            sink = DirectorySink(path)
            try:
                return write_dir.write(sink, image, report)
            finally:
                sink.close()
    with new_file(path, umask) as fd:
        if transport == "oci-archive":
            return write_layout_archive(fd, path, [(image, (name,) if name else image.names)], report)[0]
        if isinstance(image, OutgoingIndex):
            raise UsageError(f"cannot write a list of images to {destination}", "use oci-archive:, oci: or dir:")
        named = image if not name else _named(image, str(reference.parse(name)))
        write_docker_archive(fd, path, [named], report)
        return image.digest


def _named(image: Outgoing, name: str) -> Outgoing:
    return Outgoing(image.manifest, image.media_type, image.config, (name,), image.open_blob)


def split(destination: str) -> tuple[str, str, str]:
    """Transport, path and name of ``TRANSPORT:PATH[:NAME]``. Raises UsageError."""
    transport, colon, rest = destination.partition(":")
    if f"{transport}{colon}" not in TRANSPORTS:
        raise UsageError(f"cannot write to {destination}", f"write to one of {' '.join(TRANSPORTS)}")
    path, _, name = (rest, "", "") if transport == "dir" else rest.partition(":")
    if not path:
        raise UsageError(f"cannot write to {destination}: no path", f"write {transport}:PATH")
    return transport, path, name


Named = tuple[Outgoing | OutgoingIndex, tuple[str, ...]]


def write_layout_directory(path: str, images: list[Named], umask: int, report: Report) -> list[str]:
    """Add images, each under its names, to the OCI layout in directory ``path``; their digests there."""
    with _umask(umask):
        sink = DirectorySink(path)
        try:
            if sink.names() and sink.read("oci-layout", 4096) is None:
                raise RootlessError(
                    f"cannot write {path}: it holds other files than those of an image layout",
                    "choose an empty directory",
                )
            return _write_layout(LayoutWriter(sink, sink.read("index.json", oci.MAX_DOCUMENT), path), images, report)
        finally:
            sink.close()


def write_layout_archive(fd: int, where: str, images: list[Named], report: Report) -> list[str]:
    """Write an archive of an OCI layout with the images to the descriptor ``fd``; their digests there."""
    sink = TarSink(fd, where)
    digests = _write_layout(LayoutWriter(sink), images, report)
    sink.finish()
    return digests


def _write_layout(writer: LayoutWriter, images: list[Named], report: Report) -> list[str]:
    digests = [writer.add(image, names, report) for image, names in images]
    writer.finish()
    return digests


def write_docker_archive(fd: int, where: str, images: list[Outgoing], report: Report) -> None:
    """Write an archive of Docker's format with the images, under their names, to the descriptor ``fd``."""
    writer = DockerArchiveWriter(TarSink(fd, where))
    for image in images:
        writer.add(image, report)
    writer.finish()


@contextmanager
def new_file(path: str, umask: int) -> Iterator[int]:
    """A descriptor of a file that takes the place of ``path`` on leaving, and is gone when that is by an error.

    What is no regular file, such as a pipe or a device, is written to as it is. Raises RootlessError.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        fd = _open(lambda: os.open(path, os.O_WRONLY | os.O_CLOEXEC), path)
        try:
            yield fd
        finally:
            os.close(fd)
        return
    target = os.path.realpath(path)
    with _umask(umask):
        directory = _open(lambda: os.open(os.path.dirname(target), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), path)
        try:
            yield from _unnamed(directory, os.path.basename(target), path)
        finally:
            os.close(directory)


def _unnamed(directory: int, base: str, path: str) -> Iterator[int]:
    """A descriptor of a file without a name, which a killed writer leaves nothing of; at the end it is ``base``.

    Where the file system has no such files it has a name of its own from the beginning.
    """
    temporary = f".{base[:200]}.{os.urandom(4).hex()}"
    named = False
    try:
        fd = os.open(".", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o644, dir_fd=directory)
    except OSError:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = _open(lambda: os.open(temporary, flags, 0o644, dir_fd=directory), path)
        named = True
    try:
        try:
            yield fd
            if not named:
                os.link(f"/proc/self/fd/{fd}", temporary, dst_dir_fd=directory)
                named = True
        finally:
            os.close(fd)
        os.rename(temporary, base, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException as error:
        if named:
            os.unlink(temporary, dir_fd=directory)
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            raise cannot_write(path, error) from None
        raise


def _open(opening: Callable[[], int], path: str) -> int:
    try:
        return opening()
    except OSError as error:
        raise cannot_write(path, error) from None


@contextmanager
def _umask(umask: int) -> Iterator[None]:
    before = os.umask(umask)
    try:
        yield
    finally:
        os.umask(before)
