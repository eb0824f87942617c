"""``logs``: of containers that run and have ended, followed to their end, of several, by every log driver."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_run_flags import IMAGE
from tests.support.cli import Cli

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")
NONE = "--network=none"


@pytest.fixture(autouse=True)
def _clean(shared_cli: Cli) -> Iterator[None]:
    yield
    shared_cli.ok("rm", "-af", "-t0")


def start(cli: Cli, script: str, *flags: str, name: str = "c") -> None:
    cli.ok("run", "-d", NONE, "--name", name, *flags, IMAGE, "sh", "-c", script)


def finished(cli: Cli, script: str, *flags: str, name: str = "c") -> None:
    start(cli, script, *flags, name=name)
    cli.ok("wait", name)


def follow(cli: Cli, *arguments: str) -> subprocess.Popen[bytes]:
    return cli.popen("logs", "--follow", *arguments)


def test_each_stream_to_where_it_belongs(shared_cli: Cli) -> None:
    finished(shared_cli, "echo out; sleep 0.1; echo err >&2; sleep 0.1; printf part; printf 'ial\\nrest'")
    done = shared_cli.run("logs", "c")
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\npartial\nrest", "err\n")
    stamps = shared_cli.ok("logs", "--timestamps", "c").splitlines()
    assert [line.split(" ", 1)[1] for line in stamps] == ["out", "partial", "rest"]
    assert {re.fullmatch(r"[0-9-]{10}T[0-9:]{8}\.[0-9]{9}Z", line.split(" ")[0]) is None for line in stamps} == {False}
    assert shared_cli.ok("logs", "--tail", "1", "c") == "partial\nrest" and shared_cli.ok("logs", "--tail=0", "c") == ""
    assert shared_cli.ok("logs", "--since", "1h", "c") == "out\npartial\nrest"
    assert shared_cli.ok("logs", "--since", stamps[0].split(" ")[0], "c") == "partial\nrest"
    assert shared_cli.ok("logs", "--until", stamps[1].split(" ")[0], "c") == "out\n"
    assert shared_cli.ok("logs", "--latest") == "out\npartial\nrest"
    assert shared_cli.ok("logs", "--follow", "c") == "out\npartial\nrest"


def test_bytes_are_kept(shared_cli: Cli) -> None:
    finished(shared_cli, r"printf '\000\001\377\033[31m\r\nend'")
    done = subprocess.run(shared_cli.command("logs", "c"), env=shared_cli.environment, capture_output=True, check=True)
    assert done.stdout == b"\0\1\xff\x1b[31m\r\nend"


def test_a_terminal_has_a_log(shared_cli: Cli) -> None:
    finished(shared_cli, "echo text", "--tty")
    assert shared_cli.ok("logs", "c") == "text\r\n" or shared_cli.ok("logs", "c") == "text\n"


def test_several_in_the_order_of_time(shared_cli: Cli) -> None:
    for name in ("one", "two"):
        shared_cli.ok("create", NONE, "--name", name, IMAGE, "sh", "-c", f"echo {name}; echo {name} >&2")
    for name in ("one", "two", "one"):
        shared_cli.ok("start", name)
        shared_cli.ok("wait", name)
    done = shared_cli.run("logs", "--names", "two", "one")
    assert done.stdout.splitlines() == ["one one", "two two", "one one"] == done.stderr.splitlines()
    ids = [shared_cli.ok("inspect", "--format", "{{.Id}}", name)[:12] for name in ("one", "two")]
    assert {line.split(" ")[0] for line in shared_cli.ok("logs", "one", "two").splitlines()} == set(ids)
    assert "\x1b[37m" in shared_cli.ok("logs", "--color", "one", "two")


def test_following_to_the_end(shared_cli: Cli) -> None:
    start(shared_cli, "echo first; while ! test -e /go; do sleep 0.02; done; echo second; printf third")
    child = follow(shared_cli, "c")
    assert child.stdout is not None and child.stdout.readline() == b"first\n"
    pid = shared_cli.ok("inspect", "--format", "{{.State.Pid}}", "c").strip()
    shared_cli.ok("exec", "c", "touch", "/go")
    assert child.communicate(timeout=15)[0] == b"second\nthird"
    assert child.returncode == 0 and pid != "0"


def test_following_waits_without_work_and_sees_the_end_of_a_removed_one(shared_cli: Cli) -> None:
    start(shared_cli, "echo ready; sleep 100", "--rm", "--log-driver=k8s-file")
    child = follow(shared_cli, "c")
    assert child.stdout is not None and child.stdout.readline() == b"ready\n"

    def ticks() -> int:
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(") ")[2].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    time.sleep(2)
    assert ticks() - before <= 2  # hundredths of a second
    shared_cli.ok("rm", "-f", "-t0", "c")
    assert child.wait(timeout=10) == 0
    child.communicate()


def test_following_several(shared_cli: Cli) -> None:
    for name in ("one", "two"):
        start(shared_cli, f"sleep 0.3; echo {name}", name=name)
    done = follow(shared_cli, "--names", "one", "two").communicate(timeout=15)[0]
    assert sorted(done.splitlines()) == [b"one one", b"two two"]


def test_following_until_a_time(shared_cli: Cli) -> None:
    start(shared_cli, "echo first; sleep 100")
    began = time.monotonic()
    child = follow(shared_cli, "--until", "2s", "c")
    assert child.communicate(timeout=15)[0] == b"first\n"
    assert 1 < time.monotonic() - began < 8


def test_following_through_rotations(shared_cli: Cli) -> None:
    slowly = "for tens in $(seq 0 19); do seq $((tens * 100 + 1)) $((tens * 100 + 100)); sleep 0.05; done"
    start(shared_cli, f"while ! test -e /go; do sleep 0.02; done; {slowly}", "--log-opt=max-size=64k")
    child = follow(shared_cli, "c")
    time.sleep(0.3)
    shared_cli.ok("exec", "c", "touch", "/go")
    lines = child.communicate(timeout=20)[0].split()
    assert lines == [b"%d" % number for number in range(1, 2001)]
    log = Path(shared_cli.ok("inspect", "--format", "{{.HostConfig.LogConfig.Path}}", "c").strip())
    sizes = [file.stat().st_size for file in log.parent.glob("ctr.log*")]
    assert len(sizes) == 2 and sum(sizes) <= 64 << 10
    kept = shared_cli.ok("logs", "c").split()
    assert kept == [str(number) for number in range(2001 - len(kept), 2001)] and len(kept) > 500


def test_a_reader_that_goes_away(shared_cli: Cli) -> None:
    finished(shared_cli, "seq 1 200000")
    child = shared_cli.popen("logs", "c", stdin=subprocess.DEVNULL)
    assert child.stdout is not None and child.stderr is not None
    child.stdout.read(10)
    child.stdout.close()
    assert child.wait(timeout=10) == 141 and child.stderr.read() == b""
    child.stderr.close()


def test_options(shared_cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "own.log"
    finished(shared_cli, "echo here", "--log-driver=json-file", f"--log-opt=path={path}", "--log-opt=max-size=1m")
    assert path.read_text().endswith(" stdout F here\n") and shared_cli.ok("logs", "c") == "here\n"
    config = json.loads(shared_cli.ok("inspect", "c"))[0]["HostConfig"]["LogConfig"]
    assert (config["Type"], config["Path"]) == ("json-file", str(path))
    os.mkfifo(tmp_path / "fifo")
    for option in ("max-file=3", "max-size=x", "colour=red", "tag={{.Colour}}"):
        shared_cli.fails(125, "create", NONE, f"--log-opt={option}", IMAGE, "true")
    for place in ("none/x", "fifo", "."):
        error = shared_cli.fails(125, "run", "-d", NONE, f"--log-opt=path={tmp_path}/{place}", IMAGE, "true")
        assert "cannot log to" in error


def test_no_log(shared_cli: Cli) -> None:
    finished(shared_cli, "echo lost", "--log-driver=none")
    error = shared_cli.fails(125, "logs", "c")
    assert "this container is using the 'none' log driver, cannot read logs" in error
    shared_cli.ok("create", NONE, "--name", "new", IMAGE, "true")
    assert shared_cli.ok("logs", "new") == "" == shared_cli.ok("logs", "-f", "new")
    assert "no such container" in shared_cli.fails(125, "logs", "nobody")
    shared_cli.fails(125, "logs")
    shared_cli.fails(125, "logs", "--latest", "new")
    shared_cli.fails(125, "logs", "--tail", "x", "new")
    shared_cli.fails(125, "logs", "--since", "x", "new")


def test_no_journal(shared_cli: Cli) -> None:
    if os.path.exists("/run/systemd/journal/socket"):
        pytest.skip("needs no-journal: systemd's journal runs here")
    error = shared_cli.fails(125, "run", "-d", NONE, "--log-driver=journald", IMAGE, "true")
    assert "cannot log to the journal" in error
    shared_cli.ok("create", NONE, "--name", "j", "--log-driver=journald", IMAGE, "true")
    command, nothing = shared_cli.command("logs", "j"), {**shared_cli.environment, "PATH": "/nonexistent"}
    if command[0] == "env":
        command[0] = "/usr/bin/env"
    done = subprocess.run(command, env=nothing, capture_output=True, check=False)
    assert done.returncode == 125 and b"cannot run journalctl" in done.stderr


def test_the_journal_as_journalctl_prints_it(shared_cli: Cli, tmp_path: Path) -> None:
    made = shared_cli.ok("create", NONE, "--name", "j", "--log-driver=journald", IMAGE, "true").strip()
    entries: list[dict[str, object]] = [
        {"MESSAGE": "one", "PRIORITY": "6"},
        {"MESSAGE": "two", "PRIORITY": "3"},
        {"MESSAGE": [116, 255], "PRIORITY": "6", "CONTAINER_PARTIAL_MESSAGE": "true"},
        {"MESSAGE": "four", "PRIORITY": "6"},
    ]
    place = {"__CURSOR": "c", "__REALTIME_TIMESTAMP": "1795581375661981"}
    (tmp_path / "entries").write_text("".join(json.dumps({**place, **entry}) + "\n" for entry in entries) + "bad\n")
    program = tmp_path / "journalctl"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\ncat {tmp_path}/entries\n')
    program.chmod(0o755)
    command, path = shared_cli.command("logs", "j"), f"{tmp_path}:{shared_cli.environment['PATH']}"
    done = subprocess.run(command, env={**shared_cli.environment, "PATH": path}, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"one\nt\xfffour\n", b"two\n")
    arguments = (tmp_path / "arguments").read_text().split()
    assert f"CONTAINER_ID_FULL={made}" in arguments and "--user" in arguments
