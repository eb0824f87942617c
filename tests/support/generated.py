"""Random hostile archives, unpacked by the real unpacker and compared with :mod:`tests.support.treemodel`.

``python -m tests.support.generated FIRST COUNT`` tries the seeds from FIRST on and prints what it found as JSON. It
does so as root of a user namespace, in a file system of its own that holds nothing but the tree and a canary: whatever
else appears in it was written outside.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from rootless import idmaps, userns
from rootless.linux.libc import mount
from storage.archive.extract import Extractor
from storage.archive.limits import Limits
from storage.archive.put import Putter
from storage.archive.tar_reader import TarReader
from storage.errors import StorageError
from storage.ownership import Ids, OwnersWriter
from tests.support.canary import Canary, state_of
from tests.support.layers import Item
from tests.support.tarbytes import BLOCK, END, GNU, block, gnu_long, padded, pax, summed
from tests.support.treemodel import Description, Model, Refused
from tests.support.treeseen import clear, describe

SMALL = Limits(bytes=8 << 20, entries=1000, directories=500)
WORDS = ("a", "b", "c", "d", "e", "\xe9", "x y", "...")
OUT = ("/canary", "/canary/dir", "/canary/file", "../canary", "../../canary/dir", "..", "../..", "/", "/dir", "/victim")
HIDING = (".wh.", ".wh..", ".wh...", ".wh..wh.", ".wh..wh..opq", ".wh..wh.aufs", ".wh..wh.plnk")
MODES = (0o644, 0o755, 0o600, 0o000, 0o4755, 0o2755, 0o6711, 0o1777, 0o444)
OPEN = (0o755, 0o700, 0o1777, 0o2775, 0o750)  # of directories that a user without privileges goes on in
IDS = (0, 0, 0, 0, 33, 1000, 65_535, 4_000_000_000)
STEERING = ("user.overlay.opaque", "user.overlay.redirect", "trusted.overlay.opaque", "user.fuseoverlayfs.opaque")
LONG = ("n" * 101, "n" * 155, "n" * 240, "/".join(["long" * 12] * 4))
KEYWORDS = (b"path", b"linkpath", b"size", b"mtime", b"uid", b"gid", b"GNU.sparse.map", b"GNU.sparse.size",
            b"GNU.sparse.major", b"GNU.sparse.minor", b"GNU.sparse.name", b"GNU.sparse.numblocks", b"comment",
            b"SCHILY.xattr.user.x", b"SCHILY.xattr.user.overlay.opaque", b"LIBARCHIVE.xattr.user.x")  # fmt: skip
VALUES = (b"", b"0", b"1", b"512", b"-1", b"a/b", b"../canary/file", b"/canary/file", b"0,5", b"9" * 30, b"1.5", b"QQ")


class Archive(NamedTuple):
    """One generated archive. ``items`` is what it says where its bytes are well-formed, else None."""

    data: bytes
    items: list[Item] | None


def items_of(draw: random.Random) -> list[Item]:
    """The entries of an archive, which often speak of names that earlier ones made."""
    made: list[str] = []
    parents: list[str] = []
    found: list[Item] = []
    for _ in range(1 + int(draw.random() * 12)):
        name = _name(draw, made, parents)
        kind = draw.choice(b"0000005555222221116634")
        text, xattrs, ids = "", {}, 0
        if kind == 0x30:
            text = draw.choice(("", "1", "22", "x" * 511, "y" * 513)) if draw.random() < 0.3 else str(len(found))
            if draw.random() < 0.1:
                xattrs = {draw.choice(STEERING): b"y", "user.note": b"n%d" % len(found)}
        elif kind == 0x32:
            text = draw.choice(OUT) if draw.random() < 0.4 else _name(draw, made, parents)
            text = "/" + text if draw.random() < 0.2 else text
        elif kind == 0x31:
            text = draw.choice(made) if made and draw.random() < 0.9 else _name(draw, made, made)
        elif kind == 0x35 and draw.random() < 0.1:
            xattrs = {draw.choice(STEERING): b"y"}
        if draw.random() < 0.3:
            ids = 1
        mode = draw.choice(OPEN if kind == 0x35 else MODES)
        found.append(Item(
            bytes((kind,)), name, text, mode, draw.choice(IDS) * ids, draw.choice(IDS) * ids, (1, 3), xattrs,
            1_000_000_000 + len(found),
        ))  # fmt: skip
        if kind != 0x35:
            made.append(name)
        if kind in b"52" or draw.random() < 0.1:
            parents.append(name)
    return found


def _name(draw: random.Random, made: list[str], parents: list[str]) -> str:
    """A name, often that of an entry before or below one of ``parents``; sometimes one that means something else."""
    chance = draw.random()
    if made and chance < 0.2:
        name = draw.choice(made)
    elif parents and chance < 0.6:
        name = f"{draw.choice(parents)}/{draw.choice(WORDS)}"
    else:
        name = "/".join([draw.choice(WORDS) for _ in range(1 + int(draw.random() * 3))])
    if draw.random() < 0.1:
        chance = draw.random()
        head, _, base = name.rpartition("/")
        if chance < 0.5:
            mark = draw.choice(HIDING) if draw.random() < 0.3 else ".wh." + base
            name = f"{head}/{mark}" if head else mark
        elif chance < 0.6:
            name = "/" + name
        elif chance < 0.7:
            name = name.replace("/", "/./") + "/"
        elif chance < 0.8:
            name = draw.choice(("", ".", "/", "./", "..")) + name
        elif chance < 0.83:
            name = draw.choice((".", "./", "/", "..", "../" + name, name + "/..", "/../canary/file", ""))
        else:
            name = f"{head}/{draw.choice(LONG)}" if head else draw.choice(LONG)
    return name


def _number(draw: random.Random, value: int, width: int) -> bytes | int:
    """A header's number, in octal or, where that is too short, binary."""
    if value >= 8 ** (width - 1) or draw.random() < 0.05:
        return bytes((0x80,)) + value.to_bytes(width - 1, "big")
    return value


def encode(items: list[Item], draw: random.Random) -> bytes:
    """An archive of the items, each in one of the ways in which the formats can say it."""
    parts = []
    for item in items:
        name, link = item.name.encode(), b"" if item.kind == b"0" else item.text.encode()
        data = item.text.encode() if item.kind == b"0" else b""
        records = [(b"SCHILY.xattr." + key.encode(), value) for key, value in item.xattrs.items()]
        prefix, magic, way = b"", b"ustar\x0000", draw.random()
        short = len(name) <= 100 and len(link) <= 100
        if records or (way < 0.1 and name and link) or not short and way < 0.5:
            records += [(b"path", name)] if name else []
            records += [(b"linkpath", link)] if link else []
            parts.append(pax(*records))
            name, link = (b"z", b"z" if link else b"") if item.name else (b"", link)
        elif way < 0.2 or not short:
            parts += [gnu_long(name)] if name else []
            parts += [gnu_long(link, b"K")] if link else []
            name, link, magic = name[:100], link[:100], GNU
        elif way < 0.4:
            cut = name.find(b"/", 1)
            if 0 < cut < 155 and name[cut + 1 :]:
                prefix, name = name[:cut], name[cut + 1 :]
        uid, gid = _number(draw, item.uid, 8), _number(draw, item.gid, 8)
        parts.append(block(
            name, item.kind, len(data), item.mode, uid, item.mtime, link, magic, prefix, gid=gid, device=item.device,
        ))  # fmt: skip
        parts.append(padded(data) if data else b"")
    return b"".join(parts) + END


def generate(draw: random.Random) -> Archive:
    """One archive: three of four well-formed, the others with blocks that do not belong there, or damaged."""
    items = items_of(draw)
    chance = draw.random()
    if chance < 0.75:
        return Archive(encode(items, draw), items)
    data = bytearray(encode(items, draw))
    for _ in range(1 + int(draw.random() * 3)):
        at = int(draw.random() * len(data))
        if chance < 0.87:
            at -= at % BLOCK
            data[at:at] = _noise(draw)
        else:
            data[at : at + int(draw.random() * 4)] = draw.choice((b"\xff", b"\0", b"7", b"\x80\xff\xff", b"/..", b"S"))
    if chance > 0.8:
        for at in range(0, len(data) - BLOCK + 1, BLOCK):
            if data[at + 257 : at + 262] == b"ustar":
                data[at : at + BLOCK] = summed(bytes(data[at : at + BLOCK]))
    return Archive(bytes(data), None)


def _noise(draw: random.Random) -> bytes:
    kind = draw.random()
    name = draw.choice(OUT + WORDS).encode()
    if kind < 0.4:
        count = 1 + int(draw.random() * 3)
        pairs = [(draw.choice(KEYWORDS), draw.choice(VALUES)) for _ in range(count)]
        return pax(*pairs, kind=b"x" if draw.random() < 0.8 else b"g")
    if kind < 0.6:
        return gnu_long(name, draw.choice((b"L", b"K")))
    if kind < 0.7:
        return bytes(BLOCK)
    size = draw.choice((0, 1, 512, 5000, b"\xff" * 12, b"\x80" + b"\xff" * 11, b"-1".ljust(12, b"\0")))
    return block(name, draw.choice((b"S", b"7", b"V", b"M", b"D", b"\0", b"0", b"1", b"Q")), size, link=name)


class Trial:
    """Unpacks archives into ``base/tree`` one after the other. ``ids``: those of this process, which may then give
    files away.
    """

    def __init__(self, base: str, ids: Ids | None = None) -> None:
        self.tree = os.path.join(base, "tree")
        self._owners = ids is not None
        self._ids = ids or Ids([(0, 1)], [(0, 1)])
        self._most = 65536 if self._ids.fold(65535, 65535)[2] else 1
        self._sidecar = os.memfd_create("owners")

    def unpack(self, data: bytes) -> tuple[Description | None, str]:
        """The tree that the archive makes, None if it is refused; and what happened that never should."""
        os.mkdir(self.tree, 0o755)
        root = os.open(self.tree, os.O_RDONLY | os.O_DIRECTORY)
        try:
            extractor = Extractor(root, OwnersWriter(self._sidecar), self._ids, SMALL)
            extractor.unpack(TarReader([data], SMALL))
            implied = {"/" + os.fsdecode(path) for path in extractor.tree.implicit}
            return describe(self.tree, implied, self._owners), ""
        except StorageError as error:
            fine = error.message.startswith("cannot") and error.message.isprintable()
            return None, "" if fine else f"an odd message: {error.message!r}"
        except Exception as error:
            return None, f"{type(error).__name__}: {error}"
        finally:
            os.close(root)
            os.ftruncate(self._sidecar, 0)

    def place(self, data: bytes) -> str:
        """Put the members into the tree as `cp -` does; what happened that never should."""
        root = os.open(self.tree, os.O_RDONLY | os.O_DIRECTORY)
        try:
            Putter(root, keep_owners=self._owners, overwrite=True, skip_devices=True).put([data], SMALL)
        except (StorageError, OSError):
            pass
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        finally:
            os.close(root)
        return ""

    def remove(self) -> None:
        """Make room for the next."""
        clear(self.tree)
        os.rmdir(self.tree)

    def expected(self, items: list[Item]) -> Description | None:
        """The tree that the items describe, None if they must be refused."""
        model = Model(self._most)
        try:
            for item in items:
                model.add(item)
        except Refused:
            return None
        return model.describe(self._owners)

    def differs(self, items: list[Item], seed: int) -> bool:
        """Whether the unpacker and the model make different things of the items."""
        made, _ = self.unpack(encode(items, random.Random(seed)))
        self.remove()
        return made != self.expected(items)

    def smallest(self, items: list[Item], seed: int) -> list[Item]:
        """The items that are needed for the difference (some more, where it is one of how they were written)."""
        at = 0
        while at < len(items):
            fewer = items[:at] + items[at + 1 :]
            if self.differs(fewer, seed):
                items = fewer
            else:
                at += 1
        return items


def _search(first: int, count: int, ids: Ids) -> dict[str, Any]:
    """Try ``count`` seeds in the root directory, which is this process's own."""
    canary = Canary(Path("/canary"))
    watched = [path for path in canary.before if not path.endswith("closed")]
    trial = Trial("/", ids)
    found: dict[str, Any] = {"tried": 0, "accepted": 0, "outside": [], "uncaught": [], "different": []}

    def seen() -> list[tuple[int, ...]]:
        return [(*status[:1], *status[3:7], status.st_ctime_ns) for status in map(os.lstat, watched)]

    before, names = seen(), os.listdir("/")
    for seed in range(first, first + count):
        archive = generate(random.Random(seed))
        made, odd = trial.unpack(archive.data)
        if seed % 8 == 0:
            odd = odd or trial.place(archive.data)
        trial.remove()
        found["tried"] += 1
        found["accepted"] += made is not None
        if odd:
            found["uncaught"].append(f"seed {seed}: {odd}")
        if os.listdir("/") != names or seen() != before:
            found["outside"].append(f"seed {seed}: {os.listdir('/')}")
            before, names = seen(), os.listdir("/")
        if archive.items is not None and made != trial.expected(archive.items):
            few = trial.smallest(archive.items, seed)
            found["different"].append(f"seed {seed}: {few}" if len(found["different"]) < 5 else f"seed {seed}")
    if state_of(canary.root) != canary.before:
        found["outside"].append("the canary")
    found["rss"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return found


def search(first: int, count: int) -> dict[str, Any]:
    """Try the archives of ``count`` seeds: how many were ``tried`` and ``accepted``, which wrote ``outside``, had an
    ``uncaught`` error or were ``different`` from the model, and the most memory that it took (``rss``, MiB).
    """
    idmap = idmaps.default_map()
    with tempfile.TemporaryDirectory(prefix="rootless-generated-") as base:
        os.chmod(base, 0o755)

        def work() -> bytes:
            ids = Ids.of_process()
            mount("tmpfs", base, "tmpfs", 0, "mode=755")
            os.chdir(base)
            os.chroot(".")
            os.umask(0)
            return json.dumps(_search(first, count, ids)).encode()

        answer: dict[str, Any] = json.loads(userns.run_in_userns(work, idmap, mount_ns=True))
        return answer


if __name__ == "__main__":
    print(json.dumps(search(int(sys.argv[1]), int(sys.argv[2]))))
