"""config.md: ``terminal`` and ``consoleSize``, with the console socket of the command line."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.support import Box, Console, until


@pytest.fixture
def console(home: Path) -> Iterator[Console]:
    made = Console(home)
    yield made
    made.close()


def launch(box: Box, console: Console, *arguments: str) -> None:
    box.process["terminal"] = True
    box.create(*arguments, flags=["--console-socket", str(console.path)])
    console.receive()


def test_console_socket_receives_the_master(box: Box, console: Console) -> None:
    launch(box, console, "sh", "-c", "test -t 0 && test -t 1 && test -t 2 && echo terminal; read line; echo got $line")
    box.start()
    console.read_until(b"terminal")
    os.write(console.master, b"typed\n")
    console.read_until(b"got typed")
    assert box.wait() == 0


def test_size(box: Box, console: Console) -> None:
    box.process["consoleSize"] = {"height": 33, "width": 77}
    launch(box, console, "stty", "size")
    box.start()
    console.read_until(b"33 77")


def test_size_changes_with_the_master(box: Box, console: Console) -> None:
    launch(box, console, "sh", "-c", "read x; stty size")
    fcntl.ioctl(console.master, termios.TIOCSWINSZ, struct.pack("HHHH", 21, 43, 0, 0))
    box.start()
    os.write(console.master, b"\n")
    console.read_until(b"21 43")


def test_size_without_a_terminal_is_ignored(box: Box) -> None:
    box.process["consoleSize"] = {"height": 33, "width": 77}
    assert box.output("echo", "ran") == "ran\n"


def test_dev_console_is_the_terminal(box: Box, console: Console) -> None:
    script = "echo by console >/dev/console; stat -c '%F' /dev/console; tty; echo by tty >/dev/tty"
    launch(box, console, "sh", "-c", script)
    box.start()
    seen = console.read_until(b"by tty")
    assert b"by console" in seen and b"character special file" in seen and b"/dev/" in seen


def test_terminal_is_the_users(box: Box, console: Console) -> None:
    box.process["user"] = {"uid": 1000, "gid": 1000}
    launch(box, console, "sh", "-c", "stat -L -c 'owner %u' /dev/fd/0; echo fine >/dev/tty")
    box.start()
    seen = console.read_until(b"fine")
    assert b"owner 1000" in seen


def test_terminal_controls_the_session(box: Box, console: Console) -> None:
    launch(box, console, "sh", "-c", "trap 'echo interrupted; exit 5' INT; echo ready; while :; do sleep 0.05; done")
    box.start()
    console.read_until(b"ready")
    os.write(console.master, b"\x03")
    console.read_until(b"interrupted")
    assert box.wait() == 5


def test_terminal_without_a_console_socket(box: Box) -> None:
    box.process["terminal"] = True
    box.write()
    box.fails("create", "--bundle", str(box.bundle), box.id)
    assert box.status() == "absent"


def test_console_socket_without_a_terminal(box: Box, console: Console) -> None:
    box.write()
    box.fails("create", "--bundle", str(box.bundle), "--console-socket", str(console.path), box.id)
    assert box.status() == "absent"


def test_console_socket_that_nobody_listens_to(box: Box) -> None:
    box.process["terminal"] = True
    box.write()
    box.fails("create", "--bundle", str(box.bundle), "--console-socket", str(box.home / "nobody"), box.id)
    assert box.status() == "absent"


def rest(master: int) -> bytes:
    """All that was written to the terminal."""
    os.set_blocking(master, False)
    seen = b""
    try:
        while part := os.read(master, 4096):
            seen += part
    except OSError:
        pass
    return seen


def test_run_passes_the_callers_terminal_on(box: Box) -> None:
    box.process["terminal"] = True
    script = "test -t 0 && test -t 1 || exit 1; until stty size; do sleep 0.02; done; sleep 0.3; exit 6"
    box.process["args"] = ["sh", "-c", script]
    box.write()
    master, slave = pty.openpty()
    try:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
        command = box.command("run", "--bundle", str(box.bundle), box.id)
        started = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=box.environment, start_new_session=True
        )
        assert started.wait(20) == 6
        assert b"33 77" in rest(master)
    finally:
        os.close(master)
        os.close(slave)


def test_exec_with_a_terminal(box: Box, console: Console) -> None:
    box.sleep()
    flags = ["--tty", "--detach", "--console-socket", str(console.path), "--pid-file", str(box.home / "pid")]
    box.ok("exec", *flags, box.id, "sh", "-c", "test -t 0 && echo terminal; read line; echo got $line")
    console.receive()
    console.read_until(b"terminal")
    os.write(console.master, b"typed\n")
    console.read_until(b"got typed")
    pid = int((box.home / "pid").read_text())
    until(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid)
