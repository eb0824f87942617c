"""`rootless top`: the processes of a container, as podman's columns show them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator

import pytest

from rootless.engine.containers.top import COLUMNS
from tests.support.cli import Cli

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")
IMAGE = "localhost/busybox"


@pytest.fixture(scope="module")
def box(shared_cli: Cli) -> Iterator[Cli]:
    """The program with a container ``topped`` of three processes, the last in a pid namespace of its own."""
    script = "sleep 5001 & unshare -rpf sleep 5002 & wait"
    words = ("--name", "topped", "--network=none", "--user", "1000:1000", "--group-add", "2000")
    shared_cli.ok("run", "-d", "--security-opt", "seccomp=unconfined", *words, IMAGE, "sh", "-c", script)
    deadline = time.monotonic() + 10
    while "sleep 5002" not in shared_cli.ok("top", "topped", "args"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield shared_cli
    shared_cli.ok("rm", "-f", "-t", "0", "topped")


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_it_shows_podmans_columns(box: Cli) -> None:
    shown = rows(box.ok("top", "topped"))
    assert shown[0] == ["USER", "PID", "PPID", "%CPU", "ELAPSED", "TTY", "TIME", "COMMAND"]
    first, second = shown[1], shown[2]
    assert first[:3] == ["user", "1", "0"] and float(first[3]) < 100 and first[7:9] == ["sh", "-c"]
    assert first[4].endswith("s") and first[5] == "?" and first[6].endswith("s")
    assert second[:3] == ["user", "2", "1"] and second[7:] == ["sleep", "5001"]


def test_processes_of_a_nested_namespace_are_among_them(box: Cli) -> None:
    numbers = {row[1]: row[0] for row in rows(box.ok("top", "topped", "pid", "args")) if "5002" in row[-1]}
    inside = box.ok("exec", "topped", "ps", "-o", "pid,args")
    found = {row[0] for row in rows(inside) if row[1:] == ["sleep", "5002"]}
    assert set(numbers.values()) >= found and found


def test_columns_of_the_host(box: Cli) -> None:
    shown = rows(box.ok("top", "topped", "hpid,huser", "hgroups", "comm", "user", "groups"))
    hpid, huser, hgroups, _, user, groups = shown[1]
    assert shown[0] == ["HPID", "HUSER", "HGROUPS", "COMMAND", "USER", "GROUPS"]
    assert hpid == box.ok("inspect", "--format", "{{.State.Pid}}", "topped").strip()
    assert int(huser) == os.stat(f"/proc/{hpid}").st_uid or os.stat(f"/proc/{hpid}").st_uid == 0
    assert int(huser) != 1000 and len(hgroups.split(",")) == 2
    assert (user, groups) == ("user", "user,extra")


def test_confinement(box: Cli) -> None:
    words = ("capeff", "capprm", "capbnd", "seccomp", "state", "nice", "pgid")
    shown = box.ok("top", "topped", *words).splitlines()
    assert shown[0].startswith("EFFECTIVE CAPS  PERMITTED CAPS  BOUNDING CAPS")
    effective, permitted, bounding, seccomp, state, nice, pgid = shown[1].split()
    assert (effective, permitted, seccomp, state, nice, pgid) == ("none", "none", "disabled", "S", "0", "1")
    assert {"CHOWN", "SETUID"} <= set(bounding.split(",")) and "SYS_ADMIN" not in bounding


@pytest.mark.parametrize("column", sorted(COLUMNS))
def test_every_column_by_itself(box: Cli, column: str) -> None:
    shown = box.ok("top", "topped", column).splitlines()
    assert shown[0].strip() == COLUMNS[column].heading
    assert len(shown) >= 4 and all(line.strip() for line in shown[1:])
    if COLUMNS[column].code:
        assert box.ok("top", "topped", COLUMNS[column].code).splitlines()[0] == shown[0]


def test_other_words_go_to_the_ps_of_the_container(box: Cli) -> None:
    shown = rows(box.ok("top", "topped", "-o", "pid,args"))
    assert shown[0] == ["PID", "COMMAND"] and ["2", "sleep", "5001"] in shown
    message = box.fails(125, "top", "topped", "-o", "nonsense")
    assert "bad -o argument" in message and "exit code 1" in message


def test_a_process_with_a_terminal_says_so(box: Cli) -> None:
    box.ok("exec", "-dt", "topped", "sleep", "5003")
    shown = dict(row[::-1] for row in rows(box.ok("top", "topped", "tty", "comm")) if row[0].startswith("pts/"))
    assert shown == {"sleep": "pts/0"}


def test_what_is_wrong_is_told(box: Cli) -> None:
    box.ok("create", "--name", "never-ran", IMAGE)
    assert "running containers" in box.fails(125, "top", "never-ran")
    box.ok("rm", "never-ran")
    assert "no such container" in box.fails(125, "top", "nobody")
    assert "you must provide the name or id" in box.fails(125, "top")


def test_pids_of_the_host(shared_cli: Cli) -> None:
    """In the host's pid namespace the numbers are the host's, and only the container's processes are shown."""
    shared_cli.ok("run", "-d", "--name", "open", "--network=none", "--pid=host", IMAGE, "sleep", "5004")
    try:
        pid = shared_cli.ok("inspect", "--format", "{{.State.Pid}}", "open").strip()
        assert rows(shared_cli.ok("top", "-l", "pid", "hpid", "args")) == [
            ["PID", "HPID", "COMMAND"],
            [pid, pid, "sleep", "5004"],
        ]
    finally:
        shared_cli.ok("rm", "-f", "-t", "0", "open")


def test_a_container_whose_first_process_is_ours(shared_cli: Cli) -> None:
    """``--init``: that process is closed to everybody; its files and namespaces are reached through its child."""
    shared_cli.ok("run", "-d", "--name", "inner", "--network=none", "--init", IMAGE, "sleep", "5005")
    try:
        shown = rows(shared_cli.ok("top", "inner", "pid", "user", "args"))
        assert [row[0] for row in shown[1:]] == ["1", "2"] and shown[2][1:] == ["root", "sleep", "5005"]
        assert shared_cli.ok("cp", "inner:/etc/os-release", "-")
        script = "readlink /proc/self/ns/mnt; readlink /proc/self/ns/pid"
        own = shared_cli.ok("exec", "inner", "sh", "-c", script).split()
        shown_there = shared_cli.ok("ps", "--filter=name=inner", "--ns", "--format", "mnt:[{{.MNT}}] pid:[{{.PIDNS}}]")
        assert shown_there.split() == own
    finally:
        shared_cli.ok("rm", "-f", "-t", "0", "inner")


def test_a_closed_output_is_no_traceback(box: Cli) -> None:
    done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *box.command("top", "topped")], env=box.environment,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 125 and "Traceback" not in done.stderr
