"""Generated archives against a model of a file system: nothing outside, no other tree, every error in words."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.cli import CHECKOUT
from tests.support.figures import Tell, amount

pytestmark = [pytest.mark.needs("userns", "subuid", "newuidmap"), pytest.mark.timeout(3600)]
PROCESSES = 2


def test_generated_archives_rows_1_2_3_4_5_6_8_9_13(figure: Tell) -> None:
    each = amount(usual=200_000, nightly=1_000_000) // PROCESSES
    command = [sys.executable, "-m", "tests.support.generated"]
    searches = [
        subprocess.Popen([*command, str(number * each), str(each)], stdout=subprocess.PIPE, text=True, cwd=CHECKOUT)
        for number in range(PROCESSES)
    ]
    results = [json.loads(search.communicate()[0]) for search in searches]

    def found(what: str) -> list[str]:
        return [line for result in results for line in result[what]]

    print(*found("outside"), *found("uncaught"), *found("different"), sep="\n")
    tried = sum(result["tried"] for result in results)
    figure("generated archives", "≥ 200,000", tried)
    figure("generated archives that wrote outside", "= 0", len(found("outside")), of=tried)
    figure("generated archives that ended in an uncaught error", "= 0", len(found("uncaught")), of=tried)
    figure("generated archives that became another tree than the model's", "= 0", len(found("different")), of=tried)
    figure("memory that generated archives took", "≤ 256 MiB", max(result["rss"] for result in results))
    assert sum(result["accepted"] for result in results) > tried // 5, "too many are refused, and so try little"
