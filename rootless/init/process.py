"""What a process is given beside its ids and limits: scheduling, I/O priority, processors, memory policy.

The functions serve a start and an exec alike. Those with a ``pid`` are the caller's, who may have more power than the
process inside its user namespace: 0 stands for the calling process itself.
"""

from __future__ import annotations

import os

from rootless.errors import RootlessError
from rootless.linux import sched

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Attributes:
    """``scheduler`` is a ``struct sched_attr`` (empty: unchanged), ``io_priority`` as ioprio_set(2) takes it.

    ``initial`` and ``final`` are the processors of a process that joins a container, before and after it is in the
    container's control group; empty: unchanged.
    """

    __slots__ = ("final", "initial", "io_priority", "scheduler", "text")

    def __init__(
        self, scheduler: bytes, io_priority: int | None, initial: frozenset[int], final: frozenset[int], text: list[str]
    ) -> None:
        self.scheduler = scheduler
        self.io_priority = io_priority
        self.initial = initial
        self.final = final
        self.text = text
        """The same for people, a line each."""


def set_scheduler(attributes: Attributes, pid: int = 0) -> None:
    """Give a process its scheduling policy. Raises ``RootlessError``."""
    if attributes.scheduler:
        _try(lambda: sched.sched_setattr(pid, attributes.scheduler), "scheduler", "raise RLIMIT_RTPRIO or RLIMIT_NICE")


def set_io_priority(attributes: Attributes, pid: int = 0) -> None:
    """Give a process its I/O priority. Raises ``RootlessError``."""
    priority = attributes.io_priority
    if priority is not None:
        _try(lambda: sched.ioprio_set(pid, priority), "ioPriority", "the real-time class is root's")


def set_affinity(processors: frozenset[int], pid: int = 0) -> None:
    """Bind a process to processors, where any are named. Raises ``RootlessError``."""
    if processors:
        _try(lambda: os.sched_setaffinity(pid, processors), "execCPUAffinity", "name processors that are there")


def _try(call: Callable[[], None], field: str, hint: str) -> None:
    try:
        call()
    except OSError as error:
        raise RootlessError(f"cannot apply process.{field}: {os.strerror(error.errno or 0)}", hint) from None


def set_memory_policy(policy: tuple[int, bytes]) -> None:
    """Choose the NUMA nodes that the calling process and what it starts get memory of. Raises ``RootlessError``."""
    try:
        sched.set_mempolicy(*policy)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        hint = "name memory nodes that are there: /sys/devices/system/node/has_memory"
        raise RootlessError(f"cannot apply linux.memoryPolicy: {reason}", hint) from None


def set_oom_score(score: int, notes: list[str]) -> None:
    """Set the badness for the out-of-memory killer; lowering it needs a privilege that the caller may lack."""
    fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(score).encode())
    except PermissionError:
        notes.append(f"oom_score_adj {score} is below the caller's and is left out")
    finally:
        os.close(fd)
