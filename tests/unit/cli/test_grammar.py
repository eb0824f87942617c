"""The generated table is current and cheap, and every handler that it names is there."""

from __future__ import annotations

import inspect
import subprocess
import sys

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


def test_importing_the_table_takes_less_than_a_millisecond() -> None:
    code = (
        "import time\nimport rootless.cli\nbest = 1\n"
        "for _ in range(20):\n"
        "    start = time.perf_counter()\n"
        "    import rootless.cli.grammar\n"
        "    best = min(best, time.perf_counter() - start)\n"
        "    import sys\n"
        "    del sys.modules['rootless.cli.grammar']\n"
        "print(best)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(result.stdout) < 0.001
