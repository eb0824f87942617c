"""A container's root file system in namespaces of its own, in which one step of a start or a copy is done again and
again while an attacker exchanges names in it.

Whatever is named there exists three times: in the root (``inside``), outside (the canary), and in the root again under
the canary's path (``decoy``), which is where a link to the canary leads whoever stays in the root.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from rootless import idmaps, paths
from rootless.errors import RootlessError
from rootless.init import ops
from rootless.init.fuse import mount_fuse
from rootless.init.rootfs import Rootfs
from rootless.linux.libc import MNT_DETACH, MS_REC, MS_SLAVE, file_system_type, mount, umount
from rootless.linux.signals import SIGKILL
from rootless.runtime.bundle import directory_root
from rootless.userns import run_in_userns
from storage import union
from storage.errors import StorageError
from tests.support import bundles
from tests.support.canary import TEXT, Canary
from tests.support.exchanges import Exchanger, Pair

INSIDE, DECOY, REFUSED = "inside", "decoy", "refused"
KINDS = ("overlay", "fuse-overlayfs", "directory", "volume")
"""What the names are part of: a root of each kind, or a volume on a root of overlay."""
_NOFOLLOW = 8  # UMOUNT_NOFOLLOW
USER = 1234
_NAMES = ("file", "dir/file", "dir/below/file", "victim", "etc/passwd", "etc/group", "etc/hosts", "etc/shadow")


class Escaped(AssertionError):
    """A step has reached something outside."""


class Stage:
    """What a step works with: ``root`` and ``site`` as in a start; ``place`` is the directory whose names change.

    In ``place`` is ``d``, a tree like the canary's, and ``l``, the link to the canary.
    """

    def __init__(self, kind: str, scratch: Path, canary: str) -> None:
        self.kind = kind
        self.scratch = scratch
        self.canary = canary
        self.site = ops.Site()
        self.place = "/v" if kind == "volume" else "/srv"
        self._mounted: list[str] = []
        self._helper = 0
        base = scratch / "base"
        for name in ("dev", "etc", "proc", "run", "srv", "v"):
            (base / name).mkdir(parents=True)
        (base / "lower").write_text("lower")
        if kind == "directory":
            self.description = directory_root(str(base))
            self.trees = [union.Tree(str(base), union.PLAIN)]
        else:
            driver = "overlay" if kind == "volume" else kind
            found = bundles.overlay(scratch / "container", base, kind=driver)
            self.description = found  # type: ignore[assignment]
            marks = union.FUSE if kind == "fuse-overlayfs" else union.OVERLAY
            self.trees = [union.Tree(found["upper"], marks), union.Tree(str(base))]
        self.merged = self.description["merged"]

    def reach(self) -> None:
        """With the caller's own id."""
        mount(None, "/", None, MS_REC | MS_SLAVE)

    def build(self) -> None:
        """Mount the root, and fill it; the process is 0 of the namespace."""
        if self.kind == "fuse-overlayfs":
            self._helper = mount_fuse(self.description, paths.helper("fuse-overlayfs") or "", True)
        root = Rootfs(self.description)
        root.reach()
        root.open(self.site)
        self.site.root = root.attach()
        if self.kind == "volume":
            (self.scratch / "volume").mkdir()
            volume = ops.Bind(str(self.scratch / "volume"), "/v", settings=[])
            volume.open(self.site)
            volume.apply(self.site)
        self.tree(f"{self.place}/d", INSIDE)
        self.tree(self.canary, DECOY)
        self.link(f"{self.place}/l", "")
        self._mounted = mount_points()

    def outside(self, path: str) -> str:
        """The path inside, as this process names it."""
        return self.merged + path

    def tree(self, path: str, text: str) -> None:
        """A tree like the canary's."""
        for name in _NAMES:
            file = Path(self.outside(f"{path}/{name}"))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{text} {name}")
        etc = Path(self.outside(f"{path}/etc"))
        (etc / "passwd").write_text(f"{text}:x:{USER}:5:{text}:/{text}:/bin/sh\n")
        (etc / "group").write_text(f"{text}:x:5:\n")

    def link(self, path: str, below: str) -> None:
        """A link to the canary, or to what is ``below`` there."""
        os.symlink(f"{self.canary}/{below}" if below else self.canary, self.outside(path))

    def pair(self, directory: str, first: str, second: str) -> Pair:
        """Two names of a directory."""
        return Pair(self.outside(directory), first, second)

    def real(self, *names: str) -> str:
        """Which of these is no link at the moment."""
        for name in names:
            if not os.path.islink(self.outside(name)):
                return self.outside(name)
        raise AssertionError(f"all of {names} are links")

    def where(self, point: str) -> str:
        """Whether a path of this process is in the decoy or in the rest of the root. Raises Escaped."""
        if not point.startswith(self.merged + "/"):
            raise Escaped(f"{point} is outside")
        return DECOY if point.startswith(self.outside(self.canary)) else INSIDE

    def new_mounts(self) -> list[str]:
        """Where something was mounted since :meth:`take_mounts`."""
        points = mount_points()
        for known in self._mounted:
            points.remove(known)
        return points

    def take_mounts(self, expected: int, refused: bool) -> set[str]:
        """Detach what was mounted since the last question: where it was. ``expected`` mounts, or fewer if ``refused``.
        """
        points = self.new_mounts()
        found = {self.where(point) for point in points}
        if len(points) > expected or (len(points) < expected and not refused):
            raise Escaped(f"{points} are mounted: {expected} mounts were to be")
        for point in points:
            umount(point, MNT_DETACH | _NOFOLLOW)
        return found

    def remove(self, name: str) -> None:
        """Delete ``name`` where a step made it: in ``d`` and in the decoy."""
        for directory in (self.real(f"{self.place}/d", f"{self.place}/l"), self.outside(self.canary)):
            if os.path.isdir(f"{directory}/{name}"):
                shutil.rmtree(f"{directory}/{name}")
            elif os.path.lexists(f"{directory}/{name}"):
                os.unlink(f"{directory}/{name}")

    def read(self, path: str) -> str:
        """Which of the trees a file of this process comes from. Raises Escaped."""
        content = Path(path).read_bytes()
        if TEXT in content:
            raise Escaped(f"{path} is the canary's")
        return DECOY if content.startswith(DECOY.encode()) else INSIDE

    def end(self) -> None:
        """The mounts go with the namespace; the helper is nobody's."""
        if self._helper:
            os.kill(self._helper, SIGKILL)
            os.waitpid(self._helper, 0)


def mount_points() -> list[str]:
    """Where file systems are mounted in this namespace."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return [line.split(" ")[4] for line in file]


class Race:
    """One step, ``pairs`` of names that change meanwhile, and what is seen of each round afterwards."""

    kinds: tuple[str, ...] = KINDS
    meets: tuple[str, ...] = (INSIDE, DECOY)
    """What is to be met often, or the race is none."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.pairs = [stage.pair(stage.place, "d", "l")]

    def step(self) -> None:
        """Do it once; OSError, RootlessError or StorageError: it was refused."""
        raise NotImplementedError

    def judge(self, refused: bool) -> Iterable[str]:
        """Where it has led, and clean up; nothing is exchanged meanwhile. Raises Escaped."""
        raise NotImplementedError


class Result:
    """How many rounds had an exchange in them, how many escaped, and how often a step led where."""

    def __init__(self, rounds: int, escaped: list[str], led: dict[str, int]) -> None:
        self.rounds = rounds
        self.escaped = escaped
        self.led = led


def run(race: Callable[[Stage], Race], kind: str, scratch: Path, canary: Canary, rounds: int, limit: float) -> Result:
    """Do the step until names were exchanged in the middle of ``rounds`` of it, or for ``limit`` seconds."""
    scratch.mkdir()
    stage = Stage(kind, scratch, str(canary))

    def work() -> bytes:
        stage.build()
        try:
            hit, escaped, led = _rounds(race(stage), canary.root, rounds, time.monotonic() + limit)
        finally:
            stage.end()
        return json.dumps([hit, escaped, led]).encode()

    result = Result(*json.loads(run_in_userns(work, idmaps.default_map(), mount_ns=True, before=stage.reach)))
    try:
        canary.check()
    except AssertionError as error:
        result.escaped.append(str(error))
    return result


def _rounds(race: Race, outside: Path, rounds: int, deadline: float) -> tuple[int, list[str], dict[str, int]]:
    escaped: list[str] = []
    led: dict[str, int] = {}
    hit = 0
    exchanger = Exchanger(*race.pairs, paused=True)
    exchanger.take_processor()
    names = sorted(os.listdir(outside))
    try:
        while hit < rounds and time.monotonic() < deadline:
            exchanger.go_on()
            before, refused = exchanger.count, False
            try:
                race.step()
            except (OSError, RootlessError, StorageError):
                refused = True
            met = exchanger.count - before
            exchanger.pause()
            hit += met > 0
            try:
                found = set(race.judge(refused))
                for where in {REFUSED} if refused else found:
                    led[where] = led.get(where, 0) + 1
                if sorted(os.listdir(outside)) != names:
                    raise Escaped(f"{outside} has other names")
            except Escaped as error:
                escaped.append(str(error))
                break
    finally:
        exchanger.stop()
    return hit, escaped, led


def is_device(fd: int, magic: int) -> bool:
    """Whether a descriptor is a character device on a file system of that kind."""
    return stat.S_ISCHR(os.fstat(fd).st_mode) and file_system_type(fd) == magic
