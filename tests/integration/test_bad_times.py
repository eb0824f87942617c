"""Things that go wrong on the way: damaged records, a full disk, closed streams, kills, two commands at once."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.registry import FakeRegistry, Reply, layer
from tests.integration.test_run_flags import IMAGE
from tests.support.cli import Cli
from tests.support.images import IN_USERNS
from tests.support.refusal import check, processes, refused, snapshot

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")
NONE = "--network=none"
RUN = ("run", "--rm", NONE, IMAGE)
DAMAGE = (b"", b"{", b"garbage", b"[]", b"{}", b"null", bytes(4096), b"\xff\xfe", b'{"a":' + b"[" * 5000, None)


@pytest.fixture
def store(cli: Cli, busybox_layout: Path) -> Cli:
    """A store of its own, for it is going to be damaged."""
    image = cli.ok("pull", "--quiet", f"oci:{busybox_layout}:latest").strip()
    cli.ok("tag", image, IMAGE)
    return cli


@pytest.fixture(autouse=True)
def _clean(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "shared_cli" in request.fixturenames:
        request.getfixturevalue("shared_cli").ok("rm", "-af")


def damaged(path: Path) -> Iterator[bytes | None]:
    """Damage a file in every way, one after the other; then mend it."""
    whole = path.read_bytes()
    for data in DAMAGE:
        path.unlink(missing_ok=True)
        if data is not None:
            path.write_bytes(data)
        yield data
    path.write_bytes(whole)
    path.chmod(0o600)


# Damaged records


def test_damaged_container(store: Cli) -> None:
    store.ok("create", NONE, "--name=good", IMAGE, "true")
    bad = store.ok("create", NONE, "--name=bad", IMAGE, "true").strip()
    store.ok("start", "-a", "bad")
    directory = store.data / "containers" / bad
    for name in ("config.json", "launch.json", "container.json"):
        for _ in damaged(directory / name):
            error = check(store.run("start", "-a", "bad"), 125)
            assert bad[:12] in error and "hint: " in error and (name in error or "record" in error)
            assert "good" in store.ok("ps", "-a", "--format", "{{.Names}}")
        assert store.ok("start", "-a", "good") == store.ok("start", "-a", "bad") == ""
    assert store.ok(*RUN, "echo", "well") == "well\n"


def test_damaged_store(store: Cli) -> None:
    store.ok("volume", "create", "other")
    store.ok("volume", "create", "v")
    for _ in damaged(store.data / "images/index.json"):
        assert "image index" in check(store.run(*RUN, "true"), 125)
        assert store.ok("ps", "-q") == ""
    for data in damaged(store.data / "FORMAT_VERSION"):
        if data is not None:
            assert "FORMAT_VERSION" in check(store.run("ps", "-q"), 125)
    for _ in damaged(store.data / "volumes/v/volume.json"):
        assert "volume v" in refused(store, 125, "volume", "inspect", "v", stdout="[]\n")
        assert "volume v" in check(store.run("run", "--rm", NONE, "-v", "v:/v", IMAGE, "true"), 125)
        assert store.ok("volume", "ls", "-q") == "other\n"
    for _ in damaged(store.home / "run/rootless/driver.json"):
        assert store.ok(*RUN, "echo", "well") == "well\n"
    assert store.ok("system", "check") == ""


def test_damaged_image(store: Cli) -> None:
    blobs = store.data / "images/blobs/sha256"
    manifest = json.loads((store.data / "images/index.json").read_bytes())["manifests"][0]["digest"][7:]
    config = json.loads((blobs / manifest).read_bytes())["config"]["digest"][7:]
    store.ok("create", NONE, "--name=c", IMAGE, "true")
    for digest in (manifest, config):
        for _ in damaged(blobs / digest):
            error = check(store.run(*RUN, "true"), 125)
            assert digest in error or "localhost/busybox" in error
            assert store.ok("ps", "-a", "--format", "{{.Names}}") == "c\n"


# No space, no right to write


def in_userns(cli: Cli, script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script as root of a user namespace with mounts of its own; ``$R`` is the program."""
    environment = {**cli.environment, "R": shlex.join(cli.command()), "DATA": str(cli.home / "data")}
    command = [*IN_USERNS, "sh", "-c", script]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("size", ["8k", "40k", "200k", "1m", "3m", "10m"])
def test_pull_to_a_full_disk(cli: Cli, busybox_layout: Path, size: str) -> None:
    script = f"mount -t tmpfs -o size={size} none /mnt; exec $R --root /mnt/r pull -q oci:{busybox_layout}:latest"
    assert "free some space" in check(in_userns(cli, script), 125)


def test_work_on_a_full_disk(cli: Cli, busybox_layout: Path) -> None:
    script = f"""mount -t tmpfs -o size=40m none /mnt; R="$R --root /mnt/r"
        image=$($R pull -q oci:{busybox_layout}:latest); $R tag $image {IMAGE}
        fill() {{ dd if=/dev/zero of=/mnt/fill bs=4k 2>/dev/null; }}
        fill; find /mnt | sort > /dev/shm/$$
        for command in "create {NONE} {IMAGE} true" "{" ".join(RUN)} true" "run {NONE} {IMAGE} true" \\
            "volume create v" "tag $image new" "run --rm {NONE} -v vol:/x {IMAGE} true"
        do
            $R $command; code=$?
            [ $code = 125 ] || echo "$command exits $code" >&2
            find /mnt | sort | diff /dev/shm/$$ - >&2
        done
        rm /dev/shm/$$
        $R ps -aq; $R images -q | head -c 0
        rm /mnt/fill; fill; $R rmi -f $image >/dev/null; echo rmi $?"""
    done = in_userns(cli, script)
    assert done.stdout == "rmi 0\n"
    lines = done.stderr.splitlines()
    assert len(lines) == 12
    for error, hint in zip(lines[0::2], lines[1::2], strict=True):
        assert error.startswith("Error: cannot write ") and "No space left" in error and "free some space" in hint


def test_a_container_that_fills_the_disk(cli: Cli, busybox_layout: Path) -> None:
    script = f"""mount -t tmpfs -o size=40m none /mnt; R="$R --root /mnt/r"
        image=$($R pull -q oci:{busybox_layout}:latest)
        $R run {NONE} $image sh -c 'dd if=/dev/zero of=/big 2>/dev/null; exit 3'; echo $?
        $R ps -a --format '{{{{.Status}}}}' | cut -c 1-10
        $R system prune -f >/dev/null; df --output=avail -m /mnt | tail -n 1"""
    done = in_userns(cli, script)
    assert done.stderr == ""
    code, status, free = done.stdout.splitlines()
    assert (code, status) == ("3", "Exited (3)") and int(free) > 30


def test_read_only_store(store: Cli) -> None:
    commands = (f"create {NONE} {IMAGE} true", f"tag {IMAGE} new", f"rmi -f {IMAGE}", "volume create v")
    make_read_only = "mount --bind $DATA $DATA && mount -o remount,bind,ro $DATA &&"
    for command in (*commands, "system prune -f"):
        done = in_userns(store, f"{make_read_only} exec $R {command}")
        done.stderr = "\n".join(line for line in done.stderr.splitlines() if not line.startswith("cannot lock"))
        assert "mounted read-only" in check(done, 125)
    assert in_userns(store, f"{make_read_only} $R images -q").stdout == store.ok("images", "-q")


# Streams


def shell(cli: Cli, command: str, redirection: str) -> tuple[int, str, str]:
    """Exit code, output and errors of the program under a shell with redirections."""
    line = f"{shlex.join(cli.command())} {command} {redirection}"
    done = subprocess.run(
        ["bash", "-c", f"{line}; exit ${{PIPESTATUS[0]}}"],
        env=cli.environment, input="in\n", capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


PRINTING = ("images", "ps -a", "info", "--help", "run --help", f"inspect {IMAGE}", "version", f"history {IMAGE}")


@pytest.mark.parametrize("command", PRINTING)
def test_output_that_cannot_be_written(shared_cli: Cli, command: str) -> None:
    for redirection, reason in ((">&-", "Bad file descriptor"), (">/dev/full", "No space left on device")):
        code, _, error = shell(shared_cli, command, redirection)
        assert (code, error) == (125, f"Error: cannot write to standard output: {reason}\n")
    assert shell(shared_cli, command, "| head -c 0") == (141, "", "")
    assert shell(shared_cli, command, "2>&-")[0] == 0
    assert shell(shared_cli, command, "<&-")[0] == 0


def test_closed_streams_of_a_container(shared_cli: Cli) -> None:
    run = f"run --rm {NONE}"
    listing = f"{run} -i {IMAGE} ls -l /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2"
    for redirection in ("<&-", "<&- 2>&-", "2>&-"):
        code, output, _ = shell(shared_cli, listing, redirection)
        assert code == 0 and str(shared_cli.home) not in output, "a file of the store is a stream of the container"
    code, _, error = shell(shared_cli, f"{run} -i {IMAGE} sh -c 'ls -l /proc/self/fd/ >&2'", ">&- <&-")
    assert code == 0 and str(shared_cli.home) not in error and "rootless" not in error
    assert shell(shared_cli, f"{run} {IMAGE} sh -c 'echo out; exit 3'", ">&-")[0] == 3
    assert shell(shared_cli, "run --pull=never nosuch:1", "2>&-") == (125, "", "")
    assert shell(shared_cli, "run --pull=never nosuch:1", "2>/dev/full") == (125, "", "")


# Kills

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def interrupted(cli: Cli, number: signal.Signals, seconds: float, *arguments: str, lives_on: bool = False) -> None:
    """Send a signal to a command after a while. It says nothing of its own, and nothing of it runs on unless it may."""
    child = cli.popen(*arguments)
    time.sleep(seconds)
    child.send_signal(number)
    if number != signal.SIGKILL:
        try:
            child.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            child.kill()  # it was passed on to a program that does not heed it
    _, error = child.communicate(timeout=10)
    # Before the program's own code runs, Python itself answers Ctrl-C with a traceback.
    error = re.sub(rb'File "[^"]*rootless/__main__.py", line \d+, in <module>\n +import os\n', b"", error)
    assert b"rootless/" not in error and b"storage/" not in error and b"internal" not in error, error
    if not lives_on:
        nothing_runs(cli)


def nothing_runs(cli: Cli) -> None:
    """Every process of this user's commands ends."""
    deadline = time.monotonic() + 5
    while processes(cli) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert processes(cli) == []


def pruned_size(cli: Cli) -> int:
    """What is left in the store after a prune, in KiB."""
    cli.ok("system", "prune", "-af", "--volumes")
    done = subprocess.run(["du", "-sk", cli.data], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


def test_killed_pull(cli: Cli) -> None:
    empty = pruned_size(cli)
    with FakeRegistry() as fake:
        tars = [layer({f"{number}-{name}": os.urandom(500_000) for name in range(8)}) for number in range(3)]
        fake.add_image("big", tars)
        command = ("pull", "-q", "--tls-verify=false", f"{fake.host}/big")
        for number in SIGNALS:
            for seconds, rate in ((0.25, 2e6), (0.22, 0.0)):
                fake._scripted.clear()
                fake.script("/blobs/", Reply(rate=rate), 10)
                interrupted(cli, number, seconds, *command)
                cli.run("rmi", "-af")
        assert pruned_size(cli) <= empty + 1024
        fake._scripted.clear()
        assert len(cli.ok(*command).strip()) == 64
    assert cli.ok("system", "check") == ""


@pytest.mark.parametrize("number", SIGNALS)
def test_killed_run(store: Cli, number: signal.Signals) -> None:
    before = snapshot(store)
    # Without --rm the container has a monitor, and lives on without its caller once it has begun.
    for options, lives_on in ((["--rm"], False), ([], True)):
        for milliseconds in (20, 30, 40, 60, 100, 200):
            run = ("run", *options, NONE, "--name=r", IMAGE, "sleep", "60")
            interrupted(store, number, milliseconds / 1000, *run, lives_on=lives_on)
            names = store.ok("ps", "-a", "--format", "{{.Names}}").split()
            assert set(names) <= {"r"}
            if names:
                assert store.ok("run", "--replace", "--rm", NONE, "--name=r", IMAGE, "echo", "next") == "next\n"
            store.ok("rm", "-f", "-t", "0", "r")
            nothing_runs(store)
    time.sleep(1.1)
    assert store.ok("ps", "-aq") == ""
    store.ok("system", "prune", "-f")
    assert snapshot(store) == before


@pytest.mark.parametrize("number", SIGNALS)
def test_killed_create(store: Cli, number: signal.Signals) -> None:
    store.ok("volume", "create", "kept")
    before = snapshot(store)
    for milliseconds in (20, 30, 40, 50, 60):
        interrupted(store, number, milliseconds / 1000, "create", NONE, "-v", "/anonymous", "--name=c", IMAGE, "true")
        assert store.ok("ps", "-a", "--format", "{{.Names}}") in ("", "c\n")
        assert len(store.ok("create", "--replace", NONE, "--name=c", IMAGE, "true")) == 65
        store.ok("rm", "-f", "-v", "c")
    store.ok("system", "prune", "-f")
    left = {path for path, _ in snapshot(store) ^ before if "/volumes/" not in path}
    assert left == set()


def test_the_name_of_a_killed_run_is_free_again(store: Cli) -> None:
    for milliseconds in range(25, 60, 3):
        interrupted(store, signal.SIGKILL, milliseconds / 1000, "run", "--rm", NONE, "--name=r", IMAGE, "sleep", "60")
        if (store.data / "names/r").is_symlink():
            time.sleep(1.1)  # whoever claims a name is given a second to begin
            assert store.ok("run", "--rm", NONE, "--name=r", IMAGE, "echo", "next") == "next\n"


# Two at once


def together(cli: Cli, *commands: tuple[str, ...]) -> list[int]:
    """Exit codes of commands that run at the same time; every failure is one of words."""
    children = [cli.popen(*command) for command in commands]
    for child in children:
        error = child.communicate(timeout=30)[1].decode()
        assert child.returncode in (0, 1, 2, 125) and "internal" not in error and "Traceback" not in error, error
        assert child.returncode == 0 or error.startswith("Error: ")
    return [child.returncode for child in children]


def test_two_commands_on_one_name(shared_cli: Cli) -> None:
    before = snapshot(shared_cli)
    for _ in range(3):
        run = ("run", "--rm", NONE, "--name=r", IMAGE, "sleep", "2")
        assert sorted(together(shared_cli, run, run, run)) == [0, 125, 125]
        create = ("create", NONE, "--name=r", IMAGE, "sleep", "1.5")
        assert sorted(together(shared_cli, create, create, create)) == [0, 125, 125]
        start = ("start", "-a", "r")
        assert together(shared_cli, start, start, start) == [0, 0, 0]  # whoever comes later finds it running
        assert 0 in together(shared_cli, ("rm", "r"), ("rm", "r"), ("rm", "-f", "r"))
        assert 0 in together(shared_cli, *([("create", "--replace", NONE, "--name=r", IMAGE, "true")] * 3))
        shared_cli.ok("rm", "-f", "r")
    assert snapshot(shared_cli) == before
