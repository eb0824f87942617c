"""Containers that live on without their caller: begun, watched, ended and begun again from other commands."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_run_flags import IMAGE
from tests.support.cli import Cli
from tests.support.images import busybox_path

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")
NONE = "--network=none"


@pytest.fixture(autouse=True)
def _clean(shared_cli: Cli) -> Iterator[None]:
    yield
    shared_cli.ok("rm", "-af", "-t", "0")
    assert os.listdir(shared_cli.home / "run" / "rootless" / "engine") == []


def begin(cli: Cli, *arguments: str) -> str:
    """The id of a detached container."""
    found = cli.ok("run", "-d", NONE, *arguments).strip()
    assert len(found) == 64
    return found


def about(cli: Cli, name: str) -> dict[str, Any]:
    """What inspect says of a container."""
    found: list[dict[str, Any]] = json.loads(cli.ok("inspect", name))
    return found[0]


def state(cli: Cli, name: str) -> str:
    return str(about(cli, name)["State"]["Status"])


def log(cli: Cli, name: str) -> str:
    """What the container wrote, without times; the monitor makes the file when there is something to write."""
    path = cli.data / "containers" / str(about(cli, name)["Id"]) / "ctr.log"
    if not path.exists():
        return ""
    return "".join(line.split(" ", 3)[3] + "\n" for line in path.read_text().splitlines())


def eventually(condition: Callable[[], object], what: str, seconds: float = 20) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_it_runs_on_and_is_stopped(shared_cli: Cli) -> None:
    identifier = begin(shared_cli, "--name", "web", IMAGE, "sh", "-c", "echo begun; exec sleep 100")
    assert state(shared_cli, "web") == "running"
    eventually(lambda: log(shared_cli, "web") == "begun\n", "the log")
    found = about(shared_cli, "web")
    pid = found["State"]["Pid"]
    assert Path(f"/proc/{pid}/status").read_text().splitlines()[0] == "Name:\tsleep"
    assert shared_cli.ok("start", "web") == "web\n"
    assert about(shared_cli, "web")["State"]["Pid"] == pid
    assert shared_cli.ok("stop", "-t", "0", "web") == "web\n"
    assert not os.path.exists(f"/proc/{pid}/ns/pid")
    assert (state(shared_cli, "web"), about(shared_cli, "web")["State"]["ExitCode"]) == ("exited", 137)
    assert shared_cli.ok("start", identifier) == identifier + "\n"
    eventually(lambda: log(shared_cli, "web") == "begun\nbegun\n", "the second run in the log")
    assert shared_cli.ok("restart", "-t", "0", "web") == "web\n"
    assert state(shared_cli, "web") == "running"
    shared_cli.fails(2, "rm", "web")
    assert shared_cli.ok("rm", "-f", "-t", "0", "web") == "web\n"


def test_the_stop_signal_comes_first(shared_cli: Cli) -> None:
    script = "trap 'echo asked; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    begin(shared_cli, "--name", "polite", IMAGE, "sh", "-c", script)
    eventually(lambda: "ready" in log(shared_cli, "polite"), "the trap is set")
    shared_cli.ok("stop", "polite")
    assert about(shared_cli, "polite")["State"]["ExitCode"] == 5
    assert log(shared_cli, "polite") == "ready\nasked\n"
    assert shared_cli.ok("stop", "polite") == "polite\n"


def test_kill(shared_cli: Cli) -> None:
    script = "trap 'echo usr1' USR1; echo ready; while :; do sleep 0.05; done"
    begin(shared_cli, "--name", "k", IMAGE, "sh", "-c", script)
    eventually(lambda: "ready" in log(shared_cli, "k"), "the trap is set")
    assert shared_cli.ok("kill", "-s", "USR1", "k") == "k\n"
    eventually(lambda: "usr1" in log(shared_cli, "k"), "the signal")
    shared_cli.ok("kill", "k")
    assert about(shared_cli, "k")["State"]["ExitCode"] == 137
    assert "container state improper" in shared_cli.fails(125, "kill", "k")
    shared_cli.fails(125, "kill", "-s", "NOSUCH", "k")


def test_a_signal_that_asks_for_no_end_leaves_the_restart_policy(shared_cli: Cli) -> None:
    """A program that was told to read its settings again is started again when it ends later; one told to end is not.
    """
    script = "trap 'echo hup' HUP; trap 'exit 3' USR1; trap 'exit 4' INT; echo ready; while :; do sleep 0.05; done"
    begin(shared_cli, "--name", "again", "--restart=always", IMAGE, "sh", "-c", script)
    eventually(lambda: log(shared_cli, "again").count("ready") == 1, "the traps are set")
    shared_cli.ok("kill", "-s", "HUP", "again")
    eventually(lambda: "hup" in log(shared_cli, "again"), "the signal")
    shared_cli.ok("exec", "again", "kill", "-USR1", "1")
    eventually(lambda: log(shared_cli, "again").count("ready") == 2, "it is started again")
    shared_cli.ok("kill", "-s", "INT", "again")
    assert shared_cli.ok("wait", "again") == "4\n"
    assert state(shared_cli, "again") == "exited"
    shared_cli.ok("rm", "again")


def test_stdout_is_logged_before_stderr(shared_cli: Cli) -> None:
    """When both wait for the monitor the log has them in the order in which people read them."""
    script = "trap 'echo out; echo err >&2; echo >/done' USR1; echo ready; while :; do sleep 0.05; done"
    begin(shared_cli, "--name", "both", IMAGE, "sh", "-c", script)
    eventually(lambda: "ready" in log(shared_cli, "both"), "the trap is set")
    monitor = about(shared_cli, "both")["State"]["ConmonPid"]
    os.kill(monitor, signal.SIGSTOP)
    try:
        shared_cli.ok("kill", "-s", "USR1", "both")
        eventually(lambda: shared_cli.run("exec", "both", "test", "-e", "/done").returncode == 0, "both are written")
    finally:
        os.kill(monitor, signal.SIGCONT)
    eventually(lambda: log(shared_cli, "both") == "ready\nout\nerr\n", "the log")


def test_names(shared_cli: Cli) -> None:
    identifier = begin(shared_cli, "--name", "one", IMAGE, "sleep", "100")
    begin(shared_cli, "--name", "two", "--hostname=there", IMAGE, "sleep", "100")
    hosts = shared_cli.ok("inspect", "--format", "{{.Config.Hostname}}", "one", "two").split()
    assert hosts == [identifier[:12], "there"]
    assert hosts == [shared_cli.ok("exec", name, "hostname").strip() for name in ("one", "two")]
    assert 'cannot name a container "two": the name is already in use' in shared_cli.fails(125, "rename", "one", "two")
    for name in ("Nobody", "/nobody"):  # neither can be the name of an image
        assert f"no such object: '{name}'" in shared_cli.fails(125, "inspect", name)
    for command in ("stop", "inspect", "pause", "attach"):
        assert "--latest and containers cannot" in shared_cli.fails(125, command, "--latest", "one")
    assert "--latest and --all cannot" in shared_cli.fails(125, "stop", "--latest", "--all")


def test_commands_at_once(shared_cli: Cli) -> None:
    """Several that want the same of a container all get it; none waits for what another has begun."""
    begin(shared_cli, "--name", "busy", IMAGE, "sleep", "100")
    for words in (("restart", "-t", "0"), ("stop", "-t", "0"), ("start",), ("restart", "-t", "0")):
        began = time.monotonic()
        started = [shared_cli.popen(*words, "busy") for _ in range(4)]
        told = [(process.communicate(timeout=60), process.returncode) for process in started]
        assert told == [((b"busy\n", b""), 0)] * 4
        assert time.monotonic() - began < 20
    assert state(shared_cli, "busy") == "running"


@pytest.mark.parametrize("code", [0, 1, 42, 125, 126, 127, 255])
def test_wait_tells_the_exit_code(shared_cli: Cli, code: int) -> None:
    begin(shared_cli, "--name", "w", IMAGE, "sh", "-c", f"sleep 0.2; exit {code}")
    assert shared_cli.ok("wait", "w") == f"{code}\n"
    assert shared_cli.ok("wait", "w") == f"{code}\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_the_exit_code_of_a_signal(shared_cli: Cli, number: int) -> None:
    begin(shared_cli, "--init", "--name", "s", IMAGE, "sh", "-c", f"kill -{int(number)} $$")
    assert shared_cli.ok("wait", "s") == f"{128 + number}\n"


def test_wait_for_a_container_that_removes_itself(shared_cli: Cli) -> None:
    begin(shared_cli, "--rm", "--name", "gone", IMAGE, "sh", "-c", "sleep 0.3; exit 9")
    assert shared_cli.ok("wait", "gone") == "9\n"
    eventually(lambda: shared_cli.run("container", "exists", "gone").returncode == 1, "it is removed")


def test_a_container_that_removes_itself_does_not_outlive_the_machine(shared_cli: Cli) -> None:
    """After a reboot, which takes the state of what ran with it, nothing is left that looks as if it never had."""
    identifier = begin(shared_cli, "--rm", "--name", "lost", IMAGE, "sleep", "100")
    found = about(shared_cli, "lost")["State"]
    os.kill(found["ConmonPid"], signal.SIGKILL)
    eventually(lambda: not os.path.exists(f"/proc/{found['Pid']}/ns/pid"), "it has ended")
    shutil.rmtree(shared_cli.home / "run" / "rootless" / "engine" / identifier)
    assert shared_cli.ok("ps", "-a", "--format", "{{.Names}}") == ""
    assert not (shared_cli.data / "containers" / identifier).exists()


def test_wait_for_conditions(shared_cli: Cli) -> None:
    begin(shared_cli, "--name", "c", IMAGE, "sleep", "100")
    assert shared_cli.ok("wait", "--condition=running", "c") == "-1\n"
    assert shared_cli.ok("wait", "--condition=exited,running", "c") == "-1\n"
    assert shared_cli.ok("wait", "--ignore", "nobody") == "-1\n"
    names = ("c", "nobody", "c")
    assert shared_cli.ok("wait", "--ignore", "--condition=running", *names) == "-1\n-1\n-1\n"
    shared_cli.ok("stop", "-t", "0", "c")
    assert shared_cli.ok("wait", "--ignore", *names) == "137\n-1\n137\n"
    assert "cannot be used together" in shared_cli.fails(125, "wait", "--latest", "c")
    shared_cli.fails(125, "wait", "nobody")
    shared_cli.fails(125, "wait", "--condition=nonsense", "c")


def test_a_failed_start_is_told_to_the_caller(shared_cli: Cli) -> None:
    assert "not found" in shared_cli.fails(127, "run", "-d", NONE, "--name", "f", IMAGE, "/no/such")
    shared_cli.fails(126, "run", "-d", NONE, "--rm", IMAGE, "/etc")
    assert shared_cli.ok("ps", "-aq", "--no-trunc").count("\n") == 1
    assert state(shared_cli, "f") in ("created", "exited")
    assert "not found" in shared_cli.fails(125, "start", "f")


def test_the_caller_holds_nothing_open_row_41(shared_cli: Cli) -> None:
    """Security row 41: a pipe that the caller of run -d holds is not kept by the monitor or the container."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    done = subprocess.run(
        shared_cli.command("run", "-d", NONE, "--name", "p", IMAGE, "sh", "-c", "ls -l /proc/self/fd; sleep 100"),
        env=shared_cli.environment, stdout=writer, stderr=writer, pass_fds=(writer,), timeout=60, check=True,
    )  # fmt: skip
    assert done.returncode == 0
    os.close(writer)
    text = b""
    while True:
        ready = select.select([reader], [], [], 10)[0]
        assert ready, "something still holds the pipe"
        piece = os.read(reader, 4096)
        if not piece:
            break
        text += piece
    assert len(text.strip()) == 64
    eventually(lambda: log(shared_cli, "p").count("->") >= 3, "the list of descriptors")
    names = [line.split()[-3] for line in log(shared_cli, "p").splitlines() if "->" in line]
    assert names == ["0", "1", "2"]  # the directory that ls reads is closed when it looks


def test_a_foreground_run_goes_on_when_its_caller_is_killed(shared_cli: Cli) -> None:
    process = subprocess.Popen(
        shared_cli.command("run", NONE, "--name", "fg", IMAGE, "sh", "-c", "echo x; exec sleep 100"),
        env=shared_cli.environment, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"x\n"
    process.kill()
    process.wait()
    process.stdout.close()
    assert state(shared_cli, "fg") == "running"
    shared_cli.ok("stop", "-t0", "fg")


def test_attach(shared_cli: Cli) -> None:
    begin(shared_cli, "-i", "--name", "a", IMAGE, "sh", "-c", "read x; echo got $x; read y; exit 6")
    descriptors = f"/proc/{about(shared_cli, 'a')['State']['ConmonPid']}/fd"
    before = len(os.listdir(descriptors))
    first = subprocess.Popen(
        shared_cli.command("attach", "a"), env=shared_cli.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    second = subprocess.Popen(
        shared_cli.command("attach", "--no-stdin", "a"), env=shared_cli.environment, stdout=subprocess.PIPE
    )
    assert first.stdin and first.stdout and second.stdout
    eventually(lambda: len(os.listdir(descriptors)) == before + 2, "both are connected")
    first.stdin.write(b"hello\n")
    first.stdin.flush()
    assert first.stdout.readline() == b"got hello\n"
    assert second.stdout.readline() == b"got hello\n"
    first.stdin.write(b"end\n")
    first.stdin.close()
    assert (first.wait(10), second.wait(10)) == (6, 6)
    first.stdout.close()
    second.stdout.close()
    assert "only attach to running" in shared_cli.fails(125, "attach", "a")


def test_detach_keys(shared_cli: Cli) -> None:
    """The keys leave the container running; attach finds it again."""
    pid, master = pty.fork()
    if pid == 0:
        command = shared_cli.command("run", "-it", NONE, "--name", "tty", "--detach-keys", "ctrl-x,y", IMAGE, "sh")
        os.execve("/usr/bin/env", ["env", *command], shared_cli.environment)
    text = b""
    while b"# " not in text:
        text += os.read(master, 1000)
    os.write(master, b"echo 6*7=$((6*7))\n")
    while b"6*7=42" not in text:
        text += os.read(master, 1000)
    os.write(master, b"\x18y")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(master)
    assert state(shared_cli, "tty") == "running"
    done = shared_cli.run("attach", "tty", stdin="exit 3\n")
    assert done.returncode == 3


def test_init(shared_cli: Cli) -> None:
    shared_cli.ok("create", NONE, "--name", "i", IMAGE, "sh", "-c", "echo now; exit 4")
    assert shared_cli.ok("init", "i") == "i\n"
    assert state(shared_cli, "i") == "initialized"
    assert "it is initialized" in shared_cli.fails(125, "init", "i")
    assert about(shared_cli, "i")["State"]["Pid"] > 0
    assert shared_cli.ok("start", "i") == "i\n"
    assert shared_cli.ok("wait", "i") == "4\n"
    assert log(shared_cli, "i") == "now\n"
    shared_cli.ok("init", "i")
    shared_cli.ok("stop", "i")
    assert state(shared_cli, "i") in ("exited", "created")


@pytest.mark.parametrize(("policy", "code", "runs"), [("no", 1, 1), ("on-failure:2", 1, 3), ("on-failure", 0, 1)])
def test_restart_policies(shared_cli: Cli, policy: str, code: int, runs: int) -> None:
    begin(shared_cli, "--name", "r", "--restart", policy, IMAGE, "sh", "-c", f"echo run; exit {code}")
    eventually(lambda: state(shared_cli, "r") == "exited", "the last run")
    assert log(shared_cli, "r").count("run") == runs
    assert about(shared_cli, "r")["State"]["ExitCode"] == code


def test_always_ends_only_when_the_user_wants_it(shared_cli: Cli) -> None:
    begin(shared_cli, "--name", "r", "--restart", "always", IMAGE, "sh", "-c", "echo run; sleep 0.05")
    eventually(lambda: log(shared_cli, "r").count("run") >= 3, "three runs")
    shared_cli.ok("stop", "r")
    count = log(shared_cli, "r").count("run")
    assert state(shared_cli, "r") == "exited"
    time.sleep(0.5)
    assert (state(shared_cli, "r"), log(shared_cli, "r").count("run")) == ("exited", count)


def test_wrong_policies(shared_cli: Cli) -> None:
    for policy in ("sometimes", "always:3", "on-failure:x", "on-failure:-1"):
        shared_cli.fails(125, "create", "--restart", policy, IMAGE, "true")
    shared_cli.fails(125, "create", "--rm", "--restart", "always", IMAGE, "true")


def test_timeout(shared_cli: Cli) -> None:
    begin(shared_cli, "--name", "t", "--timeout", "1", IMAGE, "sleep", "100")
    assert shared_cli.ok("wait", "t") == "137\n"


def test_the_service_manager_is_told(shared_cli: Cli) -> None:
    path = shared_cli.home / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(20)
        environment = {"NOTIFY_SOCKET": str(path)}
        shared_cli.run("run", "-d", NONE, "--sdnotify=conmon", IMAGE, "sleep", "100", env=environment)
        message = manager.recv(1000).decode().splitlines()
        assert "READY=1" in message
        assert any(line.startswith("MAINPID=") for line in message)
        shared_cli.run("run", "-d", NONE, "--sdnotify=ignore", IMAGE, "sleep", "100", env=environment)
        manager.settimeout(0.5)
        with pytest.raises(TimeoutError):
            manager.recv(1000)


def test_the_socket_is_the_users_alone_row_89(shared_cli: Cli) -> None:
    """Security row 89: path sockets of mode 0600, no abstract one, whatever the length of the path."""
    script = "cat /proc/net/unix; sleep 100"
    identifier = shared_cli.ok("run", "-d", "--network=host", IMAGE, "sh", "-c", script).strip()
    directory = shared_cli.home / "run" / "rootless" / "engine" / identifier
    assert (directory / "attach").stat().st_mode & 0o777 == 0o600
    eventually(lambda: log(shared_cli, identifier), "the sockets")
    listed = log(shared_cli, identifier)
    assert not [line for line in listed.splitlines() if "@" in line and "rootless" in line]
    assert len(str(directory / "attach")) > 108


def test_preserved_descriptors(shared_cli: Cli) -> None:
    reader, writer = os.pipe()
    done = subprocess.run(
        [*shared_cli.command(), "run", "-d", NONE, "--preserve-fds=1", IMAGE, "sh", "-c", "echo hi >&3"],
        env=shared_cli.environment, pass_fds=[writer] if writer == 3 else [], check=False,
        preexec_fn=lambda: os.dup2(writer, 3), close_fds=False, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(writer)
    assert done.returncode == 0
    assert os.read(reader, 10) == b"hi\n"
    os.close(reader)


def test_a_directory_under_a_throw_away_layer_is_started_again(shared_cli: Cli, tmp_path: Path) -> None:
    """Its overlay is a volatile one, which the kernel mounts once."""
    (tmp_path / "bin").mkdir()
    shutil.copy(str(busybox_path()), tmp_path / "bin" / "sh")
    shared_cli.ok("create", NONE, "--name", "o", "--rootfs", f"{tmp_path}:O", "sh", "-c", "echo >>/x; wc -l </x")
    assert [shared_cli.ok("start", "-a", "o") for _ in range(2)] == ["1\n", "2\n"]
    assert not (tmp_path / "x").exists()
