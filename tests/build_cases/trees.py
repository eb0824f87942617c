"""The root file system and the configuration of an image in a layout: layers applied as image-spec says."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

import zstandard

_WHITEOUT = ".wh."
_XATTR = "SCHILY.xattr."
_OPAQUE = ".wh..wh..opq"


class Entry(NamedTuple):
    """What stands at a path. ``content`` is a file's digest, a link's target or a device's number."""

    kind: str
    mode: int
    uid: int
    gid: int
    content: str
    size: int
    xattrs: tuple[tuple[str, str], ...]
    mtime: int
    links: frozenset[str] = frozenset()


Tree = dict[str, Entry]


class Image(NamedTuple):
    """An image: its tree, that of its base layers, and its configuration and manifest."""

    tree: Tree
    config: dict[str, Any]
    manifest: dict[str, Any]


def read(layout: Path, reference: str) -> Image:
    """The image of a name in a layout's index (an exact ``ref.name``, or one that ends with it)."""
    index = json.loads((layout / "index.json").read_bytes())
    found = [entry for entry in index["manifests"]
             if entry.get("annotations", {}).get("org.opencontainers.image.ref.name", "") == reference]  # fmt: skip
    assert found, f"{reference} is not among {index['manifests']}"
    return of_manifest(layout / "blobs" / "sha256", found[-1]["digest"])


def of_manifest(blobs: Path, digest: str) -> Image:
    """The image of a manifest; blobs are named by their digests, without ``sha256:``."""
    manifest = json.loads(_blob(blobs, digest).read_bytes())
    return of_parts(blobs, manifest)


def of_parts(blobs: Path, manifest: dict[str, Any]) -> Image:
    """The image of a manifest that has been read."""
    config = json.loads(_blob(blobs, manifest["config"]["digest"]).read_bytes())
    tree: Tree = {}
    for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        entries, whiteouts, opaque = _layer(str(_blob(blobs, layer["digest"])), diff_id)
        _apply(tree, entries, whiteouts, opaque)
    return Image(_joined(tree), config, manifest)


def _blob(blobs: Path, digest: str) -> Path:
    return blobs / digest.removeprefix("sha256:")


def _apply(tree: Tree, entries: Tree, whiteouts: tuple[str, ...], opaque: tuple[str, ...]) -> None:
    for path in whiteouts:
        for other in [name for name in tree if name == path or name.startswith(f"{path}/")]:
            del tree[other]
    for path in opaque:
        for other in [name for name in tree if name.startswith(f"{path}/") or path == "."]:
            del tree[other]
    for path, entry in entries.items():
        if entry.kind != "dir" and tree.get(path, entry).kind == "dir":
            for other in [name for name in tree if name.startswith(f"{path}/")]:
                del tree[other]
        tree[path] = entry


def _joined(tree: Tree) -> Tree:
    """Hard links as what they link to, with the set of their names."""
    groups: dict[str, set[str]] = {}
    resolved: Tree = {}
    for path, entry in tree.items():
        target = path
        while tree[target].kind == "hardlink" and tree[target].content in tree and tree[target].content != target:
            target = tree[target].content
        resolved[path] = tree[target]
        groups.setdefault(target, set()).add(path)
        if entry.kind != "hardlink":
            resolved[path] = entry
    for names in groups.values():
        if len(names) > 1:
            for name in names:
                resolved[name] = resolved[name]._replace(links=frozenset(names))
    return resolved


@functools.cache
def _layer(path: str, diff_id: str) -> tuple[Tree, tuple[str, ...], tuple[str, ...]]:
    data = Path(path).read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    elif data[:4] == b"\x28\xb5\x2f\xfd":
        data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read()
    assert f"sha256:{hashlib.sha256(data).hexdigest()}" == diff_id, f"{path} is not {diff_id}"
    entries: Tree = {}
    whiteouts: list[str] = []
    opaque: list[str] = []
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:", errors="surrogateescape") as archive:
        for member in archive:
            name = member.name.strip("/").removeprefix("./") or "."
            above, _, last = name.rpartition("/")
            if last == _OPAQUE:
                opaque.append(above or ".")
            elif last.startswith(_WHITEOUT):
                whiteouts.append(f"{above}/{last[4:]}" if above else last[4:])
            else:
                entries[name] = _entry(archive, member)
    return entries, tuple(whiteouts), tuple(opaque)


def _entry(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    content, size = "", 0
    if member.islnk():
        kind, content = "hardlink", member.linkname.strip("/").removeprefix("./")
    elif member.issym():
        kind, content = "link", member.linkname
    elif member.isdir():
        kind = "dir"
    elif member.isfile():
        stream = archive.extractfile(member)
        assert stream
        data = stream.read()
        kind, content, size = "file", hashlib.sha256(data).hexdigest()[:16], len(data)
    else:
        kind, content = {tarfile.FIFOTYPE: "fifo", tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block"}[member.type], ""
    # buildah 1.28 does not take away what the kernel's overlay notes in a user namespace.
    xattrs = tuple(sorted(
        (key.removeprefix(_XATTR), value) for key, value in member.pax_headers.items()
        if key.startswith(_XATTR) and not key.startswith(f"{_XATTR}user.overlay.")))  # fmt: skip
    return Entry(kind, member.mode & 0o7777, member.uid, member.gid, content, size, xattrs, int(member.mtime))
