"""What happens to containers when their monitor is killed, the machine restarts, pids are used again."""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_detached import about, begin, eventually, log, state
from tests.integration.test_run_flags import IMAGE
from tests.support.cli import Cli, new_cli
from tests.support.figures import amount

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")

KILLS = 100
REUSES = 1000
FLOOD = amount(usual=3, nightly=10) << 30


@pytest.fixture(autouse=True)
def _clean(shared_cli: Cli) -> Iterator[None]:
    yield
    shared_cli.ok("rm", "-af", "-t", "0")


def monitor(cli: Cli, name: str) -> int:
    return int(about(cli, name)["State"]["ConmonPid"])


def alive(pid: int) -> bool:
    """Whether there is such a process; a zombie is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_an_end_that_is_not_put_down_yet(shared_cli: Cli) -> None:
    """Between the end of the program and the monitor's note of it nobody is told of another end."""
    begin(shared_cli, "--name", "slow", IMAGE, "sh", "-c", "trap 'exit 7' USR1; while :; do sleep 0.05; done")
    found = about(shared_cli, "slow")["State"]
    watcher, pid = int(found["ConmonPid"]), int(found["Pid"])
    time.sleep(0.3)  # the trap is set
    os.kill(watcher, signal.SIGSTOP)
    try:
        os.kill(pid, signal.SIGUSR1)
        eventually(lambda: not alive(pid), "the program ends")
        command = shared_cli.command("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "slow")
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=shared_cli.environment) as asked:
            time.sleep(0.4)
            os.kill(watcher, signal.SIGCONT)
            assert asked.communicate(timeout=20)[0] == "exited 7\n"
    finally:
        if alive(watcher):
            os.kill(watcher, signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hundred_killed_monitors(shared_cli: Cli) -> None:
    """Fault G14: the state is right within a second, nothing is orphaned, an unknown exit code is never 0."""
    begin(shared_cli, "--name", "m", IMAGE, "sh", "-c", "echo run; trap '' TERM; sleep 1000 & wait")
    dice = random.Random(1)
    for count in range(1, KILLS + 1):
        found = about(shared_cli, "m")["State"]
        pid, keeper = int(found["Pid"]), int(found["ConmonPid"])
        assert pid and keeper
        time.sleep(dice.random() * 0.02)
        os.kill(keeper, signal.SIGKILL)
        asked = killed = time.monotonic()
        while (found := about(shared_cli, "m")["State"])["Status"] != "exited":
            assert asked - killed < 1, "who asks a second later is told that it has ended"
            asked = time.monotonic()
        ended = functools.partial(alive, pid)
        eventually(lambda ended=ended: not ended(), "the container ends with its monitor", 10)  # type: ignore[misc]
        assert found["ExitCode"] != 0
        if count % 3 == 0:
            shared_cli.ok("stop", "m")
        if count % 10 == 0:
            assert "run" in log(shared_cli, "m")
            shared_cli.ok("rm", "m")
            begin(shared_cli, "--name", "m", IMAGE, "sh", "-c", "echo run; trap '' TERM; sleep 1000 & wait")
        else:
            shared_cli.ok("start", "m")


def test_a_container_that_asks_to_outlive_its_monitor_is_ended(shared_cli: Cli) -> None:
    """The death signal can be taken back by the program (prctl(2)); the next command that looks ends it then."""
    begin(shared_cli, "--name", "o", IMAGE, "sleep", "1000")
    pid, keeper = int(about(shared_cli, "o")["State"]["Pid"]), monitor(shared_cli, "o")
    os.kill(keeper, signal.SIGSTOP)
    stored = shared_cli.home / "run" / "rootless" / "engine" / str(about(shared_cli, "o")["Id"]) / "state.json"
    document = json.loads(stored.read_text())
    document["monitor_start"] += 1  # as if it were another process by now
    stored.write_text(json.dumps(document))
    assert state(shared_cli, "o") == "exited"
    eventually(lambda: not alive(pid), "the orphan is ended")
    os.kill(keeper, signal.SIGCONT)
    eventually(lambda: not alive(keeper), "the monitor ends")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", ["gone", "partly", "kept"])
def test_reboot(busybox_layout: Path, mode: str) -> None:
    """Fault G13: the runtime directory is gone, partly gone, or kept on disk with the last boot's state."""
    with new_cli() as cli:
        image = cli.ok("pull", "--quiet", f"oci:{busybox_layout}:latest").strip()
        policies = ["no", "always", "unless-stopped", "on-failure"]
        names = [f"c{number}" for number in range(20)]
        for number, name in enumerate(names):
            begin(cli, "--name", name, "--restart", policies[number % 4], image, "sh", "-c", "echo run; exec sleep 999")
        cli.ok("stop", "-t0", "c2")  # unless-stopped, and the user stopped it
        pids = [(int(about(cli, name)["State"]["Pid"]), monitor(cli, name)) for name in names if name != "c2"]
        for _, keeper in pids:
            os.kill(keeper, signal.SIGKILL)
        eventually(lambda: not any(alive(pid) for pid, _ in pids), "all have ended")
        directory = cli.home / "run" / "rootless" / "engine"
        if mode == "gone":
            shutil.rmtree(cli.home / "run")
            (cli.home / "run").mkdir(mode=0o700)
        for number, found in enumerate(sorted(directory.glob("*/state.json")) if mode != "gone" else []):
            if mode == "partly":
                (found if number % 2 else found.parent / "attach").unlink()
            else:
                document = json.loads(found.read_text())
                # Of another boot, and another process has the pid now, which even began at the same tick.
                document.update(boot_id="0" * 36, pid=os.getpid(), monitor=os.getpid())
                stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
                document["start_time"] = document["monitor_start"] = int(stat[19])
                found.write_text(json.dumps(document))
        states = {name: state(cli, name) for name in names}
        assert set(states.values()) == {"exited"}
        assert all(about(cli, name)["State"]["ExitCode"] for name in names if name != "c2")
        started = set(cli.ok("resume").split())
        wanted = {name for number, name in enumerate(names) if policies[number % 4] != "no"} - {"c2"}
        assert started == wanted
        assert {name for name in names if state(cli, name) == "running"} == wanted
        cli.ok("start", "c0", "c2")
        cli.ok("rm", "-f", "-t", "0", *names)
        assert cli.ok("ps", "-aq") == ""


REUSE = """
import ctypes, json, os, signal, sys, time
sys.path.insert(0, {checkout!r})
from rootless.runtime import state
from rootless.linux.pidfd import pidfd_send_signal
from rootless.cli import oci_signal

def sleeper():
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGUSR1, lambda *_: os._exit(77))
        while True:
            time.sleep(100)
    return pid

reused = 0
while reused < {rounds}:
    first = sleeper()
    found = state.of_process("c", first)
    found["started"] = True
    assert state.status(found) == "running"
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    while True:  # the clock of start times has ticks of 10 ms
        if int(float(open("/proc/uptime").read().split()[0]) * 100) > found["start_time"] + 1:
            break
    with open("/proc/sys/kernel/ns_last_pid", "w") as file:
        file.write(str(first - 1))
    second = sleeper()
    if second != first:
        os.kill(second, signal.SIGKILL)
        os.waitpid(second, 0)
        continue
    reused += 1
    assert state.status(found) == "exited"
    pidfd = oci_signal.open_init(found)
    assert pidfd == -1
    os.kill(second, 0)
    assert os.waitpid(second, os.WNOHANG) == (0, 0)
    os.kill(second, signal.SIGKILL)
    os.waitpid(second, 0)
print(reused)
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_thousand_reused_pids() -> None:
    """Fault G15: a pid that another process has by now is told apart, and no signal reaches that."""
    program = REUSE.format(checkout=str(Path(__file__).parents[2]), rounds=REUSES)
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", sys.executable, "-c", program],
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == REUSES


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_output_that_nobody_reads_row_91(shared_cli: Cli) -> None:
    """Security row 91: gigabytes of output nobody reads: the monitor does not grow, the payload ends."""
    script = f"read go; head -c {FLOOD} /dev/zero; read go; exit 8"
    begin(shared_cli, "-i", "--log-driver=none", "--name", "flood", IMAGE, "sh", "-c", script)
    stuck = subprocess.Popen(
        shared_cli.command("attach", "flood"), env=shared_cli.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert stuck.stdin
    time.sleep(0.5)
    keeper = monitor(shared_cli, "flood")
    before = memory(keeper)
    stuck.stdin.write(b"go\n")
    stuck.stdin.flush()
    time.sleep(0.3)
    stuck.send_signal(signal.SIGSTOP)
    most = before
    for _ in range(200):  # attachments that are cut
        cut = subprocess.Popen(
            shared_cli.command("attach", "--no-stdin", "flood"), env=shared_cli.environment, stdout=subprocess.DEVNULL
        )
        time.sleep(0.01)
        cut.kill()
        cut.wait()
        most = max(most, memory(keeper))
    feeder = subprocess.run(
        shared_cli.command("attach", "flood"), env=shared_cli.environment, input=b"go\n", stdout=subprocess.DEVNULL,
        timeout=800, check=False,
    )  # fmt: skip
    assert feeder.returncode == 8
    stuck.kill()
    stuck.wait()
    stuck.stdin.close()
    assert stuck.stdout
    stuck.stdout.close()
    assert most - before <= 4096, f"the monitor grew by {most - before} KiB"


def memory(pid: int) -> int:
    """Resident memory of a process, KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0
