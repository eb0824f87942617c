"""Every target with its seeds and earlier findings; then each for a while, guided by coverage (atheris)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fuzz.targets import archives, build, build_copy, chunked, documents, files, options, registry, trust
from tests.fuzz.targets.target import REGRESSIONS, Target

SECONDS = int(os.environ.get("ROOTLESS_TEST_FUZZ_SECONDS", "3" if os.environ.get("CI") else "60"))
"""How long each target is fuzzed."""
SOURCE = Path(__file__).parents[2]
TARGETS: dict[str, Target] = {
    f"{module.__name__.rpartition('.')[2]}/{target.name}": target
    for module in (archives, build, build_copy, chunked, documents, files, options, registry, trust)
    for target in module.TARGETS
}  # fmt: skip

Runs = dict[str, Future[subprocess.CompletedProcess[str]]]


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_findings(name: str) -> None:
    for data in [*TARGETS[name].seeds, *(path.read_bytes() for path in TARGETS[name].findings())]:
        TARGETS[name].run(data)


def test_findings_belong_to_targets() -> None:
    assert {path.name for path in REGRESSIONS.iterdir()} <= {target.name for target in TARGETS.values()}


def fuzz(name: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """One run; what it finds it leaves in ``directory``."""
    command = [sys.executable, "-m", "tests.fuzz", name, "--seconds", str(SECONDS)]
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "TMPDIR": str(directory)}
    pipe, out = subprocess.PIPE, subprocess.STDOUT
    return subprocess.run(command, cwd=directory, env=environment, text=True, check=False, stdout=pipe, stderr=out)


@pytest.fixture(scope="session")
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """The runs of all targets that are asked for, as many at once as there are processors."""
    tests = {item.name for item in request.session.items}
    asked = [name for name in TARGETS if f"test_fuzz[{name}]" in tests]
    directory = tmp_path_factory.mktemp("findings")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {name: pool.submit(fuzz, name, directory) for name in asked}


@pytest.mark.needs("atheris")
@pytest.mark.timeout((SECONDS + 30) * len(TARGETS))
@pytest.mark.parametrize("name", TARGETS)
def test_fuzz(runs: Runs, name: str) -> None:
    """No input is a finding: no exception but the program's own, 2 s and 256 MiB at most."""
    done = runs[name].result()
    assert done.returncode == 0, done.stdout[-6000:]
    tried = int(done.stdout.rpartition("stat::number_of_executed_units:")[2].split()[0])
    assert tried > len(TARGETS[name].seeds), "it tried nothing but the seeds"
