"""Try the attacks and faults, and print the table of figures: ``python -m tests.figures [--write] [PYTEST-ARGUMENT…]``.

Runs `tests/attacks` and `tests/faults` as the unprivileged user, then what needs root. Exit code 1 means that a test
failed, that a goal was missed, or that the table in `docs/security.md` lacks a row or has one too many; ``--write``
makes that table anew.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support import figures
from tests.support.figures import Figure

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
DIRECTORIES = ("tests/attacks", "tests/faults")
BEGIN, END = "<!-- figures: made by python -m tests.figures --write -->\n", "<!-- end of figures -->\n"


def named(arguments: list[str]) -> bool:
    """Whether tests are named among the arguments of pytest."""
    return any(Path(word.partition("::")[0]).exists() for word in arguments)


def run(arguments: list[str], directory: Path) -> int:
    """Both runs of the tests; 0 when each passed."""
    environment = os.environ | {figures.DIRECTORY: str(directory)}
    code = 0
    runs = [["tests.support.as_user", "pytest", "-m", "not as_root"]]
    if os.getuid() == 0:
        runs.append(["tests.support.as_root", "pytest", "-m", "as_root"])
    for words in runs:
        command = [sys.executable, "-m", *words, *arguments, *(() if named(arguments) else DIRECTORIES)]
        done = subprocess.run(command, env=environment, check=False)
        code |= done.returncode not in (0, 5)  # 5: no such test among those asked for
    return code


def together(found: list[Figure]) -> list[Figure]:
    """The figures in order; of those with one name the worst, out of as many as all tried."""
    merged: dict[tuple[str, str, str], Figure] = {}
    for figure in sorted(found):
        name = (figure.section, figure.what, figure.goal)
        other = merged.get(name, figure._replace(of=None if figure.of is None else 0))
        worst = min if figure.goal.startswith("≥") else max
        tried = None if figure.of is None else (other.of or 0) + figure.of
        merged[name] = figure._replace(reached=worst(figure.reached, other.reached), of=tried)
    return [merged[name] for name in sorted(merged)]


def table(found: list[Figure], rows: dict[int, dict[str, int]]) -> str:
    """The table in Markdown."""
    lines = ["| what | goal | reached |", "|---|---|---|"]
    for figure in together(found):
        mark = "" if figure.met else " **missed**"
        lines.append(f"| {figure.section}: {figure.what} | {figure.goal} | {figure.shown}{mark} |")
    passed = sum(outcomes.get("passed", 0) for outcomes in rows.values())
    bad = sum(outcomes.get("failed", 0) for outcomes in rows.values())
    tried = f"{bad} of {passed + bad:,}, in {len(rows)} rows"
    lines.append(f"| attacks: tests of known attacks that failed | = 0 | {tried} |")
    lines += ["", "The rows of the list of attacks, and how many tests try each:", ""]
    lines.append(", ".join(f"{row}: {outcomes.get('passed', 0)}" for row, outcomes in sorted(rows.items())))
    return "\n".join(lines) + "\n"


def shown() -> str:
    """The table that stands in the manual."""
    return PAGE.read_text().partition(BEGIN)[2].partition(END)[0]


def show(text: str) -> None:
    """Put the table into the manual."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{text}{END}{rest.partition(END)[2]}")


def subjects(text: str) -> set[str]:
    """The rows of a table, without what was reached."""
    return {line.rpartition(" | ")[0] for line in text.splitlines() if line.startswith("| ")}


def main(arguments: list[str]) -> int:
    """See above."""
    write = "--write" in arguments
    arguments = [word for word in arguments if word != "--write"]
    with tempfile.TemporaryDirectory(prefix="rootless-figures-") as name:
        directory = Path(name)
        directory.chmod(0o1777)
        code = run(arguments, directory)
        found, rows = figures.collect(directory)
    text = table(found, rows)
    print(f"\n{text}")
    if write:
        show(text)
    elif not named(arguments) and subjects(text) != subjects(shown()):
        odd = sorted(subjects(text) ^ subjects(shown()))
        print(f"Error: these rows are in the table or in {PAGE.name}, not in both:", *odd, sep="\n", file=sys.stderr)
        code = 1
    return int(code or not all(figure.met for figure in found))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
