"""The program with one system call of it ended badly: killed at that call, or told an error. See ``inject.c``."""

from __future__ import annotations

import errno
import gc
import importlib
import os
import pkgutil
import select
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import rootless.engine
import storage
from rootless.cli.main import main
from rootless.engine import system
from rootless.engine.context import open_engine
from tests.support import programs
from tests.support.images import remove_tree
from tests.support.of_user import OfUser

ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENOMEM)
KILL = 0
CHECK = ("system", "check")
QUICK_CHECK = (*CHECK, "--quick")
LIMIT = 30.0
"""Seconds after which a command that met a fault counts as one that hangs."""
PATIENCE = 10.0
"""Seconds for what a command started to end after it."""


class Outcome(NamedTuple):
    """How a command ended. ``code``: -N when signal N ended it. ``hit``: the call that met the fault, empty: none."""

    code: int
    stdout: str
    stderr: str
    hit: str
    calls: int


class Run:
    """A command under the injector, from the start of its first process to the end of its last."""

    def __init__(self, process: subprocess.Popen[bytes], reports: int) -> None:
        self.process = process
        self._reports = os.fdopen(reports, "rb", 0)
        self._text = b""

    def read(self, limit: float) -> tuple[str, int, int] | None:
        """Wait for the end of the command: the call that was hit, exit code, calls; None when it takes too long."""
        deadline = time.monotonic() + limit
        while b"\nend " not in b"\n" + self._text or not self._text.endswith(b"\n"):
            if not select.select([self._reports], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return None
            part = self._reports.read(4096)
            if not part:
                raise RuntimeError(f"the injector ended with {self.process.wait()}: {self._text!r}")
            self._text += part
        hit = self.hit
        words = next(line for line in self._text.decode().splitlines() if line.startswith("end ")).split()
        return hit, int(words[1]), int(words[2])

    @property
    def hit(self) -> str:
        """The call that met the fault, and the program that made it, as far as is known by now."""
        while not self._reports.closed and select.select([self._reports], [], [], 0)[0]:
            part = self._reports.read(4096)
            if not part:
                break
            self._text += part
        lines = self._text.decode().splitlines()
        return next((line.removeprefix("hit ") for line in lines if line.startswith("hit ")), "")

    def settle(self) -> list[str]:
        """Wait until every process that the command started has ended; those that have not are told, and killed."""
        try:
            self.process.wait(PATIENCE)
            left = []
        except subprocess.TimeoutExpired:
            left = traced_by(self.process.pid)
            self.process.kill()
            self.process.wait()
        _ = self.hit  # what was told last
        self._reports.close()
        return left


def traced_by(tracer: int) -> list[str]:
    """The command lines of the processes that ``tracer`` traces."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if f"TracerPid:\t{tracer}\n" in (entry / "status").read_text():
                words = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
                found.append(f"{entry.name}: {words[-200:]}")
        except OSError:
            continue
    return found


class Place:
    """A user's home that can be kept as it is and put back, and commands in it; made by root."""

    def __init__(self, base: Path, injector: Path) -> None:
        self.base = base
        self._injector = injector
        load_all()
        self.cli = OfUser(base / "home")
        self.cli.environment["PYTHONDONTWRITEBYTECODE"] = "1"
        subprocess.run(["chown", "-R", self.cli.owner, str(base)], check=True)

    def keep(self, name: str) -> None:
        """Keep the home as it is now, under a name."""
        remove_tree(self.base / name)
        self._copy(self.base / "home", self.base / name)

    def restore(self, name: str) -> None:
        """Put the home back as it was kept."""
        remove_tree(self.base / "home")
        self._copy(self.base / name, self.base / "home")

    def _copy(self, source: Path, target: Path) -> None:
        subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(target)], check=True)

    def run(self, words: Sequence[str], number: int, error: int = KILL) -> tuple[Outcome, Run]:
        """Run ``rootless WORDS`` with ``error`` (0: SIGKILL) at its call ``number``; 0 counts only."""
        reader, writer = os.pipe()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            python = os.path.realpath(sys.executable)
            command = [str(self._injector), str(writer), str(number), str(error), python, *self.cli.command(*words)]
            process = subprocess.Popen(
                command, env=self.cli.environment, pass_fds=[writer], stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )
            os.close(writer)
            running = Run(process, reader)
            found = running.read(LIMIT)
            out.seek(0)
            err.seek(0)
            told = out.read().decode(errors="replace"), err.read().decode(errors="replace")
        if found is None:
            stuck = traced_by(process.pid)
            process.kill()
            return Outcome(-1000, told[0], f"{told[1]}it hangs: {stuck}", running.hit, 0), running
        hit, code, calls = found
        return Outcome(code, *told, hit, calls), running

    def quick(self, *commands: Sequence[str]) -> list[str]:
        """Give commands without starting other programs: what each complained of, empty for one that succeeded.

        ``CHECK`` and ``QUICK_CHECK`` count as one that complains of all it finds.
        """

        def give(words: Sequence[str]) -> str:
            if words[:2] == CHECK[:2]:
                findings = system.check(open_engine({}), {"quick": words == QUICK_CHECK})
                return "\n".join(f"{each['kind']} {each['object']}: {each['problem']}" for each in findings)
            code = main(list(words))
            return f"exits {code}" if code else ""

        def run() -> None:
            for words in commands:
                os.write(2, f"{give(words)}\0".encode())

        parts = self._as_owner(run).split("\0")
        return [part.strip() for part in parts[: len(commands)]] + ["it ended early"] * (len(commands) + 1 - len(parts))

    def _as_owner(self, function: Callable[[], None]) -> str:
        """What ``function`` writes to its standard error in a fork that is a process of the user."""
        with tempfile.TemporaryFile() as answer:
            pid = os.fork()
            if pid == 0:
                gc.disable()  # what the tests hold is none of this process's
                sys.unraisablehook = lambda _: None
                try:
                    os.dup2(answer.fileno(), 2)
                    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                    os.initgroups(self.cli.user.pw_name, self.cli.user.pw_gid)
                    os.setresgid(*[self.cli.user.pw_gid] * 3)
                    os.setresuid(*[self.cli.user.pw_uid] * 3)
                    os.environ.clear()
                    os.environ.update(self.cli.environment)
                    function()
                except BaseException:
                    os.write(2, traceback.format_exc().encode())
                finally:
                    os._exit(0)
            os.waitpid(pid, 0)
            answer.seek(0)
            return answer.read().decode(errors="replace")

    def used(self) -> int:
        """Bytes of everything in the home; a directory or link counts as 1 KiB."""
        total = 0
        for parent, directories, files in os.walk(self.base / "home"):
            total += 1024 * len(directories)
            for name in files:
                status = os.lstat(f"{parent}/{name}")
                total += status.st_size if status.st_size else 1024
        return total


def load_all() -> None:
    """Import what the commands of ``Place.quick`` import, that not each of their processes has to."""
    for package in (rootless.engine, storage):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


@contextmanager
def place() -> Iterator[Place]:
    """A new :class:`Place` with an empty home; called by root."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else "/var/tmp"
    base = Path(tempfile.mkdtemp(prefix="rl-", dir=memory))
    base.chmod(0o711)
    try:
        yield Place(base, programs.build("inject", base))
    finally:
        remove_tree(base)
