"""A damaged file of the store or of the running state: told in one line, its neighbours go on, and a repair mends it.

Each file in turn is emptied, filled with NULs, cut in half, given one wrong bit, and removed; the usual run tries some
of these with each file.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import bundles
from tests.support.cli import Cli, entry_point, new_cli
from tests.support.figures import Tell, amount
from tests.support.opener import Opener

pytestmark = [pytest.mark.needs("userns", "subuid", "newuidmap", "busybox"), pytest.mark.timeout(600)]

IMAGE = "localhost/busybox:latest"


def _flip(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes | None]] = {
    "empty": lambda data, dice: b"",
    "NULs": lambda data, dice: bytes(len(data)),
    "half": lambda data, dice: data[: len(data) // 2],
    "bit": _flip,
    "removed": lambda data, dice: None,
}

DATA = (
    "FORMAT_VERSION",
    "images/index.json",
    "index.copy",
    "images/oci-layout",
    "layers/*/layer.json",
    "containers/ONE/container.json",
    "containers/ONE/config.json",
    "containers/ONE/exit.json",
    "containers/ONE/launch.json",
    "containers/ONE/ctr.log",
    "volumes/data/volume.json",
    "events.log",
    "reserve",
    "spare",
    "images.lock",
    "content.lock",
)
"""Files of the store, ONE is a container."""


class Store:
    """A store with two ended containers and a volume, opened by a process that forks for each command."""

    def __init__(self, cli: Cli, opener: Opener) -> None:
        self.cli = cli
        self._opener = opener

    def run(self, *words: str) -> tuple[int, str, str]:
        """One command, which tells of what is wrong in one line and at most a hint."""
        code, output, errors = self._opener.run(self.cli.home, *words)
        told = f"{' '.join(words)} exits {code}: {errors}"
        assert "Traceback" not in errors and "internal error" not in errors, told
        if code == 125:
            lines = [line for line in errors.splitlines() if line.startswith("Error: ")]
            assert len(lines) == 1, told
        return code, output, errors

    def ok(self, *words: str) -> str:
        """A command that must succeed."""
        code, output, errors = self.run(*words)
        assert code == 0, f"{' '.join(words)} exits {code}: {errors}"
        return output

    def again(self) -> str:
        """Make the container that may have been lost; its id."""
        if self.run("container", "exists", "one")[0]:
            self.cli.ok("run", "--name", "one", "-v", "data:/data", IMAGE, "echo", "line")
        return self.ok("inspect", "--format", "{{.Id}}", "one").strip()


@pytest.fixture(scope="module")
def store(busybox_layout: Path) -> Iterator[Store]:
    with new_cli() as cli:
        cli.ok("tag", cli.ok("pull", "--quiet", f"oci:{busybox_layout}:latest").strip(), IMAGE)
        cli.ok("volume", "create", "data")
        cli.ok("run", "--name", "two", IMAGE, "echo", "two")
        opener = Opener([])
        made = Store(cli, opener)
        made.again()
        yield made
        opener.close()
        cli.ok("rm", "-af", "-t", "0")


@pytest.fixture
def restored() -> Iterator[list[tuple[Path, bytes]]]:
    """Files and what they held, for the next test, should this one fail."""
    files: list[tuple[Path, bytes]] = []
    yield files
    for path, data in files:
        if path.parent.is_dir():
            path.write_bytes(data)


def _damage(path: Path, how: str, dice: random.Random) -> bytes:
    """Damage a file as the disk would; what it held."""
    data = path.read_bytes()
    damaged = DAMAGES[how](data, dice) if data or how != "bit" else data
    path.unlink()
    if damaged is not None:
        path.touch(mode=0o600)
        path.write_bytes(damaged)
    return data


@pytest.mark.parametrize("pattern", DATA)
def test_a_damaged_file_of_the_store(
    store: Store, pattern: str, figure: Tell, restored: list[tuple[Path, bytes]]
) -> None:
    dice = random.Random(pattern)
    unhealed: list[object] = []
    tried = dice.sample(sorted(DAMAGES), amount(1, len(DAMAGES)))
    for how in tried:
        one = store.again()
        path = next(store.cli.data.glob(pattern.replace("ONE", one)))
        good = _damage(path, how, dice)
        restored.append((path, good))
        _neighbours_work(store, path.name)
        for words in (("inspect", "one"), ("logs", "one"), ("start", "-a", "one"), ("diff", "one")):
            store.run(*words)
        store.run("system", "check", "--repair")
        code, _, errors = store.run("system", "check", "--repair", "--force")
        if code or store.run("system", "check")[0]:
            if path.name == "FORMAT_VERSION":  # by hand, as the hint says
                assert ("FORMAT_VERSION" in errors or "it has format" in errors) and "hint: " in errors
                path.write_bytes(good)
                continue
            unhealed.append((how, errors, store.run("system", "check")))
            path.write_bytes(good)
        if store.run("container", "exists", "one")[0] == 0:  # which was mended, or had nothing to be mended
            assert store.ok("start", "-a", "one") == "line\n", how
        assert IMAGE.partition(":")[0] in store.ok("images"), how
        assert "data" in store.ok("volume", "ls"), how
    assert unhealed == []
    figure("damaged files of the store that a repair left damaged", "= 0", len(unhealed), of=len(tried))


def _neighbours_work(store: Store, name: str) -> None:
    """Containers, images and volumes other than the one with the file work as ever."""
    if name == "FORMAT_VERSION":
        return
    assert "two" in store.ok("ps", "-a", "--format", "{{.Names}}")
    store.ok("volume", "ls")
    if name == "index.json":
        for words in (("images",), ("run", "--rm", "--pull=never", IMAGE, "true"), ("tag", IMAGE, "localhost/x")):
            code, _, errors = store.run(*words)
            assert code == 0 or "image index" in errors or "image not known" in errors, (words, errors)
    else:
        assert IMAGE.partition(":")[0] in store.ok("images")
        assert store.ok("run", "--rm", "--network=none", IMAGE, "echo", "works") == "works\n"
    assert store.ok("start", "-a", "two") == "two\n"


@pytest.mark.parametrize("how", sorted(DAMAGES.keys() - {"removed"}))
def test_an_end_that_cannot_be_read(store: Store, how: str, restored: list[tuple[Path, bytes]]) -> None:
    """The container has ended, nobody knows how: that is neither success nor a container that was never started."""
    path = store.cli.data / "containers" / store.again() / "exit.json"
    restored.append((path, _damage(path, how, random.Random(how))))
    told = store.ok("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}", "one")
    assert told.startswith("exited 137 its exit.json is damaged")
    assert store.ok("start", "-a", "one") == "line\n"
    assert store.ok("inspect", "--format", "{{.State.ExitCode}} {{.State.Error}}", "one") == "0 \n"


RUN = ("engine/ONE/state.json", "engine/ONE/attach", "driver.json", "locks", "*")
"""Files below the directory of the user's runtime; a directory goes with all that is in it."""


@pytest.mark.parametrize("pattern", RUN)
def test_a_damaged_file_of_the_running_state(store: Store, pattern: str, figure: Tell) -> None:
    """The container goes on, is told of as what it does, and is ended by the usual commands."""
    dice = random.Random(pattern)
    wrong: list[object] = []
    tried = 0
    for how in ["removed", *dice.sample(sorted(DAMAGES.keys() - {"removed"}), amount(1, len(DAMAGES) - 1))]:
        store.ok("rm", "-f", "-t", "0", "up")  # of a test that failed
        one = store.ok("run", "-d", "--name", "up", IMAGE, "sleep", "1000").strip()
        found = store.ok("inspect", "--format", "{{.State.Pid}} {{.State.ConmonPid}}", "up").split()
        for path in sorted((store.cli.home / "run/rootless").glob(pattern.replace("ONE", one))):
            if path.is_file():
                _damage(path, how, dice)
            elif how != "removed":
                continue
            elif path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
            tried += 1
        assert {"two", "up"} <= set(store.ok("ps", "-a", "--format", "{{.Names}}").split())
        told = store.ok("inspect", "--format", "{{.State.Status}} {{.State.Pid}} {{.State.ConmonPid}}", "up").split()
        entered = store.run("exec", "up", "echo", "entered")[:2]
        stopped = store.run("stop", "-t", "0", "up")
        after = store.ok("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "up").strip()
        codes = [store.run(*words)[0] for words in (("start", "up"), ("rm", "-f", "-t", "0", "up"))]
        if (told, entered, after, codes) != (["running", *found], (0, "entered\n"), "exited 137", [0, 0]) or stopped[0]:
            wrong.append((how, told, entered, stopped, after, codes))
        assert not any(map(_lives, map(int, found))), how
        assert store.ok("run", "--rm", "--network=none", IMAGE, "echo", "works") == "works\n", how
        assert store.ok("start", "-a", "two") == "two\n", how
    assert tried
    assert wrong == []
    figure(
        "damaged files of a running container's state after which a command failed or told wrong",
        "= 0",
        len(wrong),
        of=tried,
    )


def _lives(pid: int) -> bool:
    """Whether there is such a process; a zombie is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


OCI_DAMAGES = {
    "pid": (b'"pid":', b'"pid":9', "unknown", False),
    "another bit": (b'"bundle":', b'"bundlf":', "running", True),
    "empty": (None, b"", "unknown", False),
}


@pytest.mark.parametrize("how", OCI_DAMAGES)
def test_a_damaged_state_of_the_runtime(tmp_path: Path, how: str) -> None:
    """Of rootless-oci: the others are listed, and it can be deleted; what cannot be ended is told."""
    old, new, status, found = OCI_DAMAGES[how]
    with new_cli() as cli:
        bundle = tmp_path / "bundle"
        bundle.mkdir()
        bundles.make_root(bundle / "rootfs")
        (bundle / "config.json").write_text(json.dumps(bundles.spec("sleep", "1000")))

        def run(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
            null = subprocess.DEVNULL
            command = [*entry_point("rootless-oci"), *words]
            streams = (null, null) if words[0] == "run" else (subprocess.PIPE, subprocess.PIPE)
            done = subprocess.run(
                command, env=cli.environment, text=True, stdin=null, stdout=streams[0], stderr=streams[1]
            )
            assert done.returncode == code, (words, done.stderr)
            assert words[0] == "run" or "Traceback" not in done.stderr
            return done

        pids = {}
        for name in ("good", "bad"):
            run("run", "--detach", "--bundle", str(bundle), name)
            pids[name] = json.loads(run("state", name).stdout)["pid"]
        (stored,) = (cli.home / "run").rglob("bad/state.json")
        data = stored.read_bytes()
        assert old is None or old in data
        stored.write_bytes(data.replace(old, new) if old else new)
        listed = {each["id"]: each["status"] for each in json.loads(run("list", "--format", "json").stdout)}
        assert listed == {"good": "running", "bad": status}
        assert "state.json: it is damaged" in run("state", "bad", code=125).stderr
        told = run("delete", "--force", "bad", code=0 if found else 125).stderr
        assert found or "cannot end what runs in the container bad" in told
        assert _lives(pids["bad"]) != found
        if not found:
            os.kill(pids["bad"], signal.SIGKILL)
        assert run("list", "--quiet").stdout == "good\n"
        run("delete", "--force", "good")
        assert not _lives(pids["good"])
