"""The part of the conformance suite that needs control groups with controllers, run where a user has them."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tests.uml.conftest import FIGURES
from tests.uml.machine import Machine
from tests.uml.second import PACKAGES, PYTEST, run_tests

pytestmark = pytest.mark.timeout(1800)

# In a scope of the user's, of which he gives a part to the tests and divides the rest.
CONFORMANCE = f"""
cd /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup) && mkdir tests && echo $$ >tests/cgroup.procs || exit
echo "+cpu +io +memory +pids" >cgroup.subtree_control || exit
cd {PACKAGES} && exec {PYTEST} --rootdir tests --confcutdir tests/conformance -p tests.uml.with_cgroup \\
    --junitxml=/tmp/conformance.xml tests/conformance
"""
IN_A_SCOPE = 'systemd-run --user --scope --quiet --property=Delegate=yes sh -c "$SCRIPT"'
LACKING = ("cpuset", "hugetlb", "io.weight")  # controllers, and a limit, that this kernel does not have


def test_conformance_with_controllers(booted: Machine) -> None:
    """Memory, cpu, pids, unified, update, pause, events, ps and kill by group, as an unprivileged user."""
    report = run_tests(booted, IN_A_SCOPE, "/tmp/conformance.xml", {"SCRIPT": CONFORMANCE})
    cases = list(ElementTree.fromstring(report.xml).iter("testcase"))
    skipped = [entry.get("message", "") for case in cases for entry in case.iter("skipped")]
    failed = [case.get("name", "") for case in cases for entry in case if entry.tag in {"failure", "error"}]
    FIGURES.append(
        f"conformance with controllers: {len(cases) - len(skipped) - len(failed)} passed, {len(failed)} failed, "
        f"{len(skipped)} skipped ({'; '.join(skipped)}), {report.seconds:.0f} s"
    )
    assert not failed, report.output
    assert all(any(name in reason for name in LACKING) for reason in skipped)
    assert len(cases) - len(skipped) >= 33
