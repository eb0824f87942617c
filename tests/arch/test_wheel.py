"""What the wheel holds: two packages, the launcher, the man pages, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import pytest

from tests.support.cli import CHECKOUT


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names in a wheel of this checkout, without the prefix of its data."""
    target = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(target)]
    subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True)
    (wheel,) = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_two_packages_and_no_other(names: list[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.startswith("rootless-")} == {"rootless", "storage"}


def test_only_code_in_the_packages(names: list[str]) -> None:
    odd = [
        name
        for name in names
        if name.startswith(("rootless/", "storage/")) and not name.endswith((".py", ".json", "py.typed"))
    ]
    assert odd == []


def test_launcher_licence_and_man_pages(names: list[str]) -> None:
    inside = {"/".join(name.split("/")[1:]) for name in names}
    assert {"scripts/rootless", "scripts/rootless-oci"} <= inside
    assert "licenses/LICENSE" in inside
    assert {"data/share/man/man1/rootless.1", "data/share/man/man1/rootless-run.1"} <= inside


def test_the_tests_are_not_installed(names: list[str]) -> None:
    assert not [name for name in names if "/tests/" in name or name.startswith(("tests/", "docs/"))]
