"""Fuzz one target, guided by coverage: ``python -m tests.fuzz SUBJECT/TARGET [--seconds N] [FILE…]``.

SUBJECT is a module of `tests.fuzz.targets`. Begins with the target's seeds and what was found earlier. Ends with exit
code 0 when the time is over; at a finding with another, and leaves the input in the working directory. Files given are
tried, and no more.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

import atheris

from tests.fuzz.targets.target import Target

SLOWEST = 2  # seconds that one input may take
LARGEST = 256  # MiB that it may take
BASE = 384  # MiB of the interpreter, the instrumented modules and libFuzzer's own tables


def find(name: str) -> Target:
    """The target, its code instrumented. Raises SystemExit."""
    subject, _, wanted = name.partition("/")
    try:
        with atheris.instrument_imports(include=["rootless", "storage"], enable_loader_override=False):
            module = importlib.import_module(f"tests.fuzz.targets.{subject}")
    except ImportError as error:
        raise SystemExit(f"{name}: {error}") from error
    found = {target.name: target for target in module.TARGETS}
    if wanted not in found:
        raise SystemExit(f"{name}: there is no such target, but {', '.join(sorted(found))}")
    target: Target = found[wanted]
    return target


def main() -> None:
    """See above; libFuzzer ends the process."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("files", nargs="*")
    given = parser.parse_args()
    target = find(given.target)
    corpus = Path(tempfile.mkdtemp(prefix=f"fuzz-{target.name}-"))
    for number, seed in enumerate([*target.seeds, *(path.read_bytes() for path in target.findings())]):
        (corpus / f"seed{number}").write_bytes(seed)
    words = corpus.with_suffix(".words")
    words.write_text("".join('"' + word.decode().replace('"', "\\x22") + '"\n' for word in target.words))
    flags = [
        f"-max_total_time={given.seconds}", f"-timeout={SLOWEST}", f"-rss_limit_mb={BASE + LARGEST}", "-max_len=4096",
        f"-dict={words}", "-print_final_stats=1", f"-artifact_prefix={target.name}-",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *flags, *(given.files or [str(corpus)])], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
