"""The booted machine, and the figures that were measured in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.uml import image
from tests.uml.machine import Machine, machine

collect_ignore = ["inside"]  # those run in the machine, by test_inside.py

PACKAGES = "/opt/rootless/lib/python3.11/site-packages"  # where the checkout is installed in the machine
FIGURES: list[str] = []


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
    fresh.ok(f"sh {PACKAGES}/contrib/apparmor/install", user="root")
    fresh.ok(f"install {PACKAGES}/tests/uml/inside/forbidden.apparmor /etc/apparmor.d/forbidden", user="root")
    fresh.ok("apparmor_parser --replace /etc/apparmor.d/forbidden", user="root")
    fresh.ok("python -m tests.uml.inside.prepare")
    return fresh


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured."""
    if FIGURES:
        terminalreporter.section("figures")
        for figure in FIGURES:
            terminalreporter.line(figure)
