"""A command with what it took: processor time and the most memory of any of its processes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.support.cli import Cli


class Took(NamedTuple):
    """``cpu`` and ``wall`` in seconds, ``rss`` of the largest process in MiB."""

    code: int
    error: str
    cpu: float
    wall: float
    rss: float


# A process counts as its own the memory that its parent had when it forked: so the parent is a small one.
_PARENT = """
import os, sys
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, used = os.wait4(pid, 0)
with open(sys.argv[1], "w") as out:
    print(os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, file=out)
"""


def measured(cli: Cli, *arguments: str, data: bytes | Path = b"") -> Took:
    """Run the program with ``data`` (or a file) as its standard input, for two minutes at most."""
    with tempfile.TemporaryDirectory() as scratch:
        usage = Path(scratch, "usage")
        given = data if isinstance(data, Path) else Path(scratch, "stdin")
        if isinstance(data, bytes):
            given.write_bytes(data)
        command = [sys.executable, "-IS", "-c", _PARENT, str(usage), *cli.command(*arguments)]
        started = time.monotonic()
        with open(given, "rb") as stdin:
            done = subprocess.run(
                command, stdin=stdin, capture_output=True, env=cli.environment, timeout=120, check=True
            )
        wall = time.monotonic() - started
        code, cpu, rss = usage.read_text().split()
    return Took(int(code), done.stderr.decode("utf-8", "surrogateescape"), float(cpu), wall, float(rss))
