"""Layers made by hand for tests of unpacking: archives from short tables, and stores."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rootless import idmaps, userns
from rootless.idmaps import IdMap
from rootless.security.confine import unpacker
from storage.archive.extract import Extractor
from storage.archive.limits import Limits
from storage.archive.stream import LayerStream
from storage.archive.tar_reader import TarReader
from storage.layers_unpack import LayerSource, unpack
from storage.layout import Layout
from storage.ownership import Ids, OwnersWriter


class Item(NamedTuple):
    """One member of an archive in a table of tests."""

    kind: bytes
    name: str
    text: str = ""  # a file's content, a link's target
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, bytes] = {}
    mtime: int = 1_000_000_000


def file(name: str, text: str = "", mode: int = 0o644, **more: Any) -> Item:
    """A regular file."""
    return Item(tarfile.REGTYPE, name, text, mode, **more)


def directory(name: str, mode: int = 0o755, **more: Any) -> Item:
    """A directory."""
    return Item(tarfile.DIRTYPE, name, "", mode, **more)


def symlink(name: str, target: str) -> Item:
    """A symbolic link."""
    return Item(tarfile.SYMTYPE, name, target, 0o777)


def hardlink(name: str, target: str, mode: int = 0o644) -> Item:
    """A further name of a file."""
    return Item(tarfile.LNKTYPE, name, target, mode)


def fifo(name: str) -> Item:
    """A named pipe."""
    return Item(tarfile.FIFOTYPE, name)


def device(name: str, kind: str, major: int, minor: int, mode: int = 0o666) -> Item:
    """A character (``c``) or block (``b``) device."""
    return Item(tarfile.CHRTYPE if kind == "c" else tarfile.BLKTYPE, name, "", mode, device=(major, minor))


def archive(items: Iterable[Item]) -> bytes:
    """A PAX archive of the items, each exactly as named."""
    result = io.BytesIO()
    for item in items:
        info = tarfile.TarInfo(item.name)
        info.type = item.kind
        info.mode, info.uid, info.gid, info.mtime = item.mode, item.uid, item.gid, item.mtime
        info.devmajor, info.devminor = item.device
        data = b""
        if item.kind == tarfile.REGTYPE:
            data = os.fsencode(item.text)
            info.size = len(data)
        else:
            info.linkname = item.text
        info.pax_headers = {
            f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape") for name, value in item.xattrs.items()
        }
        result.write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        result.write(data + bytes(-len(data) % tarfile.BLOCKSIZE))
    result.write(bytes(2 * tarfile.BLOCKSIZE))
    return result.getvalue()


def diff_id(data: bytes) -> str:
    """The DiffID of an uncompressed archive."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def extract(data: bytes, target: Path, limits: Limits | None = None, ids: Ids | None = None) -> Extractor:
    """Unpack ``data`` into the new directory ``target`` in this process, without a user namespace.

    The sidecar is ``target`` with the suffix ``.owners``.
    """
    limits = limits or Limits()
    target.mkdir()
    root = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    owners = os.open(f"{target}.owners", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    umask = os.umask(0)
    stream = LayerStream(io.BytesIO(data), limits)
    try:
        extractor = Extractor(root, OwnersWriter(owners), ids or Ids([(0, 1)], [(0, 1)]), limits)
        extractor.unpack(TarReader(stream, limits))
    finally:
        stream.close()
        os.umask(umask)
        os.close(owners)
        os.close(root)
    return extractor


def listing(root: Path) -> dict[str, str]:
    """What is below ``root``: path → ``dir``, ``-> TARGET``, ``= CONTENT``, ``fifo`` or ``hidden`` (a whiteout).

    A kernel overlay lists the name of a whiteout that hides nothing, but nothing is there: it is left out.
    """
    found = {}
    for parent, directories, files in os.walk(root):
        for name in [*directories, *files]:
            path = os.path.join(parent, name)
            if os.path.lexists(path):
                found[os.path.relpath(path, root)] = describe(path)
    return found


def describe(path: str) -> str:
    """One entry for :func:`listing`."""
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        return f"-> {os.readlink(path)}"
    if stat.S_ISDIR(mode):
        return "dir"
    if stat.S_ISFIFO(mode):
        return "fifo"
    if stat.S_ISCHR(mode):
        return "hidden"
    try:
        return f"= {Path(path).read_bytes().decode('utf-8', 'surrogateescape')}"
    except PermissionError:
        return "= (closed)"


def in_userns(function: Callable[[], bytes]) -> bytes:
    """Run as root of a user namespace with the caller's default map."""
    return userns.run_in_userns(function, idmaps.default_map())


def evaluate(function: Callable[[], Any], mount_ns: bool = False, idmap: IdMap | None = None) -> Any:
    """As :func:`in_userns` for a function that returns what JSON can hold."""
    return json.loads(
        userns.run_in_userns(lambda: json.dumps(function()).encode(), idmap or idmaps.default_map(), mount_ns=mount_ns)
    )


def unpack_all(layout: Layout, archives: list[bytes], tmp: Path, **more: Any) -> list[str]:
    """Unpack the archives as the layers of one image; returns their DiffIDs, base first."""
    diff_ids = [diff_id(data) for data in archives]
    sources = []
    for number, data in enumerate(archives):
        blob = tmp / f"blob{number}"
        blob.write_bytes(data)
        sources.append(LayerSource(diff_ids[number], str(blob)))
    unpack(layout, sources, diff_ids, in_userns=in_userns, confine=unpacker, **more)
    return diff_ids
