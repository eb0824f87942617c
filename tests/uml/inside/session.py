"""The program as the user of the machine calls it: in his own home, with the bus of his own systemd."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.support.cli import Cli

IMAGE = "localhost/busybox:latest"
LAYOUT = "/var/tmp/busybox"  # the OCI image layout that the image is from
LARGE_LAYOUT = "/var/tmp/large"  # one whose unpacking takes a while


class Session(Cli):
    """Like :class:`Cli`, but with the real home, runtime directory and environment of the user."""

    def __init__(self) -> None:
        self.home = Path.home()
        self.data = self.home / ".local/share/rootless"
        self.environment = dict(os.environ)

    def run(
        self, *arguments: str, stdin: str = "", timeout: float = 60, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """As of :class:`Cli`, with the patience that this machine needs."""
        return super().run(*arguments, stdin=stdin, timeout=max(timeout, 180), env=env)


def systemctl(*arguments: str) -> str:
    """The output of ``systemctl --user``; never fails."""
    done = subprocess.run(["systemctl", "--user", *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def until(reached: Callable[[], object], what: str, timeout: float = 60) -> None:
    """Wait until ``reached`` gives something true; fails after ``timeout`` seconds with ``what`` was awaited."""
    deadline = time.monotonic() + timeout
    while not reached():
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.1)


def cgroup(session: Session, container: str) -> Path:
    """The directory of the container's control group."""
    pid = session.ok("inspect", "--format", "{{.State.Pid}}", container).strip()
    return Path("/sys/fs/cgroup" + Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::"))


def usage(group: Path) -> float:
    """Seconds of processor time that a control group has used."""
    return int((group / "cpu.stat").read_text().split()[1]) / 1e6
