"""``--ssh default|ID[=SOCKET|KEY[,KEY…]]``: the agents that `RUN --mount=type=ssh` is given.

::

    container ── socket in the step's directory ──▶ relay ──▶ the user's agent, or one that was started with the keys

The relay speaks to the agent as the caller: an agent answers its own user alone, and the container's may be another. It
is a process of its own, and ends with the one that started it.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import subprocess
from typing import TYPE_CHECKING

from rootless import paths
from rootless.errors import RootlessError, UsageError
from rootless.linux.libc import PR_SET_PDEATHSIG, close_range, prctl
from rootless.linux.signals import SIGKILL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import NoReturn

_HINT = "write it like --ssh default, --ssh default=$SSH_AUTH_SOCK or --ssh deploy=/home/me/.ssh/id_ed25519"
_CHUNK = 1 << 16
_MOST = 64
"""Connections at a time."""

_HOLD = 'ssh-add -q "$@" </dev/null >&2 && echo "$SSH_AGENT_PID" && exec cat >/dev/null'
"""Run by ssh-agent(1), which ends after its command does: that is when our end of its input closes."""


def parse(entries: Iterable[str], environ: Mapping[str, str]) -> dict[str, list[str]]:
    """Paths by id: one of a socket, or those of keys. Raises UsageError."""
    found: dict[str, list[str]] = {}
    for entry in entries:
        name, equals, text = entry.partition("=")
        chosen = [part for part in text.split(",") if part]
        if not name or "\0" in entry or (equals and not chosen):
            raise UsageError(f"cannot use {entry[:80]!r} for --ssh", _HINT)
        if not chosen:
            if not environ.get("SSH_AUTH_SOCK"):
                raise UsageError(f"cannot use {entry[:80]!r} for --ssh: SSH_AUTH_SOCK is not set", _HINT)
            chosen = [environ["SSH_AUTH_SOCK"]]
        found[name] = [os.path.abspath(path) for path in chosen]
    return found


class Agent:
    """A socket ``name`` in ``directory`` at which the agent behind ``chosen`` answers, until :meth:`close`."""

    def __init__(self, directory: str, name: str, chosen: list[str], run: str) -> None:
        """``run``: a directory with a short path, for the socket of an agent that has to be started."""
        self._keys: _Keys | None = None
        self._relay = 0
        target = chosen[0]
        if len(chosen) > 1 or not _is_socket(target):
            self._keys = _Keys(chosen, f"{run}/{os.urandom(8).hex()}.agent")
            target = self._keys.path
        try:
            listener = _listen(directory, name)
            try:
                self._relay = _start(listener, target)
            finally:
                listener.close()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the relay, and the agent if it was started here."""
        if self._relay:
            os.kill(self._relay, SIGKILL)
            os.waitpid(self._relay, 0)
            self._relay = 0
        if self._keys is not None:
            self._keys.close()
            self._keys = None


class _Keys:
    """An ssh-agent(1) with some keys."""

    def __init__(self, keys: list[str], path: str) -> None:
        self.path = path
        program = paths.helper("ssh-agent")
        if program is None:
            raise RootlessError("cannot use a key for --ssh: ssh-agent is not installed", "install OpenSSH's client")
        words = [program, "-a", path, "/bin/sh", "-c", _HOLD, "sh", *keys]
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": os.path.expanduser("~")}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, env=environment)
        assert self._process.stdout is not None and self._process.stderr is not None
        said = self._process.stdout.readline().strip()
        if not said.isdigit():
            self._end()
            why = self._process.stderr.read(4096).decode(errors="replace").strip().splitlines()
            reason = why[-1] if why else "ssh-add failed"
            hint = "a key with a passphrase has to be in an agent: --ssh default"
            raise RootlessError(f"cannot use {', '.join(keys)} for --ssh: {reason}", hint)
        self._agent = int(said)

    def _end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def close(self) -> None:
        # While its command runs, which is there, the process of this number is the agent.
        try:
            os.kill(self._agent, SIGKILL)
        except ProcessLookupError:
            pass
        self._end()
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError as error:
        raise RootlessError(f"cannot use {path} for --ssh: {error.strerror}", _HINT) from None


def _listen(directory: str, name: str) -> socket.socket:
    """A listening socket in a directory, whose path may be of any length."""
    listener = socket.socket(socket.AF_UNIX)
    where = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{where}/{name}")
        listener.listen()
    except OSError as error:
        listener.close()
        raise RootlessError(f"cannot make a socket for --ssh: {error.strerror}") from None
    finally:
        os.close(where)
    return listener


def _start(listener: socket.socket, target: str) -> int:
    """Fork the relay; its pid."""
    caller = os.getpid()
    pid = os.fork()
    if pid == 0:
        _child(listener, target, caller)
    return pid


def _child(listener: socket.socket, target: str, caller: int) -> NoReturn:
    try:
        prctl(PR_SET_PDEATHSIG, SIGKILL)
        if os.getppid() == caller:
            own = os.dup2(listener.fileno(), 3) if listener.fileno() != 3 else 3
            close_range(4)
            _relay(socket.socket(fileno=own), target)
    finally:
        os._exit(1)


def _relay(listener: socket.socket, target: str) -> None:
    """Connect whoever comes with the agent, for ever."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    others: dict[int, tuple[socket.socket, socket.socket]] = {}
    while True:
        for fd, _ in poll.poll():
            if fd == listener.fileno():
                _welcome(listener, target, poll, others)
            elif fd in others:
                one, other = others[fd]
                try:
                    data = one.recv(_CHUNK)
                    other.sendall(data)
                except OSError:
                    data = b""
                if not data:
                    for end in (one, other):
                        poll.unregister(end)
                        del others[end.fileno()]
                        end.close()


def _welcome(
    listener: socket.socket, target: str, poll: select.poll, others: dict[int, tuple[socket.socket, socket.socket]]
) -> None:
    near, _ = listener.accept()
    far = socket.socket(socket.AF_UNIX)
    try:
        if len(others) >= 2 * _MOST:
            raise OSError
        far.connect(target)
    except OSError:
        near.close()
        far.close()
        return
    others[near.fileno()] = near, far
    others[far.fileno()] = far, near
    poll.register(near, select.POLLIN)
    poll.register(far, select.POLLIN)
