"""The tests of ``inside``: all run in one boot of the second machine, and each is told of here as a test of its own."""

from __future__ import annotations

import ast
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.uml.conftest import FIGURES
from tests.uml.second import Results

pytestmark = pytest.mark.timeout(1800)  # the first waits for all

INSIDE = Path(__file__).parent / "inside"


def names() -> list[str]:
    """``file::function`` of each test."""
    return [
        f"{path.stem}::{node.name}"
        for path in sorted(INSIDE.glob("test_*.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


@pytest.fixture(scope="module")
def cases(results: Results) -> dict[str, list[ElementTree.Element]]:
    """What became of each test: several cases where it has parameters."""
    print(results.inside.output)
    FIGURES.append(f"second machine: ready in {results.booted:.0f} s, tests inside {results.inside.seconds:.0f} s")
    found: dict[str, list[ElementTree.Element]] = {}
    for case in ElementTree.fromstring(results.inside.xml).iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name', '').partition('[')[0]}"
        found.setdefault(name, []).append(case)
        FIGURES.extend(entry.get("value", "") for entry in case.iter("property"))
    return found


@pytest.mark.parametrize("name", names())
def test_inside(name: str, cases: dict[str, list[ElementTree.Element]]) -> None:
    """The test passed in the machine."""
    assert name in cases, "the test did not run"
    told = [(case.get("name"), entry) for case in cases[name] for entry in case]
    failures = [f"{which}\n{entry.text}" for which, entry in told if entry.tag in {"failure", "error"}]
    if failures:
        pytest.fail("\n".join(failures), pytrace=False)
    skips = [entry.get("message", "") for _, entry in told if entry.tag == "skipped"]
    if len(skips) == len(cases[name]):
        pytest.skip(skips[0])
