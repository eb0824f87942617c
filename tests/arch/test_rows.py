"""Every row of the list of attacks has a test whose name carries its number."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support import rows

TESTS = Path(__file__).parents[1]
WANTED = {*range(1, 95), 98, 99, 100}
"""The others are about networks of several containers."""


def test_every_row_has_a_test() -> None:
    # A test, or what one is called with.
    found = re.compile(r"""^\s*def (test_\w+)|^\s*"(\w+_rows?(?:_\d+)+)": """, re.M)
    names = ["".join(pair) for path in TESTS.rglob("test_*.py") for pair in found.findall(path.read_text())]
    missing = WANTED - {row for name in names for row in rows.of_test(name)}
    assert not missing, f"no test carries the number of {sorted(missing)}"
