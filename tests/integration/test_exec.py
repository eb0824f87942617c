"""`rootless exec`: a further process in a running container, with its user, environment, streams and exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import Cli

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")
IMAGE = "localhost/busybox"


@pytest.fixture(scope="module")
def box(shared_cli: Cli) -> Iterator[Cli]:
    """The program with a container called ``box`` that runs."""
    shared_cli.ok("run", "-d", "--name", "box", "--network=none", "-e", "OWN=1", IMAGE, "sleep", "1000")
    yield shared_cli
    shared_cli.ok("rm", "-f", "-t", "0", "box")


def pids(cli: Cli, words: str, name: str = "box") -> list[str]:
    """The processes of a container whose command line has the ``words``."""
    rows = (line.split(None, 1) for line in cli.ok("exec", name, "ps", "-o", "pid,args").splitlines())
    return [row[0] for row in rows if words in row[1]]


def wait_until(condition: object, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_it_is_in_the_container(box: Cli) -> None:
    """Every namespace is that of the first process, the root and the process tree too."""
    names = "cgroup ipc mnt net pid time user uts"
    script = f"for i in {names}; do readlink /proc/1/ns/$i; done"
    inside = box.ok("exec", "box", "sh", "-c", script)
    own = box.ok("exec", "box", "sh", "-c", script.replace("/1/", "/self/"))
    assert inside == own
    shared = set(own.split()) & {os.readlink(f"/proc/self/ns/{name}") for name in names.split()}
    assert {link.partition(":")[0] for link in shared} == {"time"}
    assert box.ok("inspect", "--format", "{{.Id}}", "box").startswith(box.ok("exec", "box", "hostname").strip())
    assert "sleep" in box.ok("exec", "box", "cat", "/proc/1/cmdline")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (3, ("box", "sh", "-c", "exit 3")),
        (137, ("box", "sh", "-c", "kill -9 $$")),
        (127, ("box", "no-such-command")),
        (127, ("box", "/no/such/command")),
        (126, ("box", "/etc")),
        (126, ("box", "/etc/passwd")),
        (127, ("-w", "/no/such", "box", "true")),
        (126, ("-w", "/etc/passwd", "box", "true")),
        (255, ("-u", "nobody-knows", "box", "true")),
        (255, ("-u", "0:nobody-knows", "box", "true")),
        (255, ("-u", "99999999", "box", "true")),
        (255, ("-u", "4294967296", "box", "true")),
        (255, ("-u", "-1", "box", "true")),
        (125, ("no-such-container", "true")),
        (125, ("box",)),
        (125, ()),
        (125, ("--detach-keys=ctrl-", "-t", "box", "true")),
        (125, ("--preserve-fds=1", "box", "true")),
        (125, ("--preserve-fd=99", "box", "true")),
        (125, ("-l", "--cidfile=/x", "true")),
    ],
)
def test_exit_codes(box: Cli, code: int, words: tuple[str, ...]) -> None:
    """The command's own code; 126 and 127 for what cannot be executed, 255 for a wrong user, 125 for the rest."""
    done = box.run("exec", *words)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert bool(done.stderr) == (code not in (3, 137))


def test_a_container_that_does_not_run(shared_cli: Cli) -> None:
    """Made but not started, started but not let go, ended: 255."""
    shared_cli.ok("create", "--name", "idle", "--network=none", IMAGE, "true")
    try:
        assert "not running" in shared_cli.fails(255, "exec", "idle", "true")
        shared_cli.ok("init", "idle")
        assert "not been started" in shared_cli.fails(255, "exec", "idle", "true")
        shared_cli.ok("start", "idle")
        shared_cli.ok("wait", "idle")
        assert "not running" in shared_cli.fails(255, "exec", "idle", "true")
    finally:
        shared_cli.ok("rm", "-f", "idle")


def test_environment(box: Cli, tmp_path: Path) -> None:
    """The container's own, then files, then flags; nothing else of the caller's."""
    file = tmp_path / "env"
    file.write_text("# comment\nA=file\nB=file\nPICKED\n")
    environment = {"PICKED": "host", "OTHER": "host"}
    done = box.run("exec", "--env-file", str(file), "-e", "B=flag", "-e", "PIC*", "box", "env", env=environment)
    found = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert found.pop("PATH")
    assert found.pop("HOSTNAME")
    assert found == {
        "container": "podman", "OWN": "1", "HOME": "/root", "A": "file", "B": "flag", "PICKED": "host",
    }  # fmt: skip
    assert "TERM=xterm" in box.ok("exec", "-t", "box", "env")
    assert "HOME=/home/user" in box.ok("exec", "-u", "user", "box", "env")


def test_users_and_groups(box: Cli) -> None:
    """By name and number, with the groups that the image's own file has for them; CVE-2022-2989 and its kin."""
    script = "id -u; id -g; id -G"
    assert box.ok("exec", "-u", "user", "box", "sh", "-c", script).split() == ["1000", "1000", "1000", "2000"]
    assert box.ok("exec", "-u", "1000:5", "box", "sh", "-c", script).split() == ["1000", "5", "5"]
    assert box.ok("exec", "-u", "user:extra", "box", "sh", "-c", script).split() == ["1000", "2000", "2000"]
    assert box.ok("exec", "-u", "4711", "box", "sh", "-c", script).split() == ["4711", "0", "0"]
    assert box.ok("exec", "box", "sh", "-c", script).split() == ["0", "0", "0"]


def test_the_containers_own_user_groups_directory_and_mask(shared_cli: Cli) -> None:
    """What ``run`` was told counts for ``exec`` too; --group-add for every user."""
    shared_cli.ok(
        "run", "-d", "--name", "own", "--network=none", "--user=user", "--group-add=7", "--workdir=/srv",
        "--umask=0027", "--ulimit=nofile=77:88", IMAGE, "sleep", "100",
    )  # fmt: skip
    try:
        script = "id -u; pwd; umask; ulimit -n; ulimit -Hn; id -G"
        found = shared_cli.ok("exec", "own", "sh", "-c", script).split()
        assert found[:6] == ["1000", "/srv", "0027", "77", "88", "1000"] and set(found[6:]) == {"7", "2000"}
        assert shared_cli.ok("exec", "-u", "0", "-w", "tmp", "own", "sh", "-c", "id -G; pwd") == "0 7\n/tmp\n"
    finally:
        shared_cli.ok("rm", "-f", "-t", "0", "own")


def test_streams(box: Cli) -> None:
    """Standard input with ``-i`` only; output and errors apart; 10 MiB arrive whole."""
    assert box.ok("exec", "-i", "box", "cat", stdin="typed") == "typed"
    assert box.ok("exec", "box", "cat", stdin="typed") == ""
    done = box.run("exec", "box", "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert len(box.ok("exec", "box", "head", "-c", "10485760", "/dev/zero")) == 10 << 20
    assert box.ok("exec", "-i", "-u", "user", "box", "sh", "-c", "cat > /dev/stdout", stdin="again") == "again"


def test_descriptors(box: Cli, tmp_path: Path) -> None:
    """Those named, under their numbers, and no other (CVE-2024-21626)."""
    script = f"exec 3<{tmp_path} 4</etc/passwd 7</dev/zero 9<{tmp_path}; exec \"$@\""
    listing = "exec box ls /proc/self/fd".split()
    flags = {"": {0, 1, 2}, "--preserve-fds=2": {0, 1, 2, 3, 4}, "--preserve-fd=7": {0, 1, 2, 7},
             "--preserve-fd=3,7": {0, 1, 2, 3, 7}}  # fmt: skip
    for words, expected in flags.items():
        command = box.command(listing[0], *words.split(), *listing[1:])
        done = subprocess.run(
            ["sh", "-c", script, "sh", *command], capture_output=True, text=True, env=box.environment, check=False
        )
        assert done.returncode == 0, done.stderr
        # ls itself opens the directory.
        extra = {int(word) for word in done.stdout.split()} - expected
        assert expected <= {int(word) for word in done.stdout.split()} and len(extra) == 1, (words, done.stdout)


def test_latest_and_cidfile(shared_cli: Cli, box: Cli, tmp_path: Path) -> None:
    """The container by other ways than its name."""
    path = tmp_path / "cid"
    shared_cli.ok("run", "-d", "--name", "last", "--cidfile", str(path), "--network=none", IMAGE, "sleep", "100")
    try:
        for flag in ("--latest", f"--cidfile={path}"):
            name = shared_cli.ok("exec", flag, "hostname").strip()
            assert path.read_text().startswith(name)
        assert shared_cli.ok("exec", path.read_text()[:10], "hostname").strip() == name
        assert "container ID file" in shared_cli.fails(125, "exec", "--cidfile=/no/such", "true")
    finally:
        shared_cli.ok("rm", "-f", "-t", "0", "last")


def test_detached(box: Cli) -> None:
    """The ID of the session at once; it is told as long as it runs, and never after."""
    found = box.ok("exec", "-d", "box", "sh", "-c", "echo $$ > /detached; exec sleep 1000").strip()
    assert len(found) == 64 and int(found, 16)
    again = box.ok("exec", "-d", "-t", "box", "sh", "-c", "tty > /tty; stty size; exec sleep 1001").strip()
    assert sorted(sessions(box)) == sorted([found, again])
    wait_until(lambda: box.ok("exec", "box", "sh", "-c", "cat /tty 2>/dev/null; true").startswith("/dev/pts/"))
    box.ok("exec", "box", "sh", "-c", "kill -9 $(cat /detached)")
    wait_until(lambda: sessions(box) == [again])
    box.ok("exec", "box", "kill", "-9", *pids(box, "sleep 1001"))
    wait_until(lambda: sessions(box) == [])


def sessions(cli: Cli) -> list[str]:
    found: list[str] = json.loads(cli.ok("inspect", "box"))[0]["ExecIDs"]
    return found


def test_detached_output_nobody_reads_holds_nothing_up(box: Cli) -> None:
    """The terminal of a session that was left is read on."""
    box.ok("exec", "-d", "-t", "box", "sh", "-c", "head -c 1000000 /dev/zero; touch /all-said")
    wait_until(lambda: box.run("exec", "box", "test", "-e", "/all-said").returncode == 0)


def test_signals_reach_the_command(box: Cli) -> None:
    """``timeout rootless exec`` ends the command; Ctrl-C does too, behind a shell that waits for another."""
    for number, code in ((signal.SIGTERM, 143), (signal.SIGUSR1, 138), (signal.SIGINT, 130)):
        child = box.popen("exec", "box", "sh", "-c", "echo ready; sleep 1002 >/dev/null 2>&1; echo not ended")
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        wait_until(lambda: len(pids(box, "sleep 1002")) > 1)
        child.send_signal(number)
        out, errors = child.communicate(timeout=10)
        assert (child.returncode, out) == (code, b""), errors
        # A signal other than Ctrl-C's is the command's alone, not that of all it has started.
        left = pids(box, "sleep 1002")
        assert bool(left) == (number != signal.SIGINT)
        if left:
            box.ok("exec", "box", "kill", "-9", *left)


def test_the_caller_is_killed(box: Cli) -> None:
    """The command goes on, as podman's does; the container knows its session."""
    child = box.popen("exec", "box", "sh", "-c", "echo ready; exec sleep 1003")
    assert child.stdout is not None and child.stdout.readline() == b"ready\n"
    child.kill()
    child.wait()
    assert len(sessions(box)) == 1
    box.ok("exec", "box", "kill", "-9", *pids(box, "sleep 1003"))
    child.communicate()
    wait_until(lambda: sessions(box) == [])


def test_the_container_ends_meanwhile(shared_cli: Cli) -> None:
    """The command ends with it, by SIGKILL."""
    shared_cli.ok("run", "-d", "--name", "short", "--network=none", IMAGE, "sleep", "1000")
    child = shared_cli.popen("exec", "short", "sh", "-c", "echo ready; exec sleep 1000")
    assert child.stdout is not None and child.stdout.readline() == b"ready\n"
    shared_cli.ok("rm", "-f", "-t", "0", "short")
    assert child.wait(timeout=10) == 137
    child.communicate()


@pytest.mark.parametrize(
    "options",
    [
        "--init", "--privileged", "--pid=host", "--network=host", "--read-only", "--userns=keep-id", "--userns=nomap",
        "--uidmap=0:1:1000 --gidmap=0:1:1000", "--ipc=host --uts=host", "--cgroupns=host", "--rm", "--init --rm",
        "--security-opt=seccomp=unconfined", "--hardened", "--user=user --cap-add=net_raw", "--pid=host --init",
    ],
)  # fmt: skip
def test_containers_of_every_kind(shared_cli: Cli, options: str) -> None:
    """The command has the ids, namespaces and confinement that the container's own program has."""
    show = "grep -E 'Uid|Gid|Groups|Cap|NoNew|Seccomp:|Umask' /proc/self/status; cat /proc/self/oom_score_adj"
    show += "; cat /proc/self/limits"
    show += "; readlink /proc/self/ns/*; env | grep -v ^SHLVL | sort"
    network = [] if "network" in options else ["--network=none"]
    shared_cli.ok(
        "run", "-d", "--name", "kind", *network, *options.split(), IMAGE,
        "sh", "-c", f"({show}) > /dev/shm/own; sleep 1000",
    )  # fmt: skip
    try:
        wait_until(lambda: shared_cli.run("exec", "kind", "test", "-s", "/dev/shm/own").returncode == 0)
        own = shared_cli.ok("exec", "kind", "cat", "/dev/shm/own").splitlines()
        found = shared_cli.ok("exec", "kind", "sh", "-c", show).splitlines()
        assert found == own
        assert shared_cli.ok("exec", "-t", "kind", "tty").startswith("/dev/pts/")
    finally:
        shared_cli.ok("rm", "-f", "-t", "0", "kind")


def test_a_container_in_the_foreground_and_one_started_again(shared_cli: Cli) -> None:
    """``exec`` needs no monitor; after a restart it goes to the new process."""
    child = shared_cli.popen("run", "--rm", "--network=none", "--name", "front", IMAGE, "sleep", "1000")
    wait_until(lambda: shared_cli.run("exec", "front", "true").returncode == 0)
    assert shared_cli.ok("exec", "front", "cat", "/proc/1/comm") == "sleep\n"
    child.terminate()
    shared_cli.run("rm", "-f", "-t", "0", "front")
    child.communicate(timeout=10)
    shared_cli.ok("run", "-d", "--name", "again", "--network=none", IMAGE, "sh", "-c", "echo $$; sleep 1000")
    try:
        shared_cli.ok("exec", "-d", "again", "sleep", "1000")
        shared_cli.ok("restart", "-t", "0", "again")
        assert json.loads(shared_cli.ok("inspect", "again"))[0]["ExecIDs"] == []
        assert len(pids(shared_cli, "sleep 1000", "again")) == 1
    finally:
        shared_cli.ok("rm", "-f", "-t", "0", "again")


def test_nothing_is_left(box: Cli) -> None:
    """No process, no file."""
    before = set(os.listdir("/proc"))
    run = Path(box.environment["XDG_RUNTIME_DIR"])
    files = sorted(path for path in run.rglob("*") if path.name != "exec")
    for _ in range(5):
        box.ok("exec", "box", "true")
    box.fails(127, "exec", "box", "no-such-command")
    box.fails(255, "exec", "-u", "nobody-knows", "box", "true")
    assert sorted(path for path in run.rglob("*") if path.name != "exec") == files
    for name in set(os.listdir("/proc")) - before:
        try:
            command = Path(f"/proc/{name}/cmdline").read_bytes()
        except OSError:
            continue
        assert str(box.home).encode() not in command


def test_events(box: Cli) -> None:
    """The begin and the end of a session are told, with its exit code."""
    box.run("exec", "box", "sh", "-c", "exit 9")
    lines = box.ok("events", "--stream=false", "--format", "json", "--filter", "container=box").splitlines()
    told = [json.loads(line) for line in lines[-2:]]
    assert [event["Status"] for event in told] == ["exec", "exec_died"]
    assert told[1]["ContainerExitCode"] == 9
