"""Every row of the list of attacks has a test whose name carries its number."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support import rows

TESTS = Path(__file__).parents[1]
WANTED = {*range(1, 70), *range(79, 95), 98, 99, 100}
"""The others are about building, and networks of several containers."""


def test_every_row_has_a_test() -> None:
    names = [
        name for path in TESTS.rglob("test_*.py") for name in re.findall(r"^ *def (test_\w+)", path.read_text(), re.M)
    ]
    missing = WANTED - {row for name in names for row in rows.of_test(name)}
    assert not missing, f"no test carries the number of {sorted(missing)}"
