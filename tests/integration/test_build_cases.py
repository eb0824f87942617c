"""Each Containerfile of the table, built by this program and by buildah: equal, or the difference explained."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from rootless.containerfile.instructions import KEYWORDS
from tests.build_cases import bases, table
from tests.build_cases.builders import Ours
from tests.build_cases.compare import differences
from tests.build_cases.trial import Trials, homes
from tests.support.alone import Alone
from tests.support.cli import new_cli
from tests.support.images import remove_tree

pytestmark = pytest.mark.needs("busybox", "buildah", "subuid", "newuidmap")

Results = dict[str, Future[dict[str, str]]]
ORDINARY = [case.name for case in table.CASES if case.base in bases.TAGS]


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> Iterator[Results]:
    """What is wrong with each case that is asked for; as many are tried at once as there are processors."""
    tests = {item.name for item in request.session.items}
    asked = [name for name in ORDINARY if f"test_case[{name}]" in tests]
    home = Path(homes())
    try:
        with new_cli() as cli, ThreadPoolExecutor(os.cpu_count()) as pool:
            trials = Trials(cli, home, bases.write(home / "bases"))
            yield {name: pool.submit(trials.problems, table.NAMES[name]) for name in asked}
    finally:
        remove_tree(home)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ORDINARY)
def test_case(results: Results, name: str) -> None:
    assert results[name].result() == {}


ALONE = (
    "copy-chown-names", "copy-from-stage-owner-kept", "add-tar", "add-tar-chown", "run-modes",
    "run-removes-what-it-made", "from-chain", "real-web-server", "real-database",
)  # fmt: skip


@pytest.mark.parametrize("name", ALONE)
def test_a_user_without_a_range_gets_the_same_image(
    alone_and_usual: tuple[Ours, Ours], name: str, tmp_path: Path
) -> None:
    """With the true owners."""
    case = table.NAMES[name]
    begun = time.time()
    built = []
    for number, builder in enumerate(alone_and_usual):
        directory = tmp_path / f"{number}"
        directory.mkdir()
        case.write(directory)
        built.append(builder.build(case, directory))
    alone, usual = built
    assert alone.image, alone.said
    assert usual.image, usual.said
    assert differences(case, alone.image, usual.image, begun, ()) == {}


@pytest.fixture(scope="module")
def alone_and_usual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ours, Ours]]:
    """Builders of a user without subordinate ids, and of one who has a range."""
    layout = bases.write(tmp_path_factory.mktemp("bases") / "layout")
    with new_cli() as without, new_cli() as usual:
        yield Ours(Alone(without.home), layout), Ours(usual, layout)


@pytest.mark.needs("debootstrap")
def test_packages_are_installed_on_debian(debian_layout: Path) -> None:
    """A case on a real Debian, whose package manager installs from a repository in the context."""
    home = Path(homes())
    try:
        with new_cli() as cli:
            layout = bases.with_debian(home / "bases", debian_layout)
            trials = Trials(cli, home, layout, ("box", "debian"))
            for case in table.CASES:
                if case.base == "debian":
                    assert trials.problems(case) == {}
    finally:
        remove_tree(home)


def test_the_table_has_every_instruction_and_flag(capsys: pytest.CaptureFixture[str]) -> None:
    """And tells how many cases there are of what."""
    texts = "\n".join(case.file for case in table.CASES)
    used = set(re.findall(r"^\s*([A-Z]+)\s", texts, re.MULTILINE))
    assert {"FROM", *KEYWORDS} <= used
    flags = set(re.findall(r"\s--([a-z-]+)", texts))
    assert flags >= {
        "platform", "mount", "network", "security", "from", "chown", "chmod", "link", "parents", "exclude", "checksum",
        "unpack", "interval", "timeout", "start-period", "start-interval", "retries",
    }  # fmt: skip
    kinds = Counter(
        "by what is expected" if not case.peer else "both refuse" if case.fails else
        "equal but for what is explained" if case.differs else "equal" for case in table.CASES)  # fmt: skip
    real = sum(case.name.startswith("real-") for case in table.CASES)
    with capsys.disabled():
        print(f"\n{len(table.CASES)} Containerfiles: {dict(kinds)}, {real} of real shape")
    assert sum(case.peer for case in table.CASES) >= 150
    assert real >= 10
