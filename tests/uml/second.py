"""What runs in the second machine: the tests of ``inside``, and the conformance suite with controllers."""

from __future__ import annotations

import time
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
# In a scope of the user's, of which he gives a part to the tests and divides the rest.
CONFORMANCE = f"""
cd /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup) && mkdir tests && echo $$ >tests/cgroup.procs || exit
echo "+cpu +io +memory +pids" >cgroup.subtree_control || exit
cd {PACKAGES} && exec {PYTEST} --rootdir tests --confcutdir tests/conformance -p tests.uml.with_cgroup \\
    --junitxml=/tmp/conformance.xml tests/conformance
"""
IN_A_SCOPE = 'systemd-run --user --scope --quiet --property=Delegate=yes sh -c "$SCRIPT"'


class Report(NamedTuple):
    """A run of pytest in the machine: what it printed, its results as JUnit has them, and the seconds that it took."""

    output: str
    xml: str
    seconds: float


class Results(NamedTuple):
    """The runs in the second machine, and the seconds until it was ready for them."""

    inside: Report
    conformance: Report
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
        inside = _run(new, INSIDE, "/tmp/inside.xml")
        conformance = _run(new, IN_A_SCOPE, "/tmp/conformance.xml")
        return Results(inside, conformance, ready)


def _run(new: Machine, command: str, path: str) -> Report:
    began = time.monotonic()
    environment = {"SCRIPT": CONFORMANCE, "ROOTLESS_TEST_PATIENCE": str(PATIENCE)}
    done = new.run(command, timeout=1500, env=environment)
    return Report(done.output, new.ok(f"cat {path}"), time.monotonic() - began)
