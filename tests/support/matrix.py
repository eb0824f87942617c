"""What the tests of every driver for every kind of user work with: the users, and an image with all that is special."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support import hosts, images
from tests.support.cli import Cli, new_cli
from tests.support.layers import archive, device, directory, file, hardlink, symlink

WEB = 33  # an ordinary subordinate id: Debian's www-data
STRANGER = 54321  # a user without a name or a range of ids
ROOT_RANGE = "root:1000000:65536\n"


class Kind(NamedTuple):
    """A user of the matrix. ``ranged``: has subordinate ids, so that owners are what the image says."""

    name: str
    root: bool
    ranged: bool


USERS = {
    kind.name: kind
    for kind in (
        Kind("user", root=False, ranged=True),
        Kind("user-alone", root=False, ranged=False),
        Kind("root", root=True, ranged=True),
        Kind("root-range", root=True, ranged=True),
        Kind("stranger", root=True, ranged=False),
    )
}
"""An ordinary user with and without subordinate ids; root with all ids of the machine, and with a range of its own;
an id of which the machine knows nothing. The last three are tested by root."""


class User(Cli):
    """A user of the matrix at the command line: ``prefix`` makes him that, ``driver`` is asked for by every command."""

    def __init__(self, home: Path, kind: Kind) -> None:
        super().__init__(home)
        self.kind = kind
        self.driver = ""
        self.prefix: list[str] = []
        scratch = home / "host"
        if kind.name in ("user-alone", "root-range"):
            text = ROOT_RANGE if kind.root else ""
            self.prefix = hosts.prefix(scratch, files={"/etc/subuid": text, "/etc/subgid": text})
        elif kind.name == "stranger":
            self.prefix = hosts.prefix(scratch, uid=STRANGER)
            for path in (home, *home.iterdir()):
                os.chown(path, STRANGER, STRANGER)

    def command(self, *arguments: str) -> list[str]:
        """See :class:`Cli`."""
        driver = ("--storage-driver", self.driver) if self.driver else ()
        return [*self.prefix, *super().command(*driver, *arguments)]

    def leftovers(self) -> list[str]:
        """What is in the places of the store that hold nothing when no container is there."""
        found = []
        for name in ("containers", "names", "tmp", "trash"):
            found += [f"{name}/{entry.name}" for entry in sorted((self.data / name).glob("*"))]
        engine = self.home / "run" / "rootless" / "engine"
        return found + [f"run/{entry.name}" for entry in sorted(engine.glob("*"))]


@contextmanager
def new_user(kind: Kind) -> Iterator[User]:
    """A user with an empty store, deleted afterwards."""
    with new_cli() as made:
        yield User(made.home, kind)
        if os.getuid() == 0:
            shutil.rmtree(made.home)


def layout(target: Path) -> Path:
    """An OCI image layout, ``special``: four layers with every kind of entry, and the marks that hide entries."""
    made = images.Layout(target)
    busybox = Path(images.busybox_path() or "").read_bytes()
    second = [
        directory("data"), file("data/old", "old"), file("data/kept", "kept"), file("data/changed", "before"),
        directory("data/opaque"), file("data/opaque/hidden", "hidden"),
        directory("data/replaced"), file("data/replaced/inside", "x"),
        file("data/one", "linked"), hardlink("data/two", "data/one"),
        directory("srv"), symlink("srv/link", "../data/kept"), device("srv/device", "c", 1, 3),
        file("srv/attributes", "attributes", xattrs={"user.note": b"hello"}),
        directory("srv/web", 0o750, uid=WEB, gid=WEB), file("srv/web/page", "page", 0o640, uid=WEB, gid=WEB),
        file("srv/unreadable", "secret", 0o000),
    ]  # fmt: skip
    third = [
        file("data/.wh.old"), file("data/replaced", "a file"), file("data/changed", "after"),
        directory("data/opaque"), file("data/opaque/.wh..wh..opq"), file("data/opaque/new", "new"),
    ]  # fmt: skip
    setuid = images.tar_of([images.directory("raised"), images.file("raised/su", busybox, 0o4755)])
    parts = [images.busybox_tar(), archive(second), archive(third), setuid]
    made.add_image("special", [made.add_layer(part) for part in parts], {"Cmd": ["sh"]})
    return target


def deep_layout(target: Path, count: int) -> Path:
    """An OCI image layout, ``deep``: busybox and small layers, ``count`` in all; each changes one file anew."""
    made = images.Layout(target)
    parts = [images.busybox_tar()]
    parts += [
        archive([directory("d"), file(f"d/{number}", str(number)), file("d/last", str(number))])
        for number in range(1, count)
    ]
    made.add_image("deep", [made.add_layer(part) for part in parts], {"Cmd": ["sh"]})
    return target
