"""Limits that need controllers, beyond the plain ones of ``test_limits``."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from tests.uml.inside.session import IMAGE, Session, cgroup, until, usage


def detached(session: Session, name: str, *arguments: str) -> Path:
    """A container in the background; the directory of its control group."""
    session.ok("run", "--detach", "--name", name, "--network", "none", *arguments)
    return cgroup(session, name)


def test_files_of_the_payload(rootless: Session) -> None:
    """What is asked for stands in the files of the group, which the container can read."""
    flags = ["--memory=50m", "--memory-reservation=10m", "--cpus=0.5", "--cpu-shares=512", "--pids-limit=30"]
    names = ("memory.max", "memory.swap.max", "memory.low", "cpu.max", "cpu.weight", "pids.max")
    script = "cd /sys/fs/cgroup; for f in " + " ".join(names) + '; do echo "$f $(cat $f)"; done'
    run = ("run", "--rm", "--network=none", "--user=1000")
    lines = rootless.ok(*run, *flags, IMAGE, "sh", "-c", script).splitlines()
    assert dict(line.split(" ", 1) for line in lines) == {
        "memory.max": "52428800", "memory.swap.max": "52428800", "memory.low": "10485760",
        "cpu.max": "50000 100000", "cpu.weight": "59", "pids.max": "30",
    }  # fmt: skip


def test_a_hog_beside_an_init_that_lives_on(rootless: Session) -> None:
    """A process that was killed for want of memory is told of, whatever the container's exit code; each run anew."""
    script = "test -e /second && exit; touch /second; tail /dev/zero; exit 3"
    rootless.ok("run", "--detach", "--name=hog", "--network=none", "--memory=30m", IMAGE, "sh", "-c", script)
    for code, killed in (("3", "true"), ("0", "false")):
        assert rootless.ok("wait", "hog").strip() == code
        assert rootless.ok("inspect", "--format", "{{.State.OOMKilled}}", "hog").strip() == killed
        rootless.ok("start", "hog")


def shared_memory() -> int:
    """Bytes of the machine that file systems in memory hold."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Shmem:")) << 10


def test_shared_memory_counts_row_93(rootless: Session) -> None:
    """CVE-2024-3056: /dev/shm is bounded by its size and by the limit, and what was in it is free after the stop."""
    before = shared_memory()
    fill = "dd if=/dev/zero of=/dev/shm/x bs=1M count=60; echo full; exec sleep 1000"
    more = detached(rootless, "more", "--memory=30m", "--memory-swap=30m", "--shm-size=100m", IMAGE, "sh", "-c", fill)
    until(lambda: not more.exists() or "oom_kill 0" not in (more / "memory.events").read_text(), "the limit is met")
    rootless.ok("rm", "--force", "--time=0", "more")
    group = detached(rootless, "filled", "--shm-size=8m", IMAGE, "sh", "-c", fill)

    def is_full(times: int) -> bool:
        """Has it been said so often? The log has every run."""
        return rootless.ok("logs", "filled").count("full\n") == times

    for number in range(1, 4):
        until(partial(is_full, number), "the file system is full")
        assert 8 << 20 <= int((group / "memory.current").read_text()) < 24 << 20
        assert shared_memory() - before < 12 << 20
        rootless.ok("restart", "--time=0", "filled")
    rootless.ok("stop", "--time=0", "filled")
    until(lambda: not group.exists(), "the group has gone")
    until(lambda: shared_memory() - before < 1 << 20, "the memory is free")


def test_update_is_lasting_and_all_or_nothing(rootless: Session) -> None:
    """One refused limit leaves the others as they were; a restart has the new ones."""
    group = detached(rootless, "box", "--memory=40m", IMAGE, "sleep", "1000")
    rootless.ok("update", "--memory=64m", "--memory-swap=100m", "--pids-limit=10", "box")
    found = [(group / name).read_text().strip() for name in ("memory.max", "memory.swap.max", "pids.max")]
    assert found == [str(64 << 20), str(36 << 20), "10"]
    rootless.fails(125, "update", "--pids-limit=20", "--cpuset-cpus=0", "box")
    assert (group / "pids.max").read_text() == "10\n"
    rootless.ok("restart", "--time=0", "box")
    assert (cgroup(rootless, "box") / "memory.max").read_text().strip() == str(64 << 20)


def test_disks(rootless: Session) -> None:
    """Rates are those of the machine's disk, and hold."""
    flags = ("--device-write-bps=/dev/ubda:1mb", "--device-read-iops=/dev/ubda:100")
    group = detached(rootless, "slow", *flags, IMAGE, "sleep", "1000")
    line = (group / "io.max").read_text()
    assert "wbps=1048576" in line and "riops=100" in line
    began = time.monotonic()
    rootless.ok("exec", "slow", "dd", "if=/dev/zero", "of=/data", "bs=64k", "count=64", "conv=fsync")
    assert time.monotonic() - began > 3, "4 MiB at 1 MiB a second"


def test_swap(rootless: Session) -> None:
    """What exceeds the memory goes to the disk, as far as --memory-swap lets it."""
    use = (IMAGE, "dd", "if=/dev/zero", "of=/dev/null", "bs=40M", "count=1")
    run = ("run", "--rm", "--network=none", "--memory=20m")
    rootless.fails(137, *run, "--memory-swap=20m", *use)
    rootless.ok(*run, "--memory-swap=100m", *use)
    rootless.ok(*run, "--memory-swap=-1", *use)


def test_who_is_killed_first(rootless: Session) -> None:
    """The number is that of the container's processes, those of ``exec`` too."""
    detached(rootless, "first", "--oom-score-adj=700", IMAGE, "sleep", "1000")
    number = ("cat", "/proc/1/oom_score_adj", "/proc/self/oom_score_adj")
    assert rootless.ok("exec", "first", *number).split() == ["700", "700"]


def test_changed_limits_hold(rootless: Session) -> None:
    """``update`` of a running container is felt at once."""
    group = detached(rootless, "box", "--memory=200m", IMAGE, "sh", "-c", "while :; do :; done")
    rootless.ok("update", "--memory=20m", "--memory-swap=20m", "--cpus=0.2", "box")
    assert rootless.run("exec", "box", "dd", "if=/dev/zero", "of=/dev/null", "bs=40M", "count=1").returncode == 137
    began, used = time.monotonic(), usage(group)
    time.sleep(3)
    assert (usage(group) - used) / (time.monotonic() - began) < 0.35
