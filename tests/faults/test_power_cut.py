"""Power cuts: what commands wrote is recorded, and thousands of states that a cut may leave are opened.

The model of a cut is in :mod:`tests.support.crash_log`. In every state each image that is listed has the bytes of its
digests and its layers file by file, each object from before is there, and what a command had done before it ended;
nothing has to be mended by hand.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support import crash_log, images
from tests.support.cli import new_cli
from tests.support.crash_log import Log, Tree
from tests.support.figures import Tell, amount
from tests.support.of_user import OfUser
from tests.support.opener import Opener

pytestmark = [
    pytest.mark.as_root, pytest.mark.needs("busybox", "strace"), pytest.mark.timeout(amount(usual=400, nightly=7200)),
]  # fmt: skip

STATES = amount(usual=300, nightly=2400)
WHOLE = 40  # of so many states one is opened by the checks and by a run, too


class Recorded(NamedTuple):
    """A command, its log, and what it may take away or must have brought: ``kind:name``."""

    words: tuple[str, ...]
    log: Log
    takes: tuple[str, ...]
    brings: tuple[str, ...]


def _busybox(cli: OfUser) -> images.Layout:
    path = images.busybox_path()
    assert path is not None
    layout = images.Layout(cli.home / "layout")
    first = images.tar_of([
        *(images.directory(name) for name in ("bin", "dev", "etc", "proc", "run", "sys", "tmp", "usr", "var")),
        images.file("bin/busybox", Path(path).read_bytes(), 0o755),
        *(images.symlink(f"bin/{name}", "busybox") for name in ("sh", "echo", "sleep", "true", "cat")),
        *(images.file(f"usr/{n}", b"%d" % n * (500 * n), 0o644) for n in range(8)),
    ])  # fmt: skip
    second = images.tar_of([images.directory("srv"), images.file("srv/file", b"second" * 999)])
    base = layout.add_layer(first)
    layout.add_image("latest", [base, layout.add_layer(second)], {"Cmd": ["sh"]})
    third = images.tar_of([images.directory("opt"), images.file("opt/file", b"third" * 999)])
    saved = images.Layout(cli.home / "saved")
    saved.add_image("localhost/other:latest", [saved.add_layer(third)], {"Cmd": ["sh"]})
    with tarfile.open(cli.home / "saved.tar", "w") as archive:
        archive.add(saved.directory, ".")
    return layout


def _record(cli: OfUser, words: tuple[str, ...]) -> Log:
    log = Log(cli.data)
    trace = cli.home / "trace"
    # Several commands are one recording: a monitor that one of them leaves is traced until another has ended it.
    script = " && ".join(f'"$@" {words}' for words in " ".join(words).split(" && "))
    cli.before = [*crash_log.tracer(trace), "sh", "-c", script, "sh"]
    cli.ok(timeout=120)
    cli.before = ()
    log.read(trace)
    _assert_complete(log)
    return log


def _assert_complete(log: Log) -> None:
    """The steps, all of them done, make the tree that is there."""
    made = Log(log.top)
    paths = {number: _path(log.names, number) for number in set(log.names.values())}
    told = {paths[number]: log.contents.get(number) for number in paths}
    there = {_path(made.names, number): made.contents.get(number) for number in set(made.names.values())}
    for name in ("reserve",):
        told.pop(name, None), there.pop(name, None)  # noqa: B018
    differing = sorted(path for path in told.keys() | there.keys() if told.get(path) != there.get(path))
    assert differing == [], differing[:9]


def _path(names: dict[tuple[int, str], int], number: int) -> str:
    parts: list[str] = []
    by_inode = {found: place for place, found in names.items()}
    while number != crash_log.ROOT:
        parent, name = by_inode.get(number, (crash_log.ROOT, "(gone)"))
        parts.insert(0, name)
        number = parent
    return "/".join(parts)


@pytest.fixture(scope="module")
def recorded() -> Iterator[tuple[OfUser, list[Recorded]]]:
    """The commands, one after the other, each recorded."""
    with new_cli() as made:
        cli = OfUser(made.home)
        layout = _busybox(cli)
        tar = cli.home / "root.tar"
        tar.write_bytes(images.tar_of([images.directory("etc"), images.file("etc/imported", b"imported" * 300)]))
        subprocess.run(["chown", "-R", cli.owner, str(cli.home)], check=True)
        cli.ok("images")  # makes the store
        done = []

        def record(*words: str, takes: tuple[str, ...] = (), brings: tuple[str, ...] = ()) -> None:
            done.append(Recorded(words, _record(cli, words), takes, brings))

        latest, other = "localhost/base:latest", "localhost/other:latest"
        record("pull", "--quiet", f"oci:{layout.directory}:latest", brings=("image:",))
        found = json.loads(cli.ok("images", "--format", "json"))[0]
        record("tag", found["Id"], latest, brings=(f"image:{latest}",))
        record("load", "--quiet", "-i", str(cli.home / "saved.tar"), brings=(f"image:{other}",))
        record("import", "--quiet", str(tar), "localhost/imported:1", brings=("image:localhost/imported:1",))
        record("volume", "create", "data", brings=("volume:data",))
        record("create", "--name", "made", latest, "true", brings=("container:made",))
        record("commit", "--quiet", "made", "localhost/committed:1", brings=("image:localhost/committed:1",))
        running = f"run -d --name runs {latest} sleep 1000 && stop -t 0 runs"
        record(*running.split(), brings=("container:runs",))
        record("rm", "made", takes=("container:made",))
        record("rmi", other, takes=(f"image:{other}",))
        record("volume", "rm", "data", takes=("volume:data",))
        cli.ok("create", "--name", "last", latest, "true")
        cli.ok("volume", "create", "kept")
        cli.ok("untag", "localhost/committed:1")
        record("system", "prune", "-f", takes=("container:last", "container:runs", "image:"))
        yield cli, done


class Opened:
    """States written to a directory and opened there."""

    def __init__(self, cli: OfUser, home: Path, opener: Opener) -> None:
        self.home = home
        self.opened = 0
        self.wrong: list[str] = []
        self._cli = cli
        self._opener = opener

    def open(self, step: Recorded, moment: int, tree: Tree, seed: str) -> None:
        """Open one state, and put down what is wrong with it."""
        data = self.home / "data/rootless"
        for path in (data, self.home / "run"):
            shutil.rmtree(path, ignore_errors=True)
        owner = (self._cli.user.pw_uid, self._cli.user.pw_gid)
        crash_log.make(step.log, tree, data, owner)
        (self.home / "run").mkdir(mode=0o700)
        os.chown(self.home / "run", *owner)
        self.opened += 1
        problems = self._trusted(data, step.log)
        there = self._listed(data, problems)
        needed = set(_objects(step.log.before)) - set(step.takes)
        if moment == len(step.log.steps):
            needed |= set(step.brings)
        problems += [f"{name} is lost" for name in needed if not any(name in found for found in there)]
        if self.opened % WHOLE == 0:
            problems += self._whole()
        self.wrong += [f"{' '.join(step.words)} {seed} at {moment}: {problem}" for problem in problems]

    def _run(self, *words: str) -> tuple[int, str, str]:
        return self._opener.run(self.home, *words)

    def _listed(self, data: Path, problems: list[str]) -> list[str]:
        """What the program lists, as kind:name; ``problems`` gets what it cannot."""
        there: list[str] = []
        for kind, words in (("image", ("images",)), ("container", ("ps", "-a")), ("volume", ("volume", "ls"))):
            code, output, errors = self._run(*words, "--format", "json")
            if code or errors:
                problems.append(f"{' '.join(words)} exits {code}: {errors}")
                continue
            for each in json.loads(output) or ():
                names = each.get("Names") or each.get("Name") or [""]
                there += [f"{kind}:{name}" for name in ([names] if isinstance(names, str) else names)]
                if kind == "image":
                    problems += self._image(data, each["Id"])
        return there

    def _image(self, data: Path, image_id: str) -> list[str]:
        """A listed image has its blobs and its layers; what each is worth :meth:`_trusted` has looked at."""
        blobs = data / "images/blobs/sha256"
        index = json.loads((data / "images/index.json").read_bytes())
        found = []
        for entry in index["manifests"]:
            if entry["annotations"]["rootless.image.id"] != image_id:
                continue
            manifest = json.loads((blobs / entry["digest"].partition(":")[2]).read_bytes())
            parts = [manifest["config"], *manifest["layers"]]
            found += [f"{image_id} has no blob {part['digest']}" for part in parts
                      if not (blobs / part["digest"].partition(":")[2]).is_file()]
            config = json.loads((blobs / manifest["config"]["digest"].partition(":")[2]).read_bytes())
            found += [f"{image_id} has no layer {layer}" for layer in config["rootfs"]["diff_ids"]
                      if not (data / "layers" / layer.partition(":")[2]).is_dir()]
        return found

    def _trusted(self, data: Path, log: Log) -> list[str]:
        """Whatever has its final name is taken to be whole by the commands, so it must be."""
        wrong = [
            f"wrong bytes in blob {path.name}" for path in (data / "images/blobs/sha256").glob("[0-9a-f]*")
            if hashlib.sha256(path.read_bytes()).hexdigest() != path.name]  # fmt: skip
        for layer in (data / "layers").glob("*"):
            expected = _layer(log, layer.name)
            there = {
                str(path.relative_to(layer)): path.read_bytes() if path.is_file() and not path.is_symlink() else None
                for path in layer.rglob("*")}  # fmt: skip
            if there != expected:
                wrong.append(f"wrong bytes in layer {layer.name[:12]}")
        return wrong

    def _whole(self) -> list[str]:
        """The checks are clean but for what a sweep takes, nothing is to be mended by hand, and a container runs."""
        problems = []
        code, output, errors = self._run("system", "check")
        lines = [line for line in output.splitlines() if not line.startswith(("leftover ", "name ", "link "))]
        if lines or "Traceback" in errors:
            problems.append(f"system check: {lines} {errors}")
        self._run("system", "check", "--repair")
        code, output, errors = self._run("system", "check")
        if code:
            problems.append(f"system check after a repair: {output} {errors}")
        names = self._run("images", "--format", "{{.Repository}}:{{.Tag}}")[1]
        code, output, errors = self._run("run", "--rm", "--network=none", "localhost/base:latest", "echo", "works")
        if output != "works\n" and "localhost/base:latest" in names:
            problems.append(f"run: {code} {output} {errors}")
        return problems


def _objects(tree: Tree) -> list[str]:
    """What is in a store from before, as kind:name; nothing of it may be lost."""
    names, top = tree.names, crash_log.ROOT
    found = []
    for (parent, name), number in names.items():
        if parent == names.get((top, "volumes")):
            found.append(f"volume:{name}")
        elif parent == names.get((top, "containers")):
            record = json.loads(tree.contents[names[number, "container.json"]])
            found.append(f"container:{record['name']}")
    index: Any = json.loads(tree.contents[names[names[top, "images"], "index.json"]])
    for entry in index["manifests"]:
        found.append(f"image:{entry['annotations'].get('org.opencontainers.image.ref.name', '')}")
    return found


def _layer(log: Log, key: str) -> dict[str, bytes | None]:
    """What is in a layer, which never changes, from the first or the last of a log."""
    for tree in (log.before, Tree(log.names, log.contents)):
        top = tree.names.get((tree.names[crash_log.ROOT, "layers"], key))
        if top is not None:
            found: dict[str, bytes | None] = {}
            _collect(tree, top, "", found)
            return found
    return {}


def _collect(tree: Tree, number: int, prefix: str, found: dict[str, bytes | None]) -> None:
    for (parent, name), child in tree.names.items():
        if parent == number:
            found[prefix + name] = tree.contents.get(child)
            _collect(tree, child, f"{prefix}{name}/", found)


@pytest.fixture
def opened(recorded: tuple[OfUser, list[Recorded]]) -> Iterator[Opened]:
    """A place for states, in memory."""
    cli = recorded[0]
    with new_cli() as made:
        home = made.home
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m,mode=0700", "states", str(home)], check=True)
        _prepare(cli, home)
        identity = [f"--reuid={cli.user.pw_uid}", f"--regid={cli.user.pw_gid}", "--init-groups"]
        opener = Opener(["env", "--chdir=/", "setpriv", *identity])
        yield Opened(cli, home, opener)
        opener.close()
        subprocess.run(["umount", "--lazy", str(home)], check=True)


def _prepare(cli: OfUser, home: Path) -> None:
    for path in (home, *(home / name for name in ("data", "config", "cache"))):
        path.mkdir(mode=0o700, exist_ok=True)
        os.chown(path, cli.user.pw_uid, cli.user.pw_gid)


def test_states_after_power_cuts(
    recorded: tuple[OfUser, list[Recorded]], opened: Opened, figure: Tell
) -> None:
    steps = recorded[1]
    for number in range(STATES):
        step = steps[number % len(steps)]
        # Of each command one state in ten is from after its end: what it did is there to stay.
        end = len(step.log.steps) if number // len(steps) % 10 == 0 else None
        opened.open(step, *step.log.cut(random.Random(number), end), f"seed {number}")
    print("\n".join(opened.wrong[:20]))
    figure("states after a power cut that were opened", f"≥ {STATES}", opened.opened)
    figure("states after a power cut with wrong bytes or something lost", "= 0", len(opened.wrong), of=opened.opened)
