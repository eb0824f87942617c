"""Each form of the calls that the keeper answers, with each mistake: the answer is the kernel's where it has ids."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import programs
from tests.support.alone import Alone
from tests.support.cli import Cli
from tests.support.copying import IMAGE, NONE, bytes_of, members
from tests.support.drivers import DRIVERS

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox", "gcc")


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the program that calls."""
    directory = tmp_path_factory.mktemp("tools")
    programs.build("owners", directory, ["-pthread"])
    return directory


@pytest.mark.parametrize("driver", DRIVERS)
def test_answers_and_owners(shared_cli: Cli, alone: Alone, tools: Path, driver: str) -> None:
    run = ("run", NONE, "--name", "c", "-v", f"{tools}:/tools:ro", IMAGE, "/tools/owners")
    alone.driver = ["--storage-driver", driver]
    try:
        expected, seen = shared_cli.ok("--storage-driver", driver, *run), alone.ok(*run)
        assert len(expected.splitlines()) > 50
        assert seen == expected
        of_kernel, of_keeper = (members(bytes_of(cli, "export", "c")) for cli in (shared_cli, alone))
        names = sorted(name for name in of_kernel if name.startswith("srv"))
        for found in (of_kernel, of_keeper):
            assert sorted(name for name in found if name.startswith("srv")) == names
        assert {name: (of_keeper[name].uid, of_keeper[name].gid, of_keeper[name].mode) for name in names} == {
            name: (of_kernel[name].uid, of_kernel[name].gid, of_kernel[name].mode) for name in names
        }
    finally:
        shared_cli.ok("rm", "-f", "c")


def test_a_32_bit_program(alone: Alone, tmp_path: Path) -> None:
    programs.build("owners32", tmp_path, programs.FREESTANDING)
    if os.system(f"{tmp_path}/owners32 >/dev/null 2>&1"):
        pytest.skip("needs a kernel that runs 32-bit programs")
    said = alone.ok("run", NONE, "--name", "c", "-v", f"{tmp_path}:/tools:ro", IMAGE, "/tools/owners32")
    assert said.split() == ["0", "0", "0", "50", "51", "0", "505152", "-1"]
    found = members(bytes_of(alone, "export", "c"))["srv"]
    assert (found.uid, found.gid) == (7, 8)
