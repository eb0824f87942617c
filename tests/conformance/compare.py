"""The suite asked of several runtimes: ``python -m tests.conformance.compare [--who WHO] [NAME=PROGRAM…] [-- TESTS…]``.

Without names these are the crun and the runc that are installed, and our own. Prints, for root and for a user, how many
tests passed, failed and are not applicable, and then each test that failed with the first line of why. What a machine
cannot show (no controllers, no FUSE) counts as skipped. The exit code is 1 if a test of our own runtime failed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

from tests.conformance.support import VARIABLE

OWN = "rootless-oci"
HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class Result(NamedTuple):
    """The outcome of one run of the suite."""

    passed: int
    failed: dict[str, str]
    """Name and first line of the failure."""
    not_applicable: dict[str, str]
    """Name and reason."""
    skipped: int
    seconds: float


def read(report: Path) -> Result:
    """The result of a run from its JUnit report."""
    suite = next(iter(ElementTree.parse(report).getroot()))
    failed, not_applicable, passed, skipped = {}, {}, 0, 0
    for case in suite:
        name = f"{case.get('classname', '').rpartition('.')[2]}.py::{case.get('name')}"
        problem = case.find("failure")
        if problem is None:
            problem = case.find("error")
        skip = case.find("skipped")
        if problem is not None:
            failed[name] = (problem.get("message") or "").partition("\n")[0][:200]
        elif skip is not None:
            reason = skip.get("message") or ""
            if reason.startswith("n/a: "):
                not_applicable[name] = reason.removeprefix("n/a: ")
            else:
                skipped += 1
        else:
            passed += 1
    return Result(passed, failed, not_applicable, skipped, float(suite.get("time", "0")))


def ask(program: str, who: str, tests: list[str]) -> Result:
    """Run the suite against ``program`` (empty: our own) as ``who``."""
    with tempfile.TemporaryDirectory(prefix="conformance-") as directory:
        Path(directory).chmod(0o777)
        report = Path(directory) / "report.xml"
        pytest = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", *(tests or [str(HERE)])]
        environment = {key: value for key, value in os.environ.items() if key != VARIABLE}
        if program:
            environment[VARIABLE] = program
        command = [sys.executable, "-m", "tests.conformance.view", who, *pytest]
        done = subprocess.run(command, env=environment, cwd=CHECKOUT, capture_output=True, text=True, check=False)
        if not report.exists():
            raise SystemExit(f"the suite did not run: {done.stdout}{done.stderr}")
        return read(report)


def runtimes(given: list[str]) -> dict[str, str]:
    """The programs by name; ours is the empty path."""
    if given:
        pairs = [word.partition("=") for word in given]
        return {name: "" if name == OWN else path or shutil.which(name, path=PATH) or name for name, _, path in pairs}
    found = {name: shutil.which(name, path=PATH) for name in ("crun", "runc")}
    return {**{name: path for name, path in found.items() if path}, OWN: ""}


def main() -> int:
    """Print the table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runtime", nargs="*", help="NAME or NAME=PROGRAM; rootless-oci is our own")
    parser.add_argument("--who", choices=("root", "user"), help="only as root, or only as a user")
    parser.add_argument("--reasons", action="store_true", help="print why tests are not applicable")
    words = sys.argv[1:]
    tests = words[words.index("--") + 1 :] if "--" in words else []
    given = parser.parse_args(words[: words.index("--")] if "--" in words else words)
    own = os.getuid() == 0
    users = [given.who] if given.who else ["root", "user"] if own else ["user"]
    results = {}
    print(f"{'runtime':<14}{'as':<6}{'passed':>8}{'failed':>8}{'n/a':>6}{'skipped':>9}{'seconds':>9}", flush=True)
    for name, program in runtimes(given.runtime).items():
        for who in users:
            result = results[name, who] = ask(program, who, tests)
            counts = f"{result.passed:>8}{len(result.failed):>8}{len(result.not_applicable):>6}{result.skipped:>9}"
            print(f"{name:<14}{who:<6}{counts}{result.seconds:>9.0f}", flush=True)
    for (name, who), result in results.items():
        if result.failed:
            print(f"\n{name} as {who} fails")
        for test, reason in result.failed.items():
            print(f"  {test}: {reason}")
        if given.reasons and result.not_applicable:
            print(f"\nnot applicable to {name} as {who}")
            for test, reason in result.not_applicable.items():
                print(f"  {test}: {reason}")
    return int(any(result.failed for (name, _), result in results.items() if name == OWN))


if __name__ == "__main__":
    sys.exit(main())
