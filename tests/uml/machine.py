"""A machine of User Mode Linux, a Linux kernel that is a process: boot it, run commands in it, cut its power."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.uml import image

BOOT_TIMEOUT = 300.0  # seconds
PATIENCE = 180.0  # seconds for a command of a second or two; the machine is slow, and may have half a processor
MEMORY = "1536M"
USER = "user"
BARE = "init=/usr/local/sbin/agent"  # boots in a few seconds, without systemd: no sessions, no user bus


class MachineFailed(Exception):
    """The machine did not do what it was told in time, or ended; the text has the end of its console."""


class Done(NamedTuple):
    """What a command left: its exit code (128+N after signal N), and both of its streams as one."""

    code: int
    output: str


class Machine:
    """One machine with a disk of its own, which keeps what is written through every boot.

    ``work`` is an empty directory; the machine sees it as ``/host/exchange``, and the checkout as ``/host/checkout``.
    """

    def __init__(self, base: Path, work: Path) -> None:
        self.base = base
        self.work = work
        self.exchange = work / "exchange"
        self.exchange.mkdir()
        self.console = work / "console"
        self._disk = work / "disk"
        # The kernel keeps the machine's memory in a file there; a container's /dev/shm is too small.
        self._environment = {**os.environ, "TMPDIR": str(work), **_registers(work)}
        self._kernel: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._received = b""
        self._commands = 0

    def boot(self, *parameters: str) -> None:
        """Start the kernel with further ``parameters``; returns when commands can be run. Raises MachineFailed."""
        assert self._kernel is None
        ours, theirs = socket.socketpair()
        line = f"fd:{theirs.fileno()}"
        command = [
            image.KERNEL,
            f"mem={MEMORY}",
            f"ubd0={self._disk},{self.base}",
            "root=/dev/ubda",
            "rw",
            "con0=null,fd:1",
            "con=null",
            f"ssl0={line},{line}",
            "ssl=null",
            "quiet",
            "security=apparmor",
            "apparmor=1",
            f"checkout={image.CHECKOUT}",
            f"exchange={self.exchange}",
            f"umid={os.getpid()}-{id(self):x}",
            f"uml_dir={self.work}",
            *parameters,
        ]
        with self.console.open("ab") as console:
            self._kernel = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env=self._environment,
            )
        theirs.close()
        self._line, self._received = ours, b""
        self._read_line(BOOT_TIMEOUT)

    def run(
        self,
        command: str,
        *,
        user: str = USER,
        timeout: float = PATIENCE,
        env: Mapping[str, str] | None = None,
        live: bool = False,
    ) -> Done:
        """Run a command of the shell in a login session of ``user``, or as root without one; ``live`` prints.

        Raises MachineFailed when it takes longer than ``timeout`` seconds; the machine is then of no more use.
        """
        output = self.send(command, user=user, env=env)
        code = self._read_line(timeout, output if live else None)["code"]
        return Done(code, output.read_text(errors="replace"))

    def ok(
        self, command: str, *, user: str = USER, timeout: float = PATIENCE, env: Mapping[str, str] | None = None
    ) -> str:
        """Run a command that must succeed; its output."""
        done = self.run(command, user=user, timeout=timeout, env=env)
        assert done.code == 0, f"{command} exits {done.code}: {done.output}"
        return done.output

    def send(self, command: str, *, user: str = USER, env: Mapping[str, str] | None = None) -> Path:
        """Start a command and do not wait for it: the next thing must be :meth:`cut_power`. The file of its output."""
        assert self._line is not None
        self._commands += 1
        output = self.exchange / f"{self._commands}.output"
        output.touch()
        request = {"user": user, "command": command, "environment": dict(env or {}), "output": output.name}
        self._line.sendall(json.dumps(request).encode() + b"\n")
        return output

    def shut_down(self) -> None:
        """Power off as the button does: services are stopped, file systems unmounted."""
        assert self._kernel is not None
        self.send("systemctl poweroff", user="root")
        try:
            self._kernel.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise MachineFailed(f"the machine does not power off\n{self._end_of_console()}") from None
        self.cut_power()

    def reboot(self) -> None:
        """Shut down and boot again."""
        self.shut_down()
        self.boot()

    def cut_power(self) -> None:
        """End the machine at once. What it had not written to its disk is lost."""
        if self._kernel is None or self._line is None:
            return
        try:
            # Each address space of the machine is a process of the kernel's session.
            os.killpg(self._kernel.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._kernel.wait()
        self._line.close()
        self._kernel = self._line = None

    def _read_line(self, timeout: float, shown: Path | None = None) -> dict[str, int]:
        """The next line of the machine, which comes when a command has ended; meanwhile prints the file ``shown``."""
        assert self._line is not None
        deadline = time.monotonic() + timeout
        printed = 0
        while b"\n" not in self._received:
            left = deadline - time.monotonic()
            if left < 0:
                raise MachineFailed(f"no answer within {timeout:.0f} s\n{self._end_of_console()}")
            ready, _, _ = select.select([self._line], [], [], min(left, 0.2) if shown else left)
            if ready:
                data = self._line.recv(65536)
                if not data:
                    raise MachineFailed(f"the machine has ended\n{self._end_of_console()}")
                self._received += data
            if shown:
                printed = _show(shown, printed)
        if shown:
            _show(shown, printed)
        line, _, self._received = self._received.partition(b"\n")
        answer: dict[str, int] = json.loads(line)
        return answer

    def _end_of_console(self) -> str:
        return "\n".join(self.console.read_text(errors="replace").splitlines()[-30:])


def _registers(work: Path) -> dict[str, str]:
    """What the kernel needs in its environment to run on this processor. Raises Unavailable."""
    if not image.has_wide_registers():
        return {}
    library = work / "registers.so"
    command = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(Path(__file__).with_name("registers.c"))]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise image.Unavailable(f"gcc fails: {made.stderr.strip()}")
    return {"LD_PRELOAD": str(library)}


def _show(path: Path, offset: int) -> int:
    """Print what a file holds from ``offset``; the offset of its end."""
    with path.open("rb") as stream:
        stream.seek(offset)
        data = stream.read()
    sys.stdout.write(data.decode(errors="replace"))
    sys.stdout.flush()
    return offset + len(data)


@contextmanager
def machine() -> Iterator[Machine]:
    """A machine with a fresh disk, not yet booted. Raises :class:`tests.uml.image.Unavailable`."""
    with image.disk() as base:
        work = Path(tempfile.mkdtemp(prefix="uml-", dir="/var/tmp"))
        new = Machine(base, work)
        try:
            yield new
        finally:
            new.cut_power()
            shutil.rmtree(work, ignore_errors=True)
