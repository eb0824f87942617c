"""The generated table is current and cheap, and every handler that it names is there."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from types import ModuleType

import pytest

from rootless.cli import generate, grammar, main, oci_grammar
from rootless.cli.declare import PROGRAMS
from rootless.cli.declare.program import Program

HANDLERS = {entry[0] for table in (grammar, oci_grammar) for entry in table.COMMANDS.values()}


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_grammar_is_current(program: Program) -> None:
    assert generate.target(program).read_text() == generate.source(program), "run: python -m rootless.cli.generate"


@pytest.mark.parametrize("handler", sorted(HANDLERS | {grammar.VERSION, oci_grammar.VERSION}))
def test_handler_exists(handler: str) -> None:
    assert list(inspect.signature(main.load(handler)).parameters) == ["values", "args", "global_values"]


@pytest.mark.parametrize("table", [grammar, oci_grammar], ids=lambda table: str(table.NAME))
def test_the_table_is_made_of_constants(table: ModuleType) -> None:
    """So that loading it costs a tenth of a millisecond: it has no imports and calls nothing."""
    imports_and_calls = (ast.Import, ast.Call, ast.comprehension, ast.FunctionDef, ast.ClassDef)
    tree = ast.parse(Path(table.__file__ or "").read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, imports_and_calls)]
    assert [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)] == ["__future__"]
