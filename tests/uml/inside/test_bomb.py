"""Who forks or opens without end harms nobody but itself."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.uml.inside.session import IMAGE, Session, cgroup, until

BOMB = ("sh", "-c", "b() { b | b & }; b; while :; do sleep 1; done")
PATIENCE = 15.0  # seconds in which a shell of the host answers; the machine has one processor


@pytest.mark.parametrize(("limit", "grown"), [("60", 60), ("2048", 300)])
def test_fork_bomb_row_94(rootless: Session, limit: str, grown: int) -> None:
    """security row 94: bounded by the limit, the host's shell answers, and the container can be removed."""
    flags = ("--name", "bomb", "--network", "none", "--pids-limit", limit, "--memory", "200m")
    rootless.ok("run", "--detach", *flags, IMAGE, *BOMB)
    group = cgroup(rootless, "bomb")
    until(lambda: int((group / "pids.current").read_text()) >= grown - 5, "there are many")
    for _ in range(3):
        began = time.monotonic()
        assert subprocess.run(["sh", "-c", "echo in | cat"], capture_output=True, check=True).stdout == b"in\n"
        assert time.monotonic() - began < PATIENCE
        assert int((group / "pids.current").read_text()) <= int(limit)
    rootless.ok("rm", "--force", "--time", "0", "bomb", timeout=110)
    until(lambda: not group.exists(), "the processes are gone")


def test_descriptor_bomb_row_94(rootless: Session) -> None:
    """Open files are bounded by the limit of the process, however high the payload sets it."""
    script = "import os\nn = 0\ntry:\n  while os.dup(0): n += 1\nexcept OSError as e: print(e.errno, n)"
    run = ("run", "--rm", "--network", "none", "--ulimit", "nofile=200:200", "--rootfs", "/:O")
    shown = rootless.ok(*run, "sh", "-c", f"ulimit -n 400 2>/dev/null; exec python3 -c '{script}'")
    number, count = shown.split()
    assert number == "24" and 190 <= int(count) < 200
    assert int(Path("/proc/sys/fs/file-nr").read_text().split()[0]) < 20_000 and os.getuid() != 0
