"""config.md: ``scheduler``, ``ioPriority``, ``execCPUAffinity``; config-linux.md: ``personality``, ``memoryPolicy``."""

from __future__ import annotations

import os

import pytest

from tests.conformance.support import Box

POLICIES = {"SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_IDLE": 5, "SCHED_DEADLINE": 6}
STAT = ["cat", "/proc/self/stat"]


def field(text: str, number: int) -> int:
    """A field of /proc/PID/stat by its number in proc(5)."""
    return int(text.rpartition(")")[2].split()[number - 3])


@pytest.mark.since("scheduler")
@pytest.mark.parametrize("policy", ["SCHED_OTHER", "SCHED_BATCH", "SCHED_IDLE"])
def test_policy(box: Box, policy: str) -> None:
    box.process["scheduler"] = {"policy": policy}
    assert field(box.output(*STAT), 41) == POLICIES[policy]


@pytest.mark.as_root
@pytest.mark.since("scheduler")
@pytest.mark.parametrize("policy", ["SCHED_FIFO", "SCHED_RR"])
def test_realtime_policy(box: Box, policy: str) -> None:
    box.process["scheduler"] = {"policy": policy, "priority": 7, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}
    out = box.output(*STAT)
    assert field(out, 41) == POLICIES[policy] and field(out, 40) == 7


@pytest.mark.as_root
@pytest.mark.since("scheduler")
def test_deadline(box: Box) -> None:
    times = {"runtime": 10_000_000, "deadline": 50_000_000, "period": 100_000_000}
    box.process["scheduler"] = {"policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_RESET_ON_FORK"], **times}
    assert field(box.output(*STAT), 41) == POLICIES["SCHED_DEADLINE"]


@pytest.mark.since("scheduler")
@pytest.mark.parametrize("policy", ["SCHED_OTHER", "SCHED_BATCH"])
def test_nice(box: Box, policy: str) -> None:
    box.process["scheduler"] = {"policy": policy, "nice": 5}
    out = box.output(*STAT)
    assert field(out, 19) == 5 and field(out, 41) == POLICIES[policy]


@pytest.mark.since("scheduler")
@pytest.mark.parametrize(
    "given", [{"policy": "SCHED_NONSENSE"}, {}, {"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_NONSENSE"]}]
)
def test_refused_scheduler(box: Box, given: dict[str, object]) -> None:
    box.process["scheduler"] = given
    box.refused()


@pytest.mark.as_user
@pytest.mark.since("scheduler")
def test_realtime_that_a_user_may_not_have(box: Box) -> None:
    box.process["scheduler"] = {"policy": "SCHED_FIFO", "priority": 7}
    box.refused()


@pytest.mark.since("ioPriority")
@pytest.mark.parametrize(
    ("kind", "priority", "shown"),
    [("IOPRIO_CLASS_BE", 6, "best-effort: prio 6"), ("IOPRIO_CLASS_BE", 0, "best-effort: prio 0")],
)
def test_io_priority(box: Box, kind: str, priority: int, shown: str) -> None:
    box.process["ioPriority"] = {"class": kind, "priority": priority}
    assert box.output("ionice").strip() == shown


@pytest.mark.since("ioPriority")
def test_io_priority_idle(box: Box) -> None:
    box.process["ioPriority"] = {"class": "IOPRIO_CLASS_IDLE", "priority": 0}
    assert box.output("ionice").startswith("idle")


@pytest.mark.as_root
@pytest.mark.since("ioPriority")
def test_io_priority_of_real_time(box: Box) -> None:
    box.process["ioPriority"] = {"class": "IOPRIO_CLASS_RT", "priority": 3}
    assert box.output("ionice").strip() == "realtime: prio 3"


@pytest.mark.since("ioPriority")
def test_refused_io_class(box: Box) -> None:
    box.process["ioPriority"] = {"class": "IOPRIO_CLASS_NONSENSE", "priority": 0}
    box.refused()


def affinity(text: str) -> str:
    (found,) = (line.split()[1] for line in text.splitlines() if line.startswith("Cpus_allowed_list"))
    return found


MANY = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")


@MANY
@pytest.mark.since("execCPUAffinity")
def test_affinity_of_exec(box: Box) -> None:
    box.process["execCPUAffinity"] = {"initial": "0", "final": "1"}
    started = box.launch("sh", "-c", "grep Cpus_allowed_list /proc/self/status; exec sleep 1000")
    assert affinity(box.executed("cat", "/proc/self/status")) == "1"
    assert affinity(started.texts()[0]) != "1"  # not of the first program


@MANY
@pytest.mark.since("execCPUAffinity")
def test_affinity_of_exec_by_process_file(box: Box) -> None:
    box.sleep()
    process = {**box.process, "args": ["cat", "/proc/self/status"], "execCPUAffinity": {"final": "0"}}
    assert affinity(box.exec_process(process).out) == "0"


@pytest.mark.since("execCPUAffinity")
def test_refused_affinity(box: Box) -> None:
    box.sleep()
    process = {**box.process, "args": ["true"], "execCPUAffinity": {"final": "nonsense"}}
    assert box.exec_process(process).code != 0


@pytest.mark.since("personality")
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="needs a machine with another personality")
@pytest.mark.parametrize(("domain", "machine"), [("LINUX", "x86_64"), ("LINUX32", "i686")])
def test_personality(box: Box, domain: str, machine: str) -> None:
    box.linux["personality"] = {"domain": domain}
    assert box.output("uname", "-m") == f"{machine}\n"


@pytest.mark.since("personality")
def test_refused_personality(box: Box) -> None:
    box.linux["personality"] = {"domain": "NONSENSE"}
    box.refused()


def numa_policy(box: Box) -> str:
    return box.output("cat", "/proc/self/numa_maps").split()[1]


NUMA = pytest.mark.skipif(not os.path.exists("/proc/self/numa_maps"), reason="needs a kernel with NUMA")


@NUMA
@pytest.mark.since("memoryPolicy")
@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"mode": "MPOL_BIND", "nodes": "0"}, "bind:0"),
        ({"mode": "MPOL_INTERLEAVE", "nodes": "0"}, "interleave:0"),
        ({"mode": "MPOL_PREFERRED", "nodes": "0"}, "prefer:0"),
        ({"mode": "MPOL_LOCAL"}, "local"),
        ({"mode": "MPOL_DEFAULT"}, "default"),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}, "bind=static:0"),
    ],
)
def test_memory_policy(box: Box, given: dict[str, object], shown: str) -> None:
    box.linux["memoryPolicy"] = given
    assert numa_policy(box) == shown


@NUMA
@pytest.mark.since("memoryPolicy")
@pytest.mark.parametrize(
    "given",
    [
        {"mode": "MPOL_NONSENSE"},
        {"mode": "MPOL_BIND", "nodes": "999"},
        {"mode": "MPOL_BIND", "nodes": "x"},
        {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NONSENSE"]},
    ],
)
def test_refused_memory_policy(box: Box, given: dict[str, object]) -> None:
    box.linux["memoryPolicy"] = given
    box.refused()
