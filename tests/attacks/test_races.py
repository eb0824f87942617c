"""Swap races: a directory and a link to the host change places while a step of a start or a copy uses them.

Each step is the function that the product calls, in a root file system of its own (`tests.support.stage`); a round
counts when names were exchanged in the middle of it.
"""

from __future__ import annotations

import functools
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rootless.build.copy import step as build_copy
from rootless.build.copy.placing import Placing
from rootless.build.copy.rules import Rules
from rootless.build.copy.source import Source
from rootless.build.copy.view import Node, View
from rootless.engine import volume_archive
from rootless.engine.containers import cp, export
from rootless.engine.containers.stack import Stack
from rootless.engine.images import layerfile
from rootless.init import devices, identity, main, ops
from rootless.init.copy_up import fill_volume
from rootless.init.masks import make_read_only, mask
from rootless.init.plan import User
from rootless.linux.libc import DEVPTS_MAGIC
from storage import union
from storage.changes import changes
from tests.support.canary import TEXT, Canary
from tests.support.figures import Tell, amount
from tests.support.fixtures import require
from tests.support.layers import archive, directory, file
from tests.support.stage import DECOY, INSIDE, KINDS, USER, Escaped, Race, Result, Stage, is_device, run

pytestmark = [pytest.mark.needs("userns", "subuid", "newuidmap"), pytest.mark.timeout(3600)]
ROUNDS = amount(500, 10_000)
ROUNDS_ELSEWHERE = amount(50, 1_000)
LIMIT = amount(300, 3000)  # seconds, for a machine with other work
ROOTS = tuple(kind for kind in KINDS if kind != "volume")
WEB = 33
ONLY_OUTSIDE = "closed"
"""A file that the canary has, and what stands in for it inside has not."""


class MountTarget(Race):
    """Row 47: a volume on a directory that is there."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.source = stage.scratch / "source"
        self.source.mkdir()
        (self.source / "mark").write_text("mark")
        self.target = f"{stage.place}/d/dir"

    def step(self) -> None:
        bind = ops.Bind(str(self.source), self.target, settings=[])
        bind.open(self.stage.site)
        bind.apply(self.stage.site)

    def judge(self, refused: bool) -> Iterable[str]:
        return self.stage.take_mounts(1, refused)


class MissingTarget(MountTarget):
    """Row 48: a volume and a file on what is to be made."""

    def step(self) -> None:
        for source, target in ((self.source, "new/deep/dir"), (self.source / "mark", "new/file")):
            bind = ops.Bind(str(source), f"{self.stage.place}/d/{target}", settings=[])
            bind.open(self.stage.site)
            bind.apply(self.stage.site)

    def judge(self, refused: bool) -> Iterable[str]:
        found = self.stage.take_mounts(2, refused)
        self.stage.remove("new")
        return found


class Null(Race):
    """Row 42: the place of /dev/null, which is then the mask of a file."""

    kinds = ROOTS

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        Path(stage.outside("/dev/null")).write_text("")
        Path(stage.outside("/etc/masked")).write_text("secret")
        stage.link("/dev/link", "file")
        self.pairs = [stage.pair("/dev", "null", "link")]

    def step(self) -> None:
        site = self.stage.site
        device = devices.Device("/dev/null", "/dev/null", "c", ops.NULL)
        device.open(site)
        device.apply(site)
        os.close(site.null)
        site.null = -1
        mask(site, ["/etc/masked"])

    def judge(self, refused: bool) -> Iterable[str]:
        masked = os.stat(self.stage.outside("/etc/masked"))
        if not refused and masked.st_rdev != os.makedev(*ops.NULL):
            raise Escaped("the mask is another file")
        found = {self.stage.where(point) for point in self.stage.new_mounts() if not point.endswith("/etc/masked")}
        self.stage.take_mounts(2, refused)
        return found


class Console(Race):
    """Row 43: the places of /dev, /dev/pts and /dev/console."""

    kinds = ROOTS

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        os.mkdir(stage.outside("/dev/pts"))
        Path(stage.outside("/dev/console")).write_text("")
        stage.link("/dev/pts-link", "dir/below")
        stage.link("/dev/console-link", "file")
        stage.link("/dev-link", "dir")
        self.pairs = [
            stage.pair("/dev", "pts", "pts-link"), stage.pair("/dev", "console", "console-link"),
            stage.pair("/", "dev", "dev-link"),
        ]  # fmt: skip
        self.plan: Any = SimpleNamespace(terminal=True, console_size=(24, 80))
        self.who = identity.Identity(WEB, WEB, [], "", "", True)
        self.master = -1

    def step(self) -> None:
        self.master = -1
        ops.NewMount("devpts", "/dev/pts", [("newinstance", None), ("ptmxmode", "0666")], 0).apply(self.stage.site)
        self.master = main.take_streams(self.plan, self.stage.site, self.who, (0, 1, 2)) or -1

    def judge(self, refused: bool) -> Iterable[str]:
        if self.master >= 0:
            os.close(self.master)
            if not is_device(0, DEVPTS_MAGIC):
                raise Escaped("the terminal is none")
        if self.stage.site.devpts >= 0:
            os.close(self.stage.site.devpts)
            self.stage.site.devpts = -1
        return self.stage.take_mounts(2, refused)


class Masks(Race):
    """Row 42: paths that are to be hidden or read-only; none is left as it is."""

    def step(self) -> None:
        place, site = f"{self.stage.place}/d", self.stage.site
        site.empty = -1  # the one of the last round is not mounted any more
        mask(site, [f"{place}/file", f"{place}/dir"])
        make_read_only(site, [f"{place}/etc"])

    def judge(self, refused: bool) -> Iterable[str]:
        if self.stage.site.empty >= 0:
            os.close(self.stage.site.empty)
        return self.stage.take_mounts(3, refused)


def written_to_memory(write: Callable[[int], object]) -> bytes:
    """What ``write`` writes to the descriptor that it is given."""
    output = os.memfd_create("archive")
    try:
        write(output)
        return os.pread(output, os.fstat(output).st_size, 0)
    finally:
        os.close(output)


class Copies(Race):
    """Row 68: a copy out and one in."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        stage.link(f"{stage.place}/d/dir-link", "dir")
        self.pairs.append(stage.pair(f"{stage.place}/d", "dir", "dir-link"))
        owner: Any = SimpleNamespace(extras={"user": str(WEB)}, spec={"process": {}})
        self.source = cp._From(owner, "c", f"{stage.place}/d")
        self.into = cp._Into(owner, "c", f"{stage.place}/d/dir", {"overwrite": True})
        self.data = archive([directory("new"), file("new/file", "from the host"), file("victim", "from the host")])
        self.written = b""

    def step(self) -> None:
        root = self.stage.site.root
        self.written = b""
        self.written = written_to_memory(lambda output: self.source.pack(root, output, "d", False))
        self.into.put(root, [self.data], self.into.find(root, True, True, ""))

    def judge(self, refused: bool) -> Iterable[str]:
        if TEXT in self.written:
            raise Escaped("the archive has the canary's text")
        self.stage.remove("dir/new")
        return {kind for kind in (INSIDE, DECOY) if kind.encode() in self.written}


class Reading(Race):
    """A container as a whole."""

    kinds = ROOTS
    listed_as = "srv/d"
    """What ``d`` is called in the archive."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        stage.link(f"{stage.place}/d/dir-link", "dir")
        self.pairs.append(stage.pair(f"{stage.place}/d", "dir", "dir-link"))
        self.stack = Stack(stage.trees, whole=stage.kind == "directory")
        self.written = b""

    def write(self, output: int) -> None:
        """The archive."""
        export.pack_all(self.stack, output)

    def step(self) -> None:
        self.written = b""
        self.written = written_to_memory(self.write)

    def judge(self, refused: bool) -> Iterable[str]:
        """The archive tells what ``d`` was to whoever listed it."""
        if refused:
            return []
        if TEXT in self.written or f"/{ONLY_OUTSIDE}".encode() in self.written:
            raise Escaped("the archive has something of the canary")
        with tarfile.open(fileobj=io.BytesIO(self.written)) as found:
            return [INSIDE if member.isdir() else DECOY for member in found if member.name == self.listed_as]


class VolumeExport(Reading):
    """Row 71: `volume export`."""

    kinds = ROOTS[:1]
    listed_as = "d"

    def write(self, output: int) -> None:
        directory = os.open(self.stage.outside(self.stage.place), os.O_RDONLY | os.O_DIRECTORY)
        try:
            volume_archive.pack(directory, output)
        finally:
            os.close(directory)


class Changes(Reading):
    """Row 71: `commit` and `diff`."""

    listed: list[str]

    def write(self, output: int) -> None:
        self.listed = []
        layerfile.write_changes(self.stack, output)
        trees, own = self.stack.trees, self.stack.own
        with union.top(trees[:own]) as upper, union.top(trees[own:]) as lower:
            self.listed = [change.path for change in changes(upper, lower, whole=self.stack.whole)]

    def judge(self, refused: bool) -> Iterable[str]:
        if any(path.endswith(f"/{ONLY_OUTSIDE}") for path in self.listed):
            raise Escaped("diff lists the canary")
        return super().judge(refused)


class BuildCopy(Race):
    """Row 76: a COPY of a directory of the build context."""

    kinds = ROOTS
    meets = (DECOY,)  # the other has a pair in it too, and what changes while it is copied is refused

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        stage.link(f"{stage.place}/d/dir-link", "dir")
        self.pairs.append(stage.pair(f"{stage.place}/d", "dir", "dir-link"))
        self.written = b""

    def step(self) -> None:
        self.written = b""
        output = os.memfd_create("archive")
        source = Source.of_directory(self.stage.merged, Rules(), 1 << 20, "the build context")
        try:
            view = View(None)
            placing = Placing(view, "copied", is_directory=True, owner=None, mode=None)
            for each in source.choose([f"{self.stage.place}/d"]):
                node = source.open(each.path)
                assert isinstance(node, Node)
                placing.tree(build_copy.items(source, node), 0)
            build_copy.write(view, output, int)
            self.written = os.pread(output, os.fstat(output).st_size, 0)
        finally:
            source.close()
            os.close(output)

    def judge(self, refused: bool) -> Iterable[str]:
        if TEXT in self.written or f"/{ONLY_OUTSIDE}".encode() in self.written:
            raise Escaped("the layer has something of the canary")
        return {kind for kind in (INSIDE, DECOY) if kind.encode() in self.written}


class WorkingDirectory(Race):
    """Row 22: a working directory that is to be made for the user."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.plan: Any = SimpleNamespace(cwd=f"{stage.place}/d/new/work", make_cwd=True)
        self.who = identity.Identity(WEB, WEB, [], "", "", True)
        self.fd = -1

    def step(self) -> None:
        self.fd = -1
        self.fd = main.open_cwd(self.plan, self.stage.site, self.who)

    def judge(self, refused: bool) -> Iterable[str]:
        found = []
        if self.fd >= 0:
            found = [self.stage.where(os.readlink(f"/proc/self/fd/{self.fd}"))]
            os.close(self.fd)
        self.stage.remove("new")
        return found


class Accounts(Race):
    """Row 26: who the user is, and the files that show it."""

    kinds = ROOTS

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        shutil.rmtree(stage.outside("/etc"))
        stage.tree("/x", INSIDE)
        os.rename(stage.outside("/x/etc"), stage.outside("/etc"))
        stage.link("/etc-link", "etc")
        stage.link("/etc/passwd-link", "etc/passwd")
        self.pairs = [stage.pair("/", "etc", "etc-link"), stage.pair("/etc", "passwd", "passwd-link")]
        (stage.scratch / "files").mkdir()
        self.user = User(str(USER), 0, 0, [], [], False, None, account=("caller", 777, 777))
        self.plan: Any = SimpleNamespace(
            user=self.user, cwd="/", files_dir=str(stage.scratch / "files"), foreign=False, passwd_entry=True
        )
        self.name = ""

    def step(self) -> None:
        found = identity.resolve(self.stage.site.root, self.user)
        self.name = found.name
        main.add_account(self.plan, self.stage.site, found, {})

    def judge(self, refused: bool) -> Iterable[str]:
        self.stage.take_mounts(2, refused)
        for made in (self.stage.scratch / "files").iterdir():
            self.stage.read(str(made))
        if not refused and self.name not in (INSIDE, DECOY):
            raise Escaped("the user is one of another file")
        return [self.name]


class CopyUp(Race):
    """Row 23 and 70: the content of a new volume, and of a tmpfs."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        for name in ("dir", "file"):
            stage.link(f"{stage.place}/d/{name}-link", name)
            self.pairs.append(stage.pair(f"{stage.place}/d", name, f"{name}-link"))
        self.volume = stage.scratch / "new-volume"
        self.volume.mkdir()
        self.fd = os.open(self.volume, os.O_RDONLY | os.O_DIRECTORY)

    def step(self) -> None:
        fill_volume(self.stage.site.root, f"{self.stage.place}/d", self.fd)
        ops.NewMount("tmpfs", "/run", [], 0, copy_up=True).apply(self.stage.site)
        tmpfs = ops.NewMount("tmpfs", f"{self.stage.place}/d/etc", [], 0, copy_up=True)
        tmpfs.apply(self.stage.site)

    def judge(self, refused: bool) -> Iterable[str]:
        found = set()
        trees = [str(self.volume)]
        trees += [point for point in self.stage.new_mounts() if point.endswith("/etc")]
        for tree in trees:
            for path in Path(tree).rglob("*"):
                if path.is_file() and not path.is_symlink():
                    found.add(self.stage.read(str(path)))
        self.stage.take_mounts(2, refused)
        for path in self.volume.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        return found


class Injected(Race):
    """Row 27: the files that the engine puts in, and secrets."""

    kinds = ROOTS

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        for name in ("hosts", "resolv.conf"):
            Path(stage.outside(f"/etc/{name}")).write_text("")
            stage.link(f"/etc/{name}-link", "etc/hosts")
        os.mkdir(stage.outside("/run/secrets"))
        stage.link("/run/secrets-link", "dir")
        self.pairs = [
            stage.pair("/etc", "hosts", "hosts-link"), stage.pair("/etc", "resolv.conf", "resolv.conf-link"),
            stage.pair("/run", "secrets", "secrets-link"),
        ]  # fmt: skip
        self.source = stage.scratch / "injected"
        self.source.write_text("injected")

    def step(self) -> None:
        for target in ("/etc/hosts", "/etc/resolv.conf", "/run/secrets/new"):
            bind = ops.Bind(str(self.source), target, settings=[])
            bind.open(self.stage.site)
            bind.apply(self.stage.site)

    def judge(self, refused: bool) -> Iterable[str]:
        found = self.stage.take_mounts(3, refused)
        decoy = self.stage.outside(f"{self.stage.canary}/dir")
        for parent in (self.stage.real("/run/secrets", "/run/secrets-link"), decoy):
            if os.path.exists(f"{parent}/new"):
                os.unlink(f"{parent}/new")
        return found


SITES: dict[str, type[Race]] = {
    "mount_target_row_47": MountTarget,
    "missing_mount_target_row_48": MissingTarget,
    "null_row_42": Null,
    "console_and_pts_row_43": Console,
    "masked_paths_row_42": Masks,
    "copies_rows_68_69": Copies,
    "export_row_71": Reading,
    "commit_and_diff_row_71": Changes,
    "volume_export_row_71": VolumeExport,
    "build_copy_row_76": BuildCopy,
    "working_directory_row_22": WorkingDirectory,
    "accounts_row_26": Accounts,
    "volume_copy_up_rows_23_70": CopyUp,
    "injected_files_row_27": Injected,
}


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """A short path on a disk."""
    from rootless.runtime.delete import delete_tree

    made = Path(tempfile.mkdtemp(prefix="races-", dir="/var/tmp"))
    yield made
    delete_tree(str(made))


@functools.cache
def raced(name: str, kind: str, rounds: int, scratch: Path) -> Result:
    """The result of a site, which is tried once."""
    place = scratch / f"{name}-{kind}"
    place.mkdir()
    return run(SITES[name], kind, place / "stage", Canary(place / "canary"), rounds, LIMIT)


@pytest.mark.needs("overlay")
@pytest.mark.parametrize("name", SITES)
def test_exchanges(name: str, scratch: Path) -> None:
    """On overlay: nothing outside is read, changed or mounted on, and both of what changes places was met."""
    result = raced(name, "overlay", ROUNDS, scratch)
    assert not result.escaped
    assert result.rounds >= ROUNDS, result.led
    assert min(result.led.get(each, 0) for each in SITES[name].meets) > ROUNDS // 50, result.led


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for name in SITES for kind in SITES[name].kinds[1:]])
def test_exchanges_elsewhere(name: str, kind: str, scratch: Path) -> None:
    """The same in a volume and on the other drivers."""
    require(*{"volume": ["overlay"], "fuse-overlayfs": ["fuse", "fuse-overlayfs"]}.get(kind, []))
    result = raced(name, kind, ROUNDS_ELSEWHERE, scratch)
    assert not result.escaped
    assert result.rounds >= ROUNDS_ELSEWHERE, result.led


def test_all_exchanges(scratch: Path, figure: Tell) -> None:
    """What all of them found."""
    found = [raced(name, "overlay", ROUNDS, scratch) for name in SITES]
    figure("swap races that escaped", "= 0", sum(len(result.escaped) for result in found),
           of=sum(result.rounds for result in found))  # fmt: skip
    figure("rounds of swap races at each of 13 sites", "≥ 500", min(result.rounds for result in found))
