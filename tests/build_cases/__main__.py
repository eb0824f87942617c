"""Try some cases and print what is wrong: ``python -m tests.build_cases [PREFIX…]``, as an unprivileged user."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.build_cases import bases, table
from tests.build_cases.case import Case
from tests.build_cases.trial import Trials, homes
from tests.support.cli import new_cli
from tests.support.images import remove_tree


def main(prefixes: list[str]) -> int:
    """The exit code: 1 if something is wrong."""
    chosen = [case for case in table.CASES if not prefixes or case.name.startswith(tuple(prefixes))]
    home = Path(homes())
    wrong = 0
    try:
        with new_cli() as cli, ThreadPoolExecutor(2) as pool:
            trials = Trials(cli, home, bases.write(home / "bases"))

            def tried(case: Case) -> tuple[Case, dict[str, str], float]:
                begun = time.monotonic()
                return case, trials.problems(case), time.monotonic() - begun

            for case, problems, seconds in pool.map(tried, (case for case in chosen if case.base in bases.TAGS)):
                wrong += bool(problems)
                print(f"{'BAD' if problems else 'ok '} {case.name} {seconds:.1f} s", flush=True)
                for key, text in problems.items():
                    print(f"      {key}: {text}", flush=True)
    finally:
        remove_tree(home)
    print(f"{len(chosen)} cases, {wrong} wrong")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
