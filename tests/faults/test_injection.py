"""Every command, killed at each of its system calls that change a state, or told an error there.

After the method of SQLite's tests: the fault is at the first call, the second, … until the command ends unharmed. Calls
are counted over all processes of the command: the caller, the helpers, the shim and init of a container, its monitor.
"""

from __future__ import annotations

import errno
import gzip
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.fakes.registry import FakeRegistry, layer
from tests.support import images
from tests.support.figures import NIGHTLY, Tell
from tests.support.injection import CHECK, ERRORS, KILL, QUICK_CHECK, Outcome, Place, Run, place

pytestmark = [
    pytest.mark.as_root,
    pytest.mark.slow,
    pytest.mark.timeout(24 * 3600 if NIGHTLY else 900),
    pytest.mark.needs("busybox"),
]

IMAGE = "localhost/busybox:latest"
C = ("container", "exists", "box")
UNDO = ("rm", "-f", "-t", "0", "box")
SLEEP = ("run", "-d", "--name", "box", "--network=none", IMAGE, "sleep", "1000")
NONE, EMPTY, STOCKED = "none", "empty", "stocked"
"""What the store was: not yet made, without an image, with one."""
NEXT, AGAIN, UNCLEAN, PROCESSES, TOLD = "next command", "same command", "not clean", "processes", "told badly"
HOST, CLOSED, IMAGE_ID, SOURCES = "HOST", "CLOSED", "IMAGE_ID", "SOURCES"
"""Words that stand for the address of the registry, of one that asks who is there, for the image's id, and for the
directory of the sources."""


class Case(NamedTuple):
    """A command. ``store``: what it finds. ``before``: commands that were given before. ``live``: those whose processes
    it finds running.

    ``effect``: a command that succeeds when it was done; ``removes``: one that succeeds until it was done. ``undo``
    makes that the command can be given once more; ``stays``: that may be needed when it failed, as podman keeps a
    container that did not start. ``settles``: it leaves processes that end by themselves;
    ``lives``: others.
    """

    words: Sequence[str]
    before: Sequence[Sequence[str]] = ()
    live: Sequence[Sequence[str]] = ()
    effect: Sequence[str] = ()
    removes: Sequence[str] = ()
    undo: Sequence[str] = ()
    stays: bool = False
    settles: bool = False
    lives: bool = False
    store: str = STOCKED


CREATE = ("create", "--name", "box", "--network=none", IMAGE, "true")
RUN = ("run", "--name", "box", "--network=none", "-v", "v:/v", IMAGE, "true")
LOGIN = ("login", "-u", "me", "-p", "secret", "--tls-verify=false", CLOSED)
LOADED = ("image", "exists", IMAGE_ID)
CASES = {
    "pull of a layout": Case(("pull", "-q", f"oci:{SOURCES}/layout:latest"), effect=LOADED, store=NONE),
    "pull": Case(
        ("pull", "-q", "--tls-verify=false", f"{HOST}/app:latest"), effect=("image", "exists", f"{HOST}/app"),
        store=EMPTY,
    ),
    "load": Case(("load", "-q", "-i", f"{SOURCES}/image.tar"), effect=LOADED, store=EMPTY),
    "import": Case(
        ("import", "-q", f"{SOURCES}/tree.tar", "localhost/imported"), effect=("image", "exists", "localhost/imported"),
        store=EMPTY,
    ),
    "save": Case(("save", "-q", "-o", f"{SOURCES}/out/saved.tar", IMAGE)),
    "save of a layout": Case(("save", "-q", "--format", "oci-dir", "-o", f"{SOURCES}/out/saved", IMAGE)),
    "load of a compressed archive": Case(("load", "-q", "-i", f"{SOURCES}/image.tgz"), effect=LOADED, store=EMPTY),
    "volume export": Case(("volume", "export", "-o", f"{SOURCES}/out/v.tar", "v"), [("volume", "create", "v")]),
    "volume import": Case(("volume", "import", "v", f"{SOURCES}/tree.tar"), [("volume", "create", "v")]),
    "create": Case(CREATE, effect=C, undo=UNDO),
    "run --rm": Case(("run", "--rm", IMAGE, "true")),
    "run": Case(RUN, effect=C, undo=UNDO, stays=True),
    "run -d": Case(("run", "-d", "--name", "box", IMAGE, "true"), effect=C, undo=UNDO, stays=True, settles=True),
    "run -d --rm": Case(("run", "-d", "--rm", "--network=none", IMAGE, "true"), settles=True),
    "run by fuse-overlayfs": Case(("--storage-driver=fuse-overlayfs", *RUN), effect=C, undo=UNDO, stays=True),
    "run by copies": Case(("--storage-driver=copy", *RUN), effect=C, undo=UNDO, stays=True),
    "start": Case(("start", "box"), [CREATE], settles=True),
    "stop": Case(("stop", "-t", "0", "box"), live=[SLEEP]),
    "exec": Case(("exec", "box", "true"), live=[SLEEP]),
    "exec -d": Case(("exec", "-d", "box", "true"), live=[SLEEP], settles=True),
    "restart": Case(("restart", "-t", "0", "box"), live=[SLEEP], lives=True),
    "commit": Case(
        ("commit", "-q", "box", "localhost/committed"),
        [("run", "--name", "box", "--network=none", IMAGE, "sh", "-c", "echo new >/new; rm /etc/passwd")],
        effect=("image", "exists", "localhost/committed"),
    ),
    "cp": Case(("cp", f"{SOURCES}/layout", "box:/new"), [CREATE]),
    "rm": Case(("rm", "box"), [("run", "--name", "box", "--network=none", IMAGE, "touch", "/new")], removes=C),
    "rm -f": Case(("rm", "-f", "-t", "0", "box"), live=[SLEEP], removes=C),
    "rename": Case(("rename", "box", "other"), [CREATE], removes=C),
    "rmi": Case(("rmi", "-f", IMAGE_ID), removes=LOADED),
    "tag": Case(("tag", IMAGE, "localhost/other"), effect=("image", "exists", "localhost/other")),
    "untag": Case(("untag", IMAGE), removes=("image", "exists", IMAGE)),
    "volume create": Case(("volume", "create", "v"), effect=("volume", "exists", "v"), undo=("volume", "rm", "v")),
    "volume rm": Case(("volume", "rm", "v"), [("volume", "create", "v")], removes=("volume", "exists", "v")),
    "system prune": Case(
        ("system", "prune", "-f", "-a", "--volumes"), [CREATE, ("volume", "create", "v"), ("commit", "-q", "box")]
    ),
    "login": Case(LOGIN, effect=("login", "--get-login", CLOSED)),
    "logout": Case(("logout", CLOSED), [LOGIN], removes=("login", "--get-login", CLOSED)),
}  # fmt: skip


class Findings:
    """What was wrong after how many points."""

    def __init__(self) -> None:
        self.points = 0
        self.wrong: dict[str, list[str]] = {}
        self.left = 0

    def add(self, kind: str, text: str) -> None:
        """Put down that something was wrong."""
        self.wrong.setdefault(kind, []).append(text)
        print(f"{kind}: {text}", flush=True)

    def number(self, kind: str) -> int:
        """How often something of a kind was wrong."""
        return len(self.wrong.get(kind, []))


class Workshop:
    """A place, what the commands read, and the case that the place is ready for."""

    def __init__(self, where: Place, registry: FakeRegistry, closed: FakeRegistry) -> None:
        self.place = where
        self.cli = where.cli
        self.meaning = {HOST: registry.host, CLOSED: closed.host}
        sources = make_sources(where.base / "sources")
        self.meaning[SOURCES] = str(sources)
        registry.add_image("app", [layer({"first": b"1" * 100_000}), layer({"second": b"2"})])
        where.keep(NONE)
        self.cli.ok("run", "--help")
        self.cli.ok("images")
        where.keep(EMPTY)
        self.meaning[IMAGE_ID] = self.cli.ok("pull", "-q", f"oci:{sources}/layout:latest").strip()
        self.cli.ok("tag", self.meaning[IMAGE_ID], IMAGE)
        self.cli.ok("run", "--rm", IMAGE, "true")  # what is found out once is known from now on
        where.keep(STOCKED)
        self.name = ""
        self.case = Case(())
        self.baseline = 0

    def words(self, words: Sequence[str]) -> list[str]:
        """The words of a command with what stands for something replaced."""
        for name, value in self.meaning.items():
            words = [word.replace(name, value) for word in words]
        return list(words)

    def prepare(self, name: str) -> int:
        """Make the place ready for the case; how many calls of the command, unharmed, count for ``KILL``."""
        if name != self.name:
            self.name, self.case = name, CASES[name]
            self.place.restore(self.case.store)
            for words in self.case.before:
                self.cli.ok(*self.words(words))
            self.place.keep("ready")
        findings = Findings()
        outcome = self.point(0, KILL, findings)
        assert outcome.code == 0 and not findings.wrong, (name, outcome, findings.wrong)
        self.baseline = self.place.used()
        return outcome.calls

    def point(self, number: int, error: int, findings: Findings) -> Outcome:
        """Meet the fault at the call ``number``, and look at what it did."""
        self.place.restore("ready")
        for words in self.case.live:
            self.cli.ok(*self.words(words))
        outcome, running = self.place.run(self.words(self.case.words), number, error)
        left: list[str] | None = None
        if self.case.settles or (error != KILL and not self.case.lives):
            left = running.settle()
        hit = running.hit
        outcome = outcome._replace(hit=hit)
        where = f"{self.name} #{number} {errno.errorcode.get(error, 'KILL')} at {hit}"

        def wrong(kind: str, text: object) -> None:
            findings.add(kind, f"{where}: {text}")

        self._told(outcome, error, wrong)
        # What could not be deleted, or not be on disk in the trash before, is left until the next `system prune`.
        deletes = self.case.words[0] in ("rm", "rmi", "system")
        tolerated = error == KILL or hit.startswith(("unlink", "rmdir", "fsync") if deletes else ("unlink", "rmdir"))
        if error != KILL:
            self._clean(self.place.quick(CHECK)[0], tolerated, wrong)
        else:
            done = self.cli.run("ps", "-a")
            if done.returncode or done.stderr:
                wrong(NEXT, f"ps exits {done.returncode}: {done.stderr}")
        second = self._again(outcome, error, wrong)
        rm, prune = ("rm", "-a", "-f", "-t", "0"), ("system", "prune", "-f")
        check = CHECK if error == KILL else QUICK_CHECK
        before, removed, pruned, after = self.place.quick(check, rm, prune, QUICK_CHECK)
        self._clean(before, tolerated, wrong)
        self._clean(after, False, wrong)
        if removed or pruned:
            wrong(NEXT, f"rm, prune: {removed} {pruned}")
        left = running.settle() if left is None else left
        if left := left + (second.settle() if second else []):
            wrong(PROCESSES, left)
        if hit:
            findings.points += 1
            more = self.place.used() - self.baseline
            if more > 1024:
                print(f"{where}: {more} bytes left")
            findings.left = max(findings.left, more)
        return outcome

    def _clean(self, found: str, tolerated: bool, wrong: Callable[[str, object], None]) -> None:
        """Did ``system check`` find nothing, or, where that is ``tolerated``, only rubbish?"""
        if told := [line for line in found.splitlines() if not (tolerated and is_rubbish(line))]:
            wrong(UNCLEAN, told)

    def _told(self, outcome: Outcome, error: int, wrong: Callable[[str, object], None]) -> None:
        """Was the user told well what happened?"""
        errors = [line for line in outcome.stderr.splitlines() if line.startswith("Error: ")]
        others = [line for line in outcome.stderr.splitlines() if not line.startswith(("Error: ", "hint: "))]
        if outcome.code == -1000:
            wrong(TOLD, f"hangs: {outcome.stderr}")
        elif others or "internal error" in outcome.stderr:
            wrong(TOLD, f"exits {outcome.code}: {outcome.stderr}")
        elif outcome.code > 0 and len(errors) != 1 and (error != KILL or outcome.code != 137):
            wrong(TOLD, f"exits {outcome.code}: {outcome.stderr or 'no word'}")
        elif outcome.code < 0 and (error != KILL or outcome.code != -9):
            wrong(TOLD, f"ends by signal {-outcome.code}")

    def _again(self, outcome: Outcome, error: int, wrong: Callable[[str, object], None]) -> Run | None:
        """The same command succeeds, unless it has already; what then runs."""
        case = self.case
        if case.effect or case.removes:
            images, missing = self.place.quick(("images",), self.words(case.effect or case.removes))
            if images:
                wrong(NEXT, f"images: {images}")
            done = bool(missing) != bool(case.effect)
            if outcome.code == 0 and not done:
                wrong(AGAIN, "it exits 0 and did nothing")
            if done and case.removes:
                return None
            undoes = done and case.undo and (error == KILL or outcome.code == 0 or case.stays)
            if undoes and (told := self.place.quick(case.undo)[0]):
                wrong(AGAIN, f"{' '.join(case.undo)}: {told}")
                return None
        again, running = self.place.run(self.words(case.words), 0)
        if again.code or again.stderr:
            wrong(AGAIN, f"the same command exits {again.code}: {again.stderr}")
        if case.settles:
            running.settle()
        return running


def is_rubbish(finding: str) -> bool:
    """Is what ``system check`` found in nobody's way, until the next ``system prune``?"""
    return finding.startswith("leftover ")


def make_sources(directory: Path) -> Path:
    """What is pulled, loaded and imported: an image of two layers as a layout and as an archive, and its root."""
    directory.mkdir()
    directory.chmod(0o755)
    tree = images.tar_of([
        *(images.directory(name) for name in ("bin", "etc", "dev", "proc", "sys", "run", "tmp")),
        images.file("etc/passwd", b"root:x:0:0:root:/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n"),
        images.file("etc/of-user", b"user's\n", 0o600, 1000, 1000),
        images.file("bin/busybox", Path(str(images.busybox_path())).read_bytes(), 0o755),
        *(images.symlink(f"bin/{name}", "busybox") for name in ("sh", "true", "sleep", "touch", "rm")),
    ])  # fmt: skip
    (directory / "tree.tar").write_bytes(tree)
    layout = images.Layout(directory / "layout")
    second = images.tar_of([images.directory("srv"), images.file("srv/second", b"second\n")])
    layout.add_image("latest", [layout.add_layer(tree), layout.add_layer(second)], {"Cmd": ["sh"]})
    shutil.make_archive(str(directory / "image"), "tar", directory / "layout")
    (directory / "out").mkdir()
    (directory / "out").chmod(0o777)  # for what is saved
    (directory / "image.tgz").write_bytes(gzip.compress((directory / "image.tar").read_bytes(), 1))
    return directory


@pytest.fixture
def workshop() -> Iterator[Workshop]:
    """A workshop with a registry."""
    with FakeRegistry() as registry, FakeRegistry(user="me", password="secret") as closed, place() as where:
        yield Workshop(where, registry, closed)


def sweep(workshop: Workshop, errors: Sequence[int], usual: int) -> Findings:
    """All points of all commands, or so many of them that the dice choose."""
    findings = Findings()
    dice = random.Random(5)
    if NIGHTLY:
        for name in CASES:
            workshop.prepare(name)
            for error in errors:
                begun, first, number = time.monotonic(), findings.points, 0
                while True:
                    number += 1
                    if not workshop.point(number, error, findings).hit:
                        break
                spent = time.monotonic() - begun
                code = errno.errorcode.get(error, "KILL")
                print(f"-- {name} {code}: {findings.points - first} points, {spent:.0f} s", flush=True)
        return findings
    for name in CASES:
        calls = workshop.prepare(name)
        for error in [dice.choice(errors) for _ in range(usual)]:
            # Not all calls can fail so: those beyond the last are no points.
            workshop.point(dice.randint(1, calls // 3 if error == errno.EMFILE else calls), error, findings)
    return findings


def test_killed_at_every_call(workshop: Workshop, figure: Tell) -> None:
    """The next command works, the same one succeeds, the store is clean, no process is left, hardly a byte."""
    findings = sweep(workshop, [KILL], 4)
    said = "kills at a system call that changes a state, after which"
    figure(f"{said} `ps` or `images` failed", "= 0", findings.number(NEXT), of=findings.points)
    figure(f"{said} the same command failed", "= 0", findings.number(AGAIN), of=findings.points)
    figure(f"{said} the store was not clean", "= 0", findings.number(UNCLEAN), of=findings.points)
    figure(f"{said} a process was left", "= 0", findings.number(PROCESSES), of=findings.points)
    figure(f"{said} a survivor told it badly", "= 0", findings.number(TOLD), of=findings.points)
    figure("most that a killed command left after `system prune`", "≤ 1024 KiB", max(0, findings.left) / 1024)


def test_errors_at_every_call(workshop: Workshop, figure: Tell) -> None:
    """The command fails in one line or succeeds nevertheless; the store is clean; the same command succeeds then."""
    findings = sweep(workshop, ERRORS, 4)
    said = "ENOSPC, EDQUOT, EIO, EMFILE, ENOMEM at such a call, after which"
    figure(f"{said} the user was told badly", "= 0", findings.number(TOLD), of=findings.points)
    figure(f"{said} the same command failed", "= 0", findings.number(AGAIN), of=findings.points)
    figure(f"{said} the store was not clean", "= 0", findings.number(UNCLEAN), of=findings.points)
    figure(f"{said} a process was left", "= 0", findings.number(PROCESSES), of=findings.points)
