"""More output than anybody wants: what a log takes of the disk, and what a log without a disk costs."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_detached import about, begin, state
from tests.integration.test_run_flags import IMAGE
from tests.support.cli import CHECKOUT, Cli
from tests.support.figures import amount

pytestmark = [
    pytest.mark.needs("userns", "subuid", "newuidmap", "busybox"), pytest.mark.slow, pytest.mark.timeout(600),
]  # fmt: skip
FLOOD = amount(usual=3, nightly=10) << 30
LARGEST = 10 << 20


@pytest.fixture(autouse=True)
def _clean(shared_cli: Cli) -> Iterator[None]:
    yield
    shared_cli.ok("rm", "-af", "-t", "0")


def sizes(log: Path) -> int:
    """What the log takes, with the file before."""
    total = 0
    for path in (log, log.with_name(f"{log.name}.1")):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


@pytest.mark.parametrize(
    "script",
    [f"head -c {FLOOD} /dev/zero", f"yes | head -c {FLOOD >> 9}", f"tr '\\0' x </dev/zero | head -c {FLOOD >> 4}"],
    ids=["zeros", "short lines", "one line"],
)
def test_the_size_of_the_log_is_kept_row_92(shared_cli: Cli, script: str) -> None:
    """Gigabytes of NUL without a newline, and less of what is slower to make: the log stays as long as it may be."""
    # In memory, so that the disk is not what is measured.
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        log = Path(directory) / "log"
        flags = ("--log-opt=max-size=10m", f"--log-opt=path={log}")
        begin(shared_cli, "--name", "flood", *flags, IMAGE, "sh", "-c", f"{script}; exit 9")
        waiting = shared_cli.popen("wait", "flood")
        most = 0
        while waiting.poll() is None:
            most = max(most, sizes(log))
            time.sleep(0.02)
        assert waiting.communicate()[0] == b"9\n"
        assert LARGEST // 2 <= max(most, sizes(log)) <= LARGEST


@pytest.mark.parametrize("size", [(), ("--log-opt=max-size=1m",)])
def test_a_full_disk_does_not_stop_the_payload_row_92(shared_cli: Cli, size: tuple[str, ...]) -> None:
    """Every write to the log fails with ENOSPC: the text is lost, the container goes on and ends as it wanted."""
    begin(shared_cli, "--name", "full", "--log-opt=path=/dev/full", *size, IMAGE,
          "sh", "-c", f"head -c {FLOOD >> 3} /dev/zero; echo end >&2; exit 9")  # fmt: skip
    assert shared_cli.ok("wait", "full", timeout=300) == "9\n"
    assert state(shared_cli, "full") == "exited" and about(shared_cli, "full")["State"]["ExitCode"] == 9


ON_A_SMALL_DISK = """
import os, sys
sys.path.insert(0, {checkout!r})
from rootless.monitor.logs import Log

for limit in (0, 600 << 10):
    path = f"{{os.getcwd()}}/{{limit}}.log"
    with open("filler", "wb") as filler:
        filler.write(bytes(300 << 10))
    log = Log(path, limit)
    for number in range(20000):
        log.write(b"stdout", b"line %d of many\\nand another\\nand half" % number)
    os.unlink("filler")
    log.write(b"stderr", b"after\\n")
    log.close()
    lines = open(path, "rb").read().split(b"\\n")
    assert lines[-1] == b"" and lines[-2].endswith(b" stderr F after"), lines[-3:]
    whole = (b" F line ", b" F and another", b" P and half", b" F after")
    assert all(any(word in line for word in whole) for line in lines[:-1] if b"line" in line or b"and" in line)
    assert all(line[:2] == b"20" and line.split(b" ")[1] in (b"stdout", b"stderr") for line in lines[:-1])
    for name in os.listdir():
        os.unlink(name)
"""


def test_a_disk_that_fills_up_row_92(tmp_path: Path) -> None:
    """On a file system of 1 MiB: what is in the log are whole lines, and when there is space again it goes on."""
    script = f"mount -t tmpfs -o size=1m tmpfs {tmp_path} && cd {tmp_path} && exec \"$@\""
    program = ON_A_SMALL_DISK.format(checkout=str(CHECKOUT))
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    command += [sys.executable, "-IS", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
