"""What people wait for: the commands of every minute load no module whose import costs as much as their work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rootless.cli import grammar, oci_grammar
from tests.support.cli import CHECKOUT

# Each costs 1 to 100 ms; a whole `run` has 45.
BANNED = frozenset(
    "argparse asyncio base64 calendar click collections concurrent contextlib copy ctypes.util dataclasses datetime"
    " email enum functools gettext hashlib html http importlib.metadata importlib.resources inspect ipaddress json"
    " locale logging multiprocessing operator pathlib pickle platform platformdirs pydantic pyroute2 pyseccomp queue"
    " random re reprlib requests rich secrets shlex shutil signal socket ssl statistics string subprocess tempfile"
    " textwrap threading tomllib traceback typer types typing unittest urllib uuid warnings weakref"
    " xattr zipfile".split()
)

# The handler's module of a cold command may load what it needs.
COLD = {"login", "completion"}

NAMED = {entry[0] for table in (grammar, oci_grammar) for entry in table.COMMANDS.values()}
HANDLERS = sorted(handler for handler in NAMED if handler.partition(":")[0] not in COLD)

PROLOGUE = f"import sys; sys.path.append({str(CHECKOUT)!r}); "


def loaded_by(*arguments: str, environment: dict[str, str]) -> set[str]:
    """The modules that a fresh interpreter, started as the launcher does it, loads for ``arguments``."""
    command = [sys.executable, "-IS", "-X", "importtime", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert "Traceback" not in result.stderr, result.stderr
    marked = (line for line in result.stderr.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip() for line in marked}


def banned(modules: set[str]) -> set[str]:
    """Those of ``modules`` that are banned, or parts of a banned package."""
    return {module for module in modules if module in BANNED or module.partition(".")[0] in BANNED}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A user with an empty home."""
    (tmp_path / "run").mkdir(mode=0o700)
    return {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run"), "PATH": "/usr/bin:/bin"}


@pytest.mark.parametrize("handler", HANDLERS)
def test_finding_a_handler(handler: str, environment: dict[str, str]) -> None:
    code = PROLOGUE + f"import rootless.cli.main as main; main.load({handler!r})"
    assert banned(loaded_by("-c", code, environment=environment)) == set()


@pytest.mark.parametrize(
    "line",
    ["--version", "version", "ps", "ps -a --format json", "ps --format {{.ID}}", "images", "images --format json",
     "image exists nope", "container exists nope", "volume ls", "inspect nope", "rm nope"],
)  # fmt: skip
def test_running_a_command(line: str, environment: dict[str, str]) -> None:
    program = str(CHECKOUT / "rootless" / "__main__.py")
    assert banned(loaded_by(program, *line.split(" "), environment=environment)) == set()


@pytest.mark.parametrize("line", ["--version", "list", "state nope", "delete --force nope", "kill nope", "run nope"])
def test_running_a_command_of_the_runtime(line: str, environment: dict[str, str]) -> None:
    program = str(CHECKOUT / "rootless" / "__main__.py")
    environment["ROOTLESS_PROGRAM"] = "rootless-oci"
    assert banned(loaded_by(program, *line.split(" "), environment=environment)) == set()


def test_the_measure_sees_a_banned_module(environment: dict[str, str]) -> None:
    assert "typing" in banned(loaded_by("-c", "import typing", environment=environment))
