"""What a case is."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WHEN = 1_500_000_000
"""The modification time, in seconds, of all files of a context."""


@dataclass(frozen=True)
class F:
    """A file of a context, or one that is expected; its owner only matters there."""

    data: str | bytes = ""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class D:
    """A directory."""

    mode: int = 0o755
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class L:
    """A symbolic link."""

    target: str


Node = str | bytes | F | D | L
"""A text is a file with mode 0644."""


@dataclass(frozen=True)
class Case:
    """A Containerfile with its context.

    ``flags`` go before the context on the command line. ``before`` are Containerfiles that are built first, by the
    name of the image that comes of each, in Docker's format; ``context`` is theirs too. ``fails``: neither builds it,
    and our message has this in it. ``differs`` names what is not equal: a path, or a key of the configuration, and why.
    ``tree`` and ``config`` are what is expected of a case that the peer is too old for: all paths that the base does
    not have, or that are changed, and some keys. ``peer``: the peer builds it. ``docker``: built with --format docker.
    ``at``: the directory of the context below the case's own. ``environment`` is added to that of both.
    """

    name: str
    file: str
    context: Mapping[str, Node] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    before: Mapping[str, str] = field(default_factory=dict)
    fails: str = ""
    differs: Mapping[str, str] = field(default_factory=dict)
    tree: Mapping[str, Node] | None = None
    config: Mapping[str, Any] | None = None
    docker: bool = False
    at: str = "."
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[Path], None] | None = None
    base: str = "box"

    @property
    def peer(self) -> bool:
        """Whether the peer builds it too."""
        return self.tree is None and self.config is None

    def write(self, directory: Path) -> None:
        """Make the case's files: Containerfile and context."""
        for path, node in {"Containerfile": self.file, **self.context}.items():
            put(directory / path, node)
        if self.prepare:
            self.prepare(directory)
        for place, _, names in os.walk(directory, topdown=False):
            for name in (*names, "."):
                os.utime(os.path.join(place, name), (WHEN, WHEN), follow_symlinks=False)


def put(path: Path, node: Node) -> None:
    """Make one file, directory or link, with the directories above it."""
    for above in reversed(path.parents):
        if not above.exists():
            above.mkdir()
            above.chmod(0o755)
    if isinstance(node, L):
        path.symlink_to(node.target)
    elif isinstance(node, D):
        path.mkdir(exist_ok=True)
        path.chmod(node.mode)
    else:
        file = node if isinstance(node, F) else F(node)
        path.write_bytes(file.data.encode() if isinstance(file.data, str) else file.data)
        path.chmod(file.mode)


def tar(nodes: Mapping[str, Node], mode: str = "w:") -> bytes:
    """An archive of nodes, with their owners; ``mode`` is that of tarfile."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
        for path, node in nodes.items():
            info = tarfile.TarInfo(path)
            info.mtime = WHEN - 1000
            data = b""
            if isinstance(node, L):
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, node.target, 0o777
            elif isinstance(node, D):
                info.type, info.mode, info.uid, info.gid = tarfile.DIRTYPE, node.mode, node.uid, node.gid
            else:
                file = node if isinstance(node, F) else F(node)
                data = file.data.encode() if isinstance(file.data, str) else file.data
                info.mode, info.uid, info.gid, info.size = file.mode, file.uid, file.gid, len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
