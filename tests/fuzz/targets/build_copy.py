"""Targets: the words of COPY and ADD, and archives that ADD unpacks."""

from __future__ import annotations

import os
import tempfile

from rootless.build.contexts import words
from rootless.build.copy import modes
from rootless.build.copy.archive import Unpacking, is_archive
from rootless.build.copy.content import Spool
from rootless.build.copy.step import write
from rootless.build.copy.view import View
from rootless.init import identity
from storage.archive.tar_reader import TarReader
from tests.fuzz.targets.archives import SMALL, with_sums
from tests.fuzz.targets.target import Target, text
from tests.support import layers
from tests.support.layers import directory, fifo, file, hardlink, symlink

_PLACE = tempfile.mkdtemp(prefix="fuzz-add-")
_TREE = [
    directory("d", uid=5), file("d/f", "content" * 20, xattrs={"user.note": b"v"}), symlink("l", "/d"),
    file("l/x", "y"), hardlink("h", "l/x"), symlink("up", "../../d/.."), file("up/z", "1"), fifo("p"),
    file("d", "file"), directory("d"), file(".wh.gone", "1"), directory(".wh.d"), file(".wh.d/x", "1"),
    layers.device("n", "c", 1, 3), file("w/../q"),
]  # fmt: skip


def words_of_copy(data: bytes) -> None:
    """The first byte chooses: modes are modes, owners ids, and no repository leads out of itself."""
    word = text(data[1:])
    kind = data[0] % 3 if data else 0
    if kind == 0:
        change = modes.parse(word)
        assert all(0 <= change(mode, where) <= 0o7777 for mode in (0, 0o644, 0o7777) for where in (True, False))
    elif kind == 1:
        passwd, _, owner = word.partition("\0" if "\0" in word else "|")
        uid, gid = identity.owner(passwd.encode("utf-8", "surrogateescape"), b"g:x:7:\n", owner)
        assert max(uid, gid) < (1 << 32) - 1 and min(uid, gid) >= 0
    else:
        words.is_remote(word)
        found = words.repository(word)
        assert ".." not in found.subdirectory.split("/") and not found.subdirectory.startswith("/")
        assert not found.reference.startswith("-") and not found.url.startswith("-")


def archive_of_add(data: bytes) -> None:
    """An archive placed in a view: a layer that every reader takes, with no name that leads out."""
    spool = Spool(_PLACE, SMALL.bytes)
    given, output = os.memfd_create("given"), os.memfd_create("layer")
    try:
        os.write(given, with_sums(data))
        is_archive(given)
        with View(None) as view:
            Unpacking(view, view.root, spool, SMALL, (0, 0)).unpack(given)
            write(view, output, int)
        layer = os.pread(output, os.fstat(output).st_size, 0)
        names = [entry.name.rstrip(b"/") for entry in TarReader([layer], SMALL)]
        assert len(names) == len(set(names))
        for name in names:
            parts = name.split(b"/")
            assert b".." not in parts and not name.startswith(b"/")
            assert not any(part.startswith(b".wh.") and part != b".wh..wh..opq" for part in parts)
        assert os.listdir(_PLACE) == []
    finally:
        spool.close()
        os.close(given)
        os.close(output)


TARGETS = (
    Target(words_of_copy, [
        bytes([0]) + b"u=rwX,go=rX,a-st", bytes([0]) + b"0755", bytes([1]) + b"a:x:1:2::/:\nb:x:3|a:g",
        bytes([1]) + b"|1:2",
        bytes([2]) + b"git@h:a/b.git#v1:sub/dir", bytes([2]) + b"https://h/r.git#:x", bytes([2]) + b"git+ssh://u@h/r#a:b"]),
    Target(archive_of_add, [layers.archive(_TREE), layers.archive(_TREE[:-1])]),
)  # fmt: skip
