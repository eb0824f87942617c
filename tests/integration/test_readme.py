"""The README's first command, in a home of its own: from a checkout to a container's output."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import CHECKOUT, Cli, new_cli

QUICKSTART = CHECKOUT / "contrib" / "quickstart"
NO_PYPI = "cannot install Python packages with pip"


@pytest.fixture
def newcomer() -> Iterator[Cli]:
    """A user who has never run the program."""
    with new_cli() as cli:
        yield cli


def quickstart(cli: Cli, *command: str) -> subprocess.CompletedProcess[str]:
    """Run the script as the newcomer; skips where PyPI is not reached."""
    passed_on = {key: value for key, value in os.environ.items() if key.startswith("PIP_") or "_proxy" in key.lower()}
    environment = {**cli.environment, **passed_on, "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
    del environment["PYTHONPATH"], environment["XDG_DATA_HOME"]
    done = subprocess.run(
        ["sh", str(QUICKSTART), *command],
        cwd="/",
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    if done.returncode != 0 and NO_PYPI in done.stderr:
        pytest.skip(f"needs pypi: {done.stderr.strip().splitlines()[-1]}")
    return done


def check_newcomer(cli: Cli) -> None:
    """The first run installs and runs a container; the program is where the README says."""
    done = quickstart(cli, "sh", "-c", "echo it runs as $(id -u)")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "it runs as 0\n"
    program = cli.home / ".local" / "bin" / "rootless"
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, env=cli.environment)
    assert version.stdout.startswith("rootless version ")
    assert Path(program).resolve().is_relative_to(cli.home)
    assert (cli.home / ".local/share/rootless-venv/share/man/man1/rootless-run.1").exists()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.needs("userns", "overlay")
def test_a_newcomer_runs_a_container(newcomer: Cli) -> None:
    check_newcomer(newcomer)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.as_root
@pytest.mark.needs("userns", "overlay")
def test_root_of_a_bare_container_runs_a_container(newcomer: Cli) -> None:
    check_newcomer(newcomer)


@pytest.mark.needs("userns", "overlay")
def test_a_closed_home_is_told(newcomer: Cli) -> None:
    newcomer.environment["HOME"] = "/proc"
    done = quickstart(newcomer)
    assert done.returncode == 1
    assert "cannot write to your home directory /proc" in done.stderr
