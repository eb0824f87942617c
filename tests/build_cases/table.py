"""All cases."""

from __future__ import annotations

from tests.build_cases import (
    adding,
    copying,
    ignoring,
    newer,
    options,
    real,
    running,
    settings,
    stages,
    syntax,
    variables,
)
from tests.build_cases.case import Case

CASES: tuple[Case, ...] = (
    *syntax.CASES, *variables.CASES, *settings.CASES, *stages.CASES, *copying.CASES, *adding.CASES, *running.CASES,
    *ignoring.CASES, *options.CASES, *newer.CASES, *real.CASES,
)  # fmt: skip
NAMES = {case.name: case for case in CASES}
assert len(NAMES) == len(CASES), "two cases have one name"
