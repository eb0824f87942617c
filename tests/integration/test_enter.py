"""Finding the process to join: exactly that which was recorded, whoever has its number now (security row G15)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rootless.errors import RootlessError
from rootless.runtime import enter, state

ROOT = Path(__file__).parents[2]
ROUNDS = int(os.environ.get("ROOTLESS_TEST_ROUNDS", "50"))
_REUSE = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from rootless.errors import RootlessError
from rootless.runtime import enter, state

def make():
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    return pid

def end(pid):
    os.kill(pid, 9)
    os.waitpid(pid, 0)

refused = 0
for _ in range(int(sys.argv[2])):
    first = make()
    found = state.of_process("x", first)
    found["started"] = True
    enter.find(found).close()
    time.sleep(0.02)  # start times are counted in hundredths of a second
    end(first)
    with open("/proc/sys/kernel/ns_last_pid", "w") as file:
        file.write(str(first - 1))
    stranger = make()
    assert stranger == first
    try:
        enter.find(found)
    except RootlessError as error:
        refused += error.exit_code == 255
    end(stranger)
print(refused)
"""


@pytest.mark.needs("userns")
def test_a_number_that_another_process_has_now() -> None:
    """A stranger is never entered. ``ROOTLESS_TEST_ROUNDS=1000`` is the whole measure."""
    command = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", sys.executable]
    done = subprocess.run(
        [*command, "-c", _REUSE, str(ROOT), str(ROUNDS)], capture_output=True, text=True, check=False
    )
    assert done.stdout == f"{ROUNDS}\n", done.stderr


def test_of_another_boot() -> None:
    """After a reboot a number and even a start time mean nothing."""
    found = state.of_process("x", os.getpid())
    found["started"] = True
    enter.find(found).close()
    for change in ({"boot_id": "0"}, {"start_time": 1}, {"pid": 0}, {"pid": -1}, {"pid": 1 << 40}):
        with pytest.raises(RootlessError, match="not running") as error:
            enter.find({**found, **change})  # type: ignore[typeddict-item]
        assert error.value.exit_code == 255


def strangers_process() -> int:
    """The nearest ancestor of this process that is another user's; process 1 has children of anybody's."""
    pid = os.getppid()
    while pid > 1 and os.stat(f"/proc/{pid}").st_uid == os.getuid():
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid


def test_of_another_user() -> None:
    """A process of somebody else is nobody's container: it is refused in words."""
    found = state.of_process("x", strangers_process())
    found["started"] = True
    with pytest.raises(RootlessError, match="another user"):
        enter.find(found)
