"""The booted machines, and the figures that were measured in them.

There are two at a time, as each has one processor: in the second all the tests of ``inside`` run, while the first is
rebooted, has its power cut, and runs a part of the conformance suite.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.uml import image
from tests.uml.machine import Machine, machine
from tests.uml.second import Results, prepare, run_all

collect_ignore = ["inside"]  # those run in the machine, by test_inside.py

IN_THE_SECOND = "test_inside.py"
FIGURES: list[str] = []


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The second machine has time until everything else is done."""
    items.sort(key=lambda item: item.path.parent.name == "uml" and item.path.name == IN_THE_SECOND)


@pytest.fixture(scope="session", autouse=True)
def _second(request: pytest.FixtureRequest) -> Iterator[Future[Results] | None]:
    """What becomes of the second machine, begun at once; nothing where no test asks."""
    if not any(item.path.name == IN_THE_SECOND for item in request.session.items):
        yield None
        return
    machines: list[Machine] = []
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(run_all, machines)
        for each in machines:
            each.cut_power()  # ends it also if nobody waits for it any more


@pytest.fixture(scope="session")
def results(_second: Future[Results]) -> Results:
    """What the tests in the second machine came to."""
    try:
        return _second.result()
    except image.Unavailable as lack:
        pytest.skip(f"needs a machine of User Mode Linux: {lack}")


@pytest.fixture(scope="session")
def fresh() -> Iterator[Machine]:
    """A machine that nothing was done to, not yet booted."""
    try:
        with machine() as new:
            yield new
    except image.Unavailable as lack:
        pytest.skip(f"needs a machine of User Mode Linux: {lack}")


@pytest.fixture(scope="session")
def booted(fresh: Machine) -> Machine:
    """A machine that is up, with an image ``localhost/busybox`` in the user's store. The tests share it."""
    fresh.boot()
    prepare(fresh)
    return fresh


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured."""
    if FIGURES:
        terminalreporter.section("figures")
        for figure in FIGURES:
            terminalreporter.line(figure)
