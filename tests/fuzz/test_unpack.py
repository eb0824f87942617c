"""Random archives: the extractor against a model of a file system, and damaged bytes against everything."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.archive.limits import Limits
from storage.errors import StorageError
from tests.support import layers
from tests.support.canary import Canary
from tests.support.layers import Item, directory, fifo, file, hardlink, symlink

BOUNDED = settings(
    max_examples=int(os.environ.get("ROOTLESS_TEST_FUZZ_EXAMPLES", "400")), deadline=None, database=None,
    suppress_health_check=list(HealthCheck),
)
SMALL = Limits(bytes=8 << 20, entries=1000, directories=500, depth=40)

Node = dict[str, "Node"] | str | tuple[str, str] | list[str] | None
"""Directory | whiteout-free leaf: ``-> target`` as a tuple, a file as a shared list, None: hidden, "fifo"."""


class Refused(Exception):
    """The model would not unpack this."""


class Model:
    """The tree that entries make, in memory: symlinks resolve inside it, as for a process whose root it is."""

    def __init__(self) -> None:
        self.root: dict[str, Node] = {}

    def parent(self, names: list[str], create: bool) -> dict[str, Node]:
        """Resolve a directory, making what is missing."""
        path: list[dict[str, Node]] = [self.root]
        todo = names[::-1]
        links = 0
        while todo:
            name = todo.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if len(path) > 1:
                    path.pop()
                continue
            here = path[-1]
            node = here.get(name, "absent") if name in here else "absent"
            if isinstance(node, dict):
                path.append(node)
            elif isinstance(node, tuple):
                links += 1
                if links > 40:
                    raise Refused
                if node[1].startswith("/"):
                    path = path[:1]
                todo += node[1].split("/")[::-1]
            elif create and (node == "absent" or node is None):
                fresh: dict[str, Node] = {}
                here[name] = fresh
                path.append(fresh)
            else:
                raise Refused
        return path[-1]

    def add(self, item: Item) -> None:
        """One entry of the archive."""
        names = [name for name in item.name.split("/") if name not in ("", ".")]
        if ".." in names or (item.kind == b"0" and item.name.endswith("/")):
            raise Refused
        if not names:
            if item.kind != b"5":
                raise Refused
            return
        base = names[-1]
        if base.startswith(".wh."):
            here = self.parent(names[:-1], True)
            here.setdefault(base[4:], None)
            return
        here = self.parent(names[:-1], True)
        old = here.get(base)
        if item.kind == b"5":
            if not isinstance(old, dict):
                here[base] = {}
        elif item.kind == b"1":
            self._link(here, base, item.text)
        elif item.kind == b"2":
            here[base] = ("->", item.text)
        elif item.kind == b"6":
            here[base] = "fifo"
        else:
            here[base] = [item.text]

    def _link(self, here: dict[str, Node], base: str, target: str) -> None:
        names = [name for name in target.split("/") if name not in ("", ".")]
        if not names or ".." in names:
            raise Refused
        source = self.parent(names[:-1], False)
        node = source.get(names[-1])
        if node is None or isinstance(node, dict):
            raise Refused
        old = here.get(base)
        if isinstance(old, dict) and self._contains(old, source):
            raise Refused  # the target goes with what makes room for the link
        here[base] = node

    def _contains(self, tree: dict[str, Node], wanted: dict[str, Node]) -> bool:
        return tree is wanted or any(
            isinstance(node, dict) and self._contains(node, wanted) for node in tree.values()
        )

    def listing(self) -> dict[str, str]:
        """As ``layers.listing`` without whiteouts: below an opaque directory the extractor leaves them out."""
        found: dict[str, str] = {}

        def walk(tree: dict[str, Node], prefix: str) -> None:
            for name, node in tree.items():
                path = prefix + name
                if isinstance(node, dict):
                    found[path] = "dir"
                    walk(node, path + "/")
                elif isinstance(node, tuple):
                    found[path] = f"-> {node[1]}"
                elif isinstance(node, list):
                    found[path] = f"= {node[0]}"
                elif node is not None:
                    found[path] = node

        walk(self.root, "")
        return found


word = st.sampled_from(["a", "b", "c", "d"])
path = st.lists(st.one_of(word, word, word, st.sampled_from([".", ""])), min_size=1, max_size=4).map("/".join)
target = st.lists(st.one_of(word, word, st.sampled_from(["..", "."])), min_size=1, max_size=4).map("/".join)
anywhere = st.one_of(target, target.map(lambda text: "/" + text))
item = st.one_of(
    st.builds(file, path, st.sampled_from(["1", "2", "3"])),
    st.builds(directory, path),
    st.builds(symlink, path, anywhere),
    st.builds(hardlink, path, path),
    st.builds(fifo, path),
    st.builds(lambda where, name: file(f"{where}/.wh.{name}"), path, word),
)


@BOUNDED
@given(st.lists(item, max_size=14))
def test_extractor_agrees_with_the_model(items: list[Item]) -> None:
    model = Model()
    try:
        for one in items:
            model.add(one)
        expected: dict[str, str] | None = model.listing()
    except Refused:
        expected = None
    with tempfile.TemporaryDirectory() as base:
        tree = Path(base, "tree")
        try:
            layers.extract(layers.archive(items), tree, SMALL)
            real = layers.listing(tree)
            found: dict[str, str] | None = {path: what for path, what in real.items() if what != "hidden"}
        except StorageError:
            found = None
        assert sorted(os.listdir(base)) == ["tree", "tree.owners"]
        shutil.rmtree(tree)
    assert found == expected


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes, "gzip": gzip.compress, "xz": lzma.compress, "bzip2": bz2.compress, "zstd": zstandard.compress,
}
SEED = layers.archive([
    directory("d"), file("d/f", "content" * 50, xattrs={"user.note": b"v" * 40}), symlink("l", "d"),
    hardlink("h", "d/f"),
    file("x" * 150, "y"), fifo("p"), file(".wh.gone"), layers.device("n", "c", 1, 3),
])
change = st.tuples(st.integers(0, len(SEED) * 2), st.binary(min_size=1, max_size=12), st.booleans())


@BOUNDED
@given(st.sampled_from(sorted(PACKERS)), st.lists(change, min_size=1, max_size=6), st.booleans(), st.booleans())
def test_damaged_archives(packer: str, changes: list[tuple[int, bytes, bool]], packed: bool, fix: bool) -> None:
    """Bytes changed or inserted, before or after compression: a tree or one error, in bounded time and space."""
    data = bytearray(PACKERS[packer](SEED) if packed else SEED)
    for at, text, insert in changes:
        at %= len(data) + 1
        data[at : at if insert else at + len(text)] = text
    if fix and not packed:
        _fix_checksums(data)
    blob = bytes(data) if packed else PACKERS[packer](bytes(data))
    with tempfile.TemporaryDirectory() as base:
        canary = Canary(Path(base, "canary"))
        try:
            layers.extract(blob, Path(base, "tree"), SMALL)
        except StorageError as error:
            assert error.message.startswith("cannot")
        canary.check()
        assert sorted(os.listdir(base)) == ["canary", "tree", "tree.owners"]


def _fix_checksums(data: bytearray) -> None:
    """Let changed headers reach the code behind the checksum."""
    for at in range(0, len(data) - 511, 512):
        if data[at + 257 : at + 262] == b"ustar":
            data[at + 148 : at + 156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
