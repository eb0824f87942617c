"""The fixtures of the conformance suite, and which of its tests are asked of whom."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance import peers
from tests.conformance.support import Box, Cgroup, Runtime, become_subreaper, new_home, reap, under_test
from tests.support.fixtures import require

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests about another user than the one who runs them."""
    unwanted = "as_user" if os.getuid() == 0 else "as_root"
    left_out = [item for item in items if HERE in item.path.parents and item.get_closest_marker(unwanted)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_report_header() -> list[str]:
    """Which program is under test."""
    runtime = under_test()
    version = ".".join(str(part) for part in runtime.version)
    return [f"runtime under test: {runtime.name} {version} ({' '.join(runtime.command)})"]


@pytest.fixture(scope="session")
def runtime() -> Runtime:
    """The program under test; the tests' process takes its orphans."""
    require("userns", "busybox", *(() if os.getuid() == 0 else ("subuid", "newuidmap")))
    become_subreaper()
    return under_test()


@pytest.fixture
def home(request: pytest.FixtureRequest, runtime: Runtime) -> Iterator[Path]:
    """A new directory; what is not applicable to the runtime is told before anything is done."""
    reason = peers.not_applicable(request.node, runtime)
    if reason:
        pytest.skip(f"n/a: {reason}")
    with new_home() as made:
        yield made
        reap()


@pytest.fixture
def box(runtime: Runtime, home: Path) -> Iterator[Box]:
    """A bundle that may become a container."""
    made = Box(runtime, home)
    try:
        yield made
    finally:
        made.clean()


@pytest.fixture
def second(box: Box, runtime: Runtime, home: Path) -> Iterator[Box]:
    """A second bundle, with the same state directory."""
    made = Box(runtime, home, "second")
    try:
        yield made
    finally:
        made.clean()


@pytest.fixture
def cgroup(box: Box) -> Cgroup:
    """The container's cgroup, in the unified tree."""
    return box.needs_cgroup()
