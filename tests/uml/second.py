"""What is done in a machine as a whole: it is prepared, and runs the tests of ``inside`` or of another suite."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from tests.uml.machine import PATIENCE, Machine, machine

PACKAGES = "/opt/rootless/lib/python3.11/site-packages"  # where the checkout is installed in the machine
SWAP = "fallocate -l 192M /swap && chmod 600 /swap && mkswap /swap && swapon /swap"
# Without the configuration and the fixtures of the checkout, which are about the machine that the tests are started on.
PYTEST = (
    "python -m pytest -c /dev/null -o junit_family=xunit1 -p no:cacheprovider -q -rs --tb=short --timeout=300"
    " --durations=10"
)
INSIDE = (
    f"cd {PACKAGES} && {PYTEST} --rootdir tests/uml/inside --confcutdir tests/uml/inside --import-mode=importlib"
    " --junitxml=/tmp/inside.xml tests/uml/inside"
)


class Report(NamedTuple):
    """A run of pytest in the machine: what it printed, its results as JUnit has them, and the seconds that it took."""

    output: str
    xml: str
    seconds: float


class Results(NamedTuple):
    """The tests of ``inside``, and the seconds until the second machine was ready for them."""

    inside: Report
    booted: float


def prepare(new: Machine) -> None:
    """Load the profiles, and take an image into the user's store."""
    new.ok(f"sh {PACKAGES}/contrib/apparmor/install", user="root")
    new.ok(f"install {PACKAGES}/tests/uml/inside/forbidden.apparmor /etc/apparmor.d/forbidden", user="root")
    new.ok("apparmor_parser --replace /etc/apparmor.d/forbidden", user="root")
    new.ok("python -m tests.uml.inside.prepare")


def run_all(machines: list[Machine]) -> Results:
    """Boot it, put it into ``machines``, and run everything. Raises Unavailable, or MachineFailed when it is ended."""
    with machine() as new:
        machines.append(new)
        began = time.monotonic()
        new.boot()
        prepare(new)
        new.ok(SWAP, user="root")
        ready = time.monotonic() - began
        return Results(run_tests(new, INSIDE, "/tmp/inside.xml"), ready)


def run_tests(new: Machine, command: str, path: str, env: Mapping[str, str] | None = None) -> Report:
    """Run pytest in the machine by ``command``, which leaves its results in the file ``path``."""
    began = time.monotonic()
    done = new.run(command, timeout=1500, env={"ROOTLESS_TEST_PATIENCE": str(PATIENCE), **(env or {})})
    return Report(done.output, new.ok(f"cat {path}"), time.monotonic() - began)
