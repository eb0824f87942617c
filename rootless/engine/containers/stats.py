"""``stats``: what running containers use, from their control groups and their networks' counters."""

from __future__ import annotations

import os
import time

from rootless.cgroups.v2 import Cgroup
from rootless.engine.containers.status import ALIVE, status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless.cgroups.v2 import Stats
    from rootless.engine.context import Engine


class Sample:
    """One look at a container. ``moment``: nanoseconds of the monotonic clock; ``age``: nanoseconds that it runs.

    ``received`` and ``sent``: bytes of its network interfaces. ``group`` is missing where it does not run, or has no
    control group of its own; then ``why`` says so.
    """

    __slots__ = ("age", "group", "id", "moment", "name", "received", "sent", "state", "why")

    def __init__(self, container_id: str, name: str, state: str) -> None:
        self.id = container_id
        self.name = name
        self.state = state
        self.moment = time.monotonic_ns()
        self.age = 0
        self.group: Stats | None = None
        self.received = self.sent = 0
        self.why = ""


class Usage:
    """A sample, and what was used since the one before it: ``cpu`` and ``average`` are per cent of one CPU."""

    __slots__ = ("average", "cpu", "memory_limit", "sample")

    def __init__(self, sample: Sample, before: Sample | None, memory: int) -> None:
        self.sample = sample
        self.cpu = self.average = 0.0
        self.memory_limit = 0
        group = sample.group
        if group is None:
            return
        self.memory_limit = min(group.memory_limit or memory, memory)
        if sample.age > 0:
            self.average = group.cpu_total * 100_000 / sample.age
        self.cpu = self.average
        if before is not None and before.group is not None and sample.moment > before.moment:
            used = max(group.cpu_total - before.group.cpu_total, 0)
            self.cpu = used * 100_000 / (sample.moment - before.moment)


def look(engine: Engine, ids: Sequence[str]) -> list[Sample]:
    """A sample of each container that is still there."""
    found = []
    for container_id in ids:
        current = status(engine, container_id)
        record = engine.store.containers.load(container_id)
        sample = Sample(container_id, record["name"], current.state)
        found.append(sample)
        if current.state not in ALIVE:
            sample.why = "it does not run"
            continue
        sample.age = max(time.time_ns() - current.started, 0) if current.started else 0
        group = Cgroup(current.cgroup)
        if not current.cgroup or not group.exists():
            sample.why = current.cgroup_why or "it has no control group"
            continue
        sample.group = group.stats()
        if record["network"] != "host":  # those of the host would be everybody's
            sample.received, sample.sent = network(current.pid)
    return found


def usages(samples: Sequence[Sample], before: Sequence[Sample]) -> list[Usage]:
    """What each container used since ``before``, or on average since its start."""
    earlier = {sample.id: sample for sample in before}
    memory = machine_memory()
    return [Usage(sample, earlier.get(sample.id), memory) for sample in samples]


def network(pid: int) -> tuple[int, int]:
    """(received, sent) bytes of the interfaces, without loopback, of a process's network namespace."""
    try:
        with open(f"/proc/{pid}/net/dev", "rb", buffering=0) as file:
            lines = file.read(1 << 16).splitlines()[2:]
    except OSError:
        return 0, 0
    received = sent = 0
    for line in lines:
        name, _, rest = line.partition(b":")
        words = rest.split()
        if name.strip() != b"lo" and len(words) > 8:
            received += int(words[0])
            sent += int(words[8])
    return received, sent


def machine_memory() -> int:
    """The machine's memory in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE")
