"""What scenarios of pulls, and those of pushes, tell when all were tried."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

from rootless.registry.errors import TransientError
from rootless.registry.options import ConnectionOptions
from rootless.registry.retry import Limits
from tests.fakes.registry import FakeRegistry, Reply
from tests.support.figures import Tell


class Tried(Protocol):
    """A scenario. ``refused``: in which words it ends, if not well."""

    @property
    def name(self) -> str: ...

    @property
    def refused(self) -> str: ...


AnyTried = TypeVar("AnyTried", bound=Tried)


def tell_ends(
    figure: Tell, faults: str, goal: str, scenarios: Sequence[AnyTried], ended: dict[str, str],
    attempt: Callable[[AnyTried, Path], str], directory: Path,
) -> None:  # fmt: skip
    """Tell how many scenarios ended safely, and that none was lost which should end well.

    ``ended`` says how each did that was tried ('': well); the others are tried by ``attempt``, in ``directory``.
    """
    for number, scenario in enumerate(scenarios):
        if scenario.name not in ended:  # the test was chosen alone
            (directory / str(number)).mkdir()
            ended[scenario.name] = attempt(scenario, directory / str(number))
    good = [scenario for scenario in scenarios if not ended[scenario.name]]
    figure(f"{faults}: scenarios that end safely", goal, len(good), of=len(scenarios))
    recoverable = [scenario for scenario in scenarios if not scenario.refused]
    lost = [scenario.name for scenario in recoverable if ended[scenario.name]]
    figure(f"{faults}: recoverable ones that do not recover by themselves", "= 0", len(lost), of=len(recoverable))
    assert len(good) == len(scenarios), {name: wrong for name, wrong in ended.items() if wrong}


def tell_stalls(
    figure: Tell, faults: str, stalls: Mapping[str, tuple[str, Reply]], shorter: int,
    prepare: Callable[[FakeRegistry, ConnectionOptions], Callable[[str], object]],
) -> None:  # fmt: skip
    """Tell when a stall is noticed by what ``prepare`` gives, which is called with the part that is not answered.

    With the limits that the program has, a ``shorter``-th of them, by which what is measured is multiplied.
    """
    limits = replace(Limits(), idle_seconds=Limits().idle_seconds / shorter, tries=1)
    noticed: dict[str, float] = {}

    def measure(name: str, part: str, reply: Reply) -> None:
        with FakeRegistry() as fake:
            ask = prepare(fake, ConnectionOptions(limits=limits, tls_verify=False))
            fake.script(part, reply)
            started = time.monotonic()
            try:
                ask(part)
            except TransientError as error:
                assert error.stalled
                noticed[name] = time.monotonic() - started

    threads = [threading.Thread(target=measure, args=(name, *how)) for name, how in stalls.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert noticed.keys() == stalls.keys()
    figure(f"{faults}: until a stall is noticed", "≤ 30 s", max(noticed.values()) * shorter)
