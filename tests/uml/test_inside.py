"""The tests of ``inside``: all run in one boot of the machine, and each is told of here as a test of its own."""

from __future__ import annotations

import ast
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.uml.conftest import FIGURES, PACKAGES
from tests.uml.machine import Machine

pytestmark = pytest.mark.timeout(900)

INSIDE = Path(__file__).parent / "inside"
# Without the configuration and the fixtures of the checkout, which are about the machine that the tests are started on.
PYTEST = (
    f"cd {PACKAGES} && python -m pytest -c /dev/null --rootdir tests/uml/inside"
    " --confcutdir tests/uml/inside --import-mode=importlib -p no:cacheprovider -rs --tb=short"
    " --timeout=120 --durations=10 --junitxml=/tmp/results.xml tests/uml/inside"
)


def names() -> list[str]:
    """``file::function`` of each test."""
    return [
        f"{path.stem}::{node.name}"
        for path in sorted(INSIDE.glob("test_*.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


@pytest.fixture(scope="module")
def results(booted: Machine) -> dict[str, list[ElementTree.Element]]:
    """What became of each test: several cases where it has parameters."""
    booted.run(PYTEST, timeout=800, live=True)
    cases: dict[str, list[ElementTree.Element]] = {}
    for case in ElementTree.fromstring(booted.ok("cat /tmp/results.xml")).iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name', '').partition('[')[0]}"
        cases.setdefault(name, []).append(case)
        FIGURES.extend(entry.get("value", "") for entry in case.iter("property"))
    return cases


@pytest.mark.parametrize("name", names())
def test_inside(name: str, results: dict[str, list[ElementTree.Element]]) -> None:
    """The test passed in the machine."""
    assert name in results, "the test did not run"
    told = [(case.get("name"), entry) for case in results[name] for entry in case]
    failures = [f"{which}\n{entry.text}" for which, entry in told if entry.tag in {"failure", "error"}]
    if failures:
        pytest.fail("\n".join(failures), pytrace=False)
    skips = [entry.get("message", "") for _, entry in told if entry.tag == "skipped"]
    if len(skips) == len(results[name]):
        pytest.skip(skips[0])
