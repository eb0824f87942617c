"""`rootless exec -t`: a terminal of the container's shown on the caller's, and the keys that leave it."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import termios
import time
from collections.abc import Iterator

import pytest

from tests.support.cli import Cli

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")
IMAGE = "localhost/busybox"


class Caller:
    """The program on a terminal of its own, of which the test holds the other side."""

    def __init__(self, cli: Cli, *words: str) -> None:
        self.master, self.slave = os.openpty()
        self.resize(30, 100)
        self.before = termios.tcgetattr(self.slave)
        self.shown = b""
        self.child = os.fork()
        if self.child == 0:
            os.setsid()
            fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
            for fd in (0, 1, 2):
                os.dup2(self.slave, fd)
            command = cli.command(*words)
            os.execvpe(command[0], command, cli.environment)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def _read(self) -> None:
        if select.select([self.master], [], [], 0.05)[0]:
            self.shown += os.read(self.master, 4096)

    def expect(self, text: bytes) -> None:
        deadline = time.monotonic() + 15
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            self._read()
        self.shown = self.shown.partition(text)[2]

    def end(self) -> int:
        """The exit code, -N for signal N; the terminal must be as it was."""
        deadline = time.monotonic() + 15
        while True:
            pid, status = os.waitpid(self.child, os.WNOHANG)
            if pid:
                break
            assert time.monotonic() < deadline, self.shown
            self._read()
        self.child = 0
        assert termios.tcgetattr(self.slave) == self.before
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        if self.child:
            os.kill(self.child, signal.SIGKILL)
            os.waitpid(self.child, 0)
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture(scope="module")
def box(shared_cli: Cli) -> Iterator[Cli]:
    """The program with a container called ``tty`` that runs."""
    shared_cli.ok("run", "-d", "--name", "tty", "--network=none", IMAGE, "sleep", "1000")
    yield shared_cli
    shared_cli.ok("rm", "-f", "-t", "0", "tty")


@pytest.fixture
def started() -> Iterator[list[Caller]]:
    """What is put in is taken down again."""
    found: list[Caller] = []
    yield found
    for caller in found:
        caller.close()


def test_a_shell(box: Cli, started: list[Caller]) -> None:
    """Size, keys, a new size, job control, Ctrl-C for the program in front, the exit code."""
    started.append(caller := Caller(box, "exec", "-it", "tty", "sh"))
    caller.expect(b"# ")
    caller.type(b"stty size; tty\n")
    caller.expect(b"30 100\r\n/dev/pts/")
    caller.resize(50, 132)
    caller.type(b"stty size\n")
    caller.expect(b"50 132\r\n")
    caller.type(b"echo $TERM; sleep 1000\n")
    caller.expect(b"xterm\r\n")
    time.sleep(0.1)
    caller.type(b"\x03")
    caller.expect(b"# ")
    caller.type(b"exit $?\n")
    assert caller.end() == 130


def test_output_alone(box: Cli, started: list[Caller]) -> None:
    """Without -i the caller's keys stay the caller's."""
    started.append(caller := Caller(box, "exec", "-t", "tty", "sh", "-c", "test -t 0 && echo said; read line"))
    caller.expect(b"said")
    caller.type(b"\x03")
    assert caller.end() in (130, -signal.SIGINT)


@pytest.mark.parametrize(
    ("flags", "keys"),
    [((), b"\x10\x11"), (("--detach-keys=ctrl-a,x",), b"\x01x"), (("--detach-keys=q",), b"abq")],
)
def test_leaving(box: Cli, started: list[Caller], flags: tuple[str, ...], keys: bytes) -> None:
    """The keys take the terminal away, with 0; the program goes on, and what it writes holds it up no more."""
    name = f"/left-{keys.hex()}"
    script = f"stty raw -echo; echo ready; sleep 0.3; head -c 1000000 /dev/zero; echo done > {name}"
    started.append(caller := Caller(box, "exec", "-it", *flags, "tty", "sh", "-c", script))
    caller.expect(b"ready")
    caller.type(keys[:1])
    caller.type(keys[1:])
    assert caller.end() == 0
    deadline = time.monotonic() + 10
    while box.run("exec", "tty", "test", "-e", name).returncode:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_keys_that_are_not_all_there(box: Cli, started: list[Caller]) -> None:
    """What only begins like them arrives, and with none chosen they do too."""
    show = "stty raw -echo; echo ready; head -c 3 | hexdump -C"
    started.append(caller := Caller(box, "exec", "-it", "tty", "sh", "-c", show))
    caller.expect(b"ready")
    caller.type(b"\x10\x10a")
    caller.expect(b"10 10 61")
    assert caller.end() == 0
    started.append(caller := Caller(box, "exec", "-it", "--detach-keys=", "tty", "sh", "-c", show))
    caller.expect(b"ready")
    caller.type(b"\x10\x11a")
    caller.expect(b"10 11 61")
    assert caller.end() == 0


def test_what_cannot_be_executed(box: Cli, started: list[Caller]) -> None:
    """The terminal is given back before the message."""
    started.append(caller := Caller(box, "exec", "-it", "tty", "no-such-command"))
    caller.expect(b"not found")
    assert caller.end() == 127


def test_signals(box: Cli, started: list[Caller]) -> None:
    """Those that the caller gets are passed on, and the terminal is restored."""
    started.append(caller := Caller(box, "exec", "-it", "tty", "sh", "-c", "trap 'exit 9' TERM; echo ready; read line"))
    caller.expect(b"ready")
    os.kill(caller.child, signal.SIGTERM)
    assert caller.end() == 9


def test_the_callers_terminal_goes_away(box: Cli, started: list[Caller]) -> None:
    """The program gets SIGHUP, as when any terminal closes."""
    script = "trap 'echo hung > /hung-up; exit' HUP; echo ready; while :; do sleep 0.05; done"
    started.append(caller := Caller(box, "exec", "-it", "tty", "sh", "-c", script))
    caller.expect(b"ready")
    os.close(caller.slave)
    os.close(caller.master)
    caller.master, caller.slave = os.openpty()
    deadline = time.monotonic() + 10
    while box.run("exec", "tty", "test", "-e", "/hung-up").returncode:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_without_a_terminal_of_the_caller(box: Cli) -> None:
    """Pipes will do: what they hold is typed, their end is that of the input."""
    done = box.run("exec", "-it", "tty", "cat", stdin="line\n")
    assert (done.returncode, done.stdout) == (0, "line\nline\n")
