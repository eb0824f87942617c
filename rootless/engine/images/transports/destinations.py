"""Places to write an image to: ``TRANSPORT:PATH[:NAME]`` for ``oci:``, ``oci-archive:``, ``docker-archive:``, ``dir:``.

A file appears when it is whole. Into a directory the documents that name the blobs are written last.
"""

from __future__ import annotations

from rootless.engine.images.transports import TRANSPORTS, write_dir
from rootless.engine.images.transports.outgoing import Outgoing, OutgoingIndex, Report, no_report
from rootless.engine.images.transports.sinks import DirectorySink, TarSink
from rootless.engine.images.transports.write_docker import DockerArchiveWriter
from rootless.engine.images.transports.write_layout import LayoutWriter
from rootless.engine.outfile import new_file, with_umask
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
        with with_umask(umask), DirectorySink(path) as sink:
            return write_dir.write(sink, image, report)
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
    with with_umask(umask), DirectorySink(path) as sink:
        if sink.names() and sink.read("oci-layout", 4096) is None:
            raise RootlessError(
                f"cannot write {path}: it holds other files than those of an image layout",
                "choose an empty directory",
            )
        return _write_layout(LayoutWriter(sink, sink.read("index.json", oci.MAX_DOCUMENT), path), images, report)


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
