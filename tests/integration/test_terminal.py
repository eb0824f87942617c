"""The caller's terminal: raw while the container runs, restored on every exit; size and signals passed on."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
# A stand-in for a container: a process on a terminal of its own, shown on ours by `follow`.
_CALLER = """
import os, pty, signal, sys, time
sys.path.insert(0, sys.argv[1])
from rootless.engine.containers import stdio

class Process:
    def __init__(self):
        pid, self.console_fd = pty.fork()
        if pid == 0:
            os.execv(sys.executable, [sys.executable, "-c", sys.argv[3]])
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
    def start(self):
        pass
    def wait(self):
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

sys.exit(stdio.follow(Process(), interactive=True, sig_proxy=sys.argv[2] == "proxy") % 256)
"""
_PAYLOAD = """
import os, signal, sys, tty
def say(*words):
    # Not print: a handler may come in the middle of another one's, and streams refuse to be entered twice.
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())
def size(*_):
    say("size", *os.get_terminal_size())
def caught(number, _):
    say("caught", number)
    if number == signal.SIGTERM:
        sys.exit(9)
signal.signal(signal.SIGWINCH, size)
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT, 40):
    signal.signal(number, caught)
tty.setraw(0)
size()
say("ready")
while data := os.read(0, 100):
    say("keys", data)
    if data == b"q":
        sys.exit(5)
"""


class Session:
    """The caller on a terminal, of which the test holds the other side."""

    def __init__(self, mode: str) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(30, 100)
        self.before = termios.tcgetattr(self.slave)
        self.shown = b""
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
            for fd in (0, 1, 2):
                os.dup2(self.slave, fd)
            os.execv(sys.executable, [sys.executable, "-c", _CALLER, str(_ROOT), mode, _PAYLOAD])
        self.expect(b"ready")

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def expect(self, text: bytes) -> None:
        deadline = time.monotonic() + 15
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            if select.select([self.master], [], [], 0.1)[0]:
                self.shown += os.read(self.master, 1000)

    def end(self) -> int:
        """The exit code of the caller, -N for signal N; the terminal must be as it was."""
        deadline = time.monotonic() + 15
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            assert time.monotonic() < deadline
            if select.select([self.master], [], [], 0.05)[0]:
                self.shown += os.read(self.master, 1000)
        assert termios.tcgetattr(self.slave) == self.before
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def raw(self) -> bool:
        return not termios.tcgetattr(self.slave)[3] & (termios.ECHO | termios.ICANON | termios.ISIG)


@pytest.fixture
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    made = Session(getattr(request, "param", "proxy"))
    yield made
    if made.pid:
        os.kill(made.pid, signal.SIGKILL)
        os.waitpid(made.pid, 0)
    os.close(made.master)
    os.close(made.slave)


def test_keys_pass_unchanged_and_the_code_comes_back(session: Session) -> None:
    session.expect(b"size 100 30")
    assert session.raw()
    for key in (b"\x03", b"\x1a", b"\r", b"\xff"):  # ctrl-c, ctrl-z, return and no UTF-8
        os.write(session.master, key)
        session.expect(b"keys " + repr(key).encode())
    os.write(session.master, b"q")
    assert session.end() == 5


def test_a_new_size_is_passed_on(session: Session) -> None:
    session.resize(50, 132)
    session.expect(b"size 132 50")


def test_signals_are_passed_on(session: Session) -> None:
    for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGINT, 40):
        os.kill(session.pid, number)
        session.expect(b"caught %d" % number)
    os.kill(session.pid, signal.SIGTERM)
    assert session.end() == 9


@pytest.mark.parametrize("session", ["own"], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_without_a_proxy_a_signal_ends_the_caller_tidily(session: Session, number: int) -> None:
    os.kill(session.pid, number)
    assert session.end() == -number


def test_stopped_and_continued(session: Session) -> None:
    os.kill(session.pid, signal.SIGTSTP)
    assert os.WIFSTOPPED(os.waitpid(session.pid, os.WUNTRACED)[1])
    assert termios.tcgetattr(session.slave) == session.before
    os.kill(session.pid, signal.SIGCONT)
    os.write(session.master, b"x")
    session.expect(b"keys b'x'")
    assert session.raw()
    os.write(session.master, b"q")
    assert session.end() == 5


def test_a_terminal_that_goes_away_ends_the_container(session: Session) -> None:
    os.close(session.slave)
    os.close(session.master)
    session.master, session.slave = os.openpty()
    deadline = time.monotonic() + 15
    while not os.waitpid(session.pid, os.WNOHANG)[0]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    session.pid = 0
