"""What the container sees of the machine in /proc and /sys: nothing of what is hidden, and nothing to write to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rootless.security import defaults
from tests.support.cli import Cli

IMAGE = "localhost/busybox"
QUIET = ("--network", "none")
pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")
SIDE_CHANNELS = ("/proc/interrupts", "/sys/devices/virtual/powercap")
USERS = ["", "-u 1000", "--hardened", "--init -t", "--read-only", "--cap-add sys_admin --cap-add dac_override"]
# Of each path: what is in it, and whether it can be changed in any way.
LOOK = """
for path in "$@"; do
    [ -e $path ] || { echo "$path absent"; continue; }
    found=closed
    if [ -d $path ]; then
        [ -z "$(ls -A $path 2>/dev/null)" ] || found=seen
        mkdir $path/made 2>/dev/null && found=written
        touch $path/made 2>/dev/null && found=written
    else
        [ "$(head -c 1 $path 2>/dev/null | wc -c)" = 0 ] || found=seen
    fi
    rm -rf $path 2>/dev/null
    mv $path $path.moved 2>/dev/null && found=moved
    chmod 777 $path 2>/dev/null && found=changed
    [ -e $path ] || found=removed
    echo "$path $found"
done
"""
# Every file below the paths that lets itself be opened for writing; nothing is written.
WRITE = """
find "$@" -type f 2>/dev/null | while read -r file; do ( : >>"$file" ) 2>/dev/null && echo "$file"; done
for path in "$@"; do mount -o remount,rw,bind $path 2>/dev/null && echo "remounted $path"; done
echo done
"""


def seen(output: str) -> dict[str, str]:
    """{path: what was found}."""
    return dict(line.split() for line in output.replace("\r", "").splitlines())


@pytest.mark.parametrize("flags", USERS)
def test_hidden_paths_rows_50_51(shared_cli: Cli, flags: str) -> None:
    """CVE-2015-3630, CVE-2018-10892, GHSA-7ww5, GHSA-jq35, GHSA-6fw5: in the program, and in what joins it."""
    paths = defaults.masked_paths()
    assert set(SIDE_CHANNELS) <= set(paths)
    if "sys_admin" in flags:
        flags += " --security-opt seccomp=unconfined"
    name = shared_cli.ok("run", "-d", *QUIET, *flags.split(), IMAGE, "sleep", "1000").strip()
    try:
        found = seen(shared_cli.ok("exec", name, "sh", "-c", LOOK, "sh", *paths))
    finally:
        shared_cli.ok("rm", "-f", "-t", "0", name)
    there = {path for path in paths if os.path.exists(path)}
    assert found == {path: "closed" if path in there else "absent" for path in paths}


def test_without_masks_they_are_seen(shared_cli: Cli) -> None:
    """The script of the test above finds what is there to be found."""
    options = (*QUIET, "--security-opt", "unmask=ALL")
    found = seen(shared_cli.ok("run", "--rm", *options, IMAGE, "sh", "-c", LOOK, "sh", *SIDE_CHANNELS))
    assert found["/proc/interrupts"] == "seen"
    more = ("--cap-add", "net_admin")
    assert shared_cli.ok("run", "--rm", *options, *more, IMAGE, "sh", "-c", WRITE, "sh", "/proc/sys/net") != "done\n"


@pytest.mark.parametrize("flags", [*USERS[:-1], "--cap-add net_admin"])
def test_paths_to_read_row_50(shared_cli: Cli, flags: str) -> None:
    """Nothing below them can be opened for writing, nor made writable."""
    paths = [path for path in defaults.READONLY if os.path.exists(path)]
    shown = shared_cli.ok("run", "--rm", *QUIET, *flags.split(), IMAGE, "sh", "-c", WRITE, "sh", *paths)
    assert shown.replace("\r", "") == "done\n"


@pytest.fixture
def throttle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A machine whose processors count how often they were throttled."""
    for number in (0, 1, 10):
        (tmp_path / f"cpu{number}" / "thermal_throttle").mkdir(parents=True)
    (tmp_path / "cpuidle").mkdir()
    monkeypatch.setattr(defaults, "_THERMAL", str(tmp_path))
    yield tmp_path


def test_heat_of_the_processors_row_51(throttle: Path) -> None:
    """GHSA-6fw5: each directory of counters is among the hidden ones, where the machine has them."""
    expected = {f"{throttle}/cpu{number}/thermal_throttle" for number in (0, 1, 10)}
    assert {path for path in defaults.masked_paths() if path.startswith(str(throttle))} == expected


def test_they_are_hidden_in_every_container_row_51(shared_cli: Cli) -> None:
    """What this machine has of them is in the Spec that the runtime is given."""
    name = shared_cli.ok("create", *QUIET, IMAGE, "true").strip()
    try:
        spec = json.loads((shared_cli.data / "containers" / name / "config.json").read_text())
        assert set(defaults.masked_paths()) <= set(spec["linux"]["maskedPaths"])
        assert set(defaults.READONLY) <= set(spec["linux"]["readonlyPaths"])
    finally:
        shared_cli.ok("rm", name)


@pytest.mark.parametrize("flags", ["", "-u 1000", "--hardened"])
def test_a_procfs_of_ones_own_row_50(shared_cli: Cli, flags: str) -> None:
    """Nobody mounts another procfs or sysfs in which nothing is hidden."""
    script = """
        for kind in proc sysfs tmpfs debugfs securityfs cgroup2; do
            mount -t $kind x /tmp 2>/dev/null && echo mounted $kind
        done
        mount --bind /proc/sys /tmp 2>/dev/null && echo bound; umount /proc/keys 2>/dev/null && echo uncovered
        umount -l /proc/interrupts 2>/dev/null && echo uncovered; echo done
    """
    assert shared_cli.ok("run", "--rm", *QUIET, *flags.split(), IMAGE, "sh", "-c", script) == "done\n"
