"""One owner for each fact: system calls, printing and program exits are in the places that the architecture names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import CHECKOUT

LONGEST_FILE = 600  # lines
SOURCES = sorted(path for top in ("rootless", "storage") for path in (CHECKOUT / top).rglob("*.py"))


def name(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


def imported(tree: ast.AST) -> Iterator[str]:
    """The first part of every module that is imported anywhere in ``tree``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_system_calls_have_two_homes(path: Path) -> None:
    if name(path).startswith("rootless/linux/") or name(path) == "storage/sys.py":
        return
    assert not {"ctypes", "_ctypes"} & set(imported(ast.parse(path.read_bytes())))


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_only_the_command_line_prints(path: Path) -> None:
    if name(path).startswith("rootless/cli/"):
        return
    calls = (node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Call))
    assert not [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_files_have_one_subject(path: Path) -> None:
    assert path.read_bytes().count(b"\n") <= LONGEST_FILE
