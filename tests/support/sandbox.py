"""A process with the capabilities and the system call filter of a container, but without its file system.

``python -m tests.support.sandbox FILTER CAPS COMMAND…``: FILTER is a file with the BPF program, CAPS the bounding set
as a number. The command runs as 0 of new user, mount and network namespaces.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from rootless.linux import caps, libc, seccomp

SOURCE = Path(__file__).with_name("probe.c")


def build_probe(directory: Path) -> Path:
    """The probe of ``probe.c``, compiled; skips where there is no compiler for it."""
    program = directory / "probe"
    command = ["gcc", "-static", "-O1", "-o", str(program), str(SOURCE)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"needs gcc: {made.stderr.strip().splitlines()[-1:]}")
    return program


def run(filter_file: Path, capabilities: int, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command in the sandbox."""
    root = Path(__file__).parents[2]
    argv = [sys.executable, "-m", "tests.support.sandbox", filter_file, capabilities, *command]
    environ = {**os.environ, "PYTHONPATH": str(root)}
    words = [str(word) for word in argv]
    return subprocess.run(words, capture_output=True, text=True, check=False, env=environ, cwd=root, timeout=60)


def reached(output: str) -> set[str]:
    """The entry points that the probe reached."""
    return {line.split()[0] for line in output.splitlines() if line.split()[1] == "reached"}


def main(filter_file: str, capabilities: int, command: Iterable[str]) -> None:
    """Become what a container's process is, and run ``command``."""
    uid, gid = os.getuid(), os.getgid()
    libc.unshare(libc.CLONE_NEWUSER | libc.CLONE_NEWNS | libc.CLONE_NEWNET)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        Path(f"/proc/self/{name}").write_text(text)
    caps.limit_bounding(capabilities)
    program = Path(filter_file).read_bytes()
    if program:
        seccomp.load(program)
    caps.capset(capabilities, capabilities, 0)
    argv = list(command)
    os.execv(argv[0], argv)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
