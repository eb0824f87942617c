"""Builds of a Containerfile of 12 steps, with every step done and with none."""

from __future__ import annotations

import itertools
from pathlib import Path

from tests.bench import measure
from tests.bench.cases import Bench
from tests.bench.measure import Times
from tests.bench.programs import IMAGE, Program

FILES = 50
CONTAINERFILE = f"""\
FROM {IMAGE}
ENV LANG=C.UTF-8
WORKDIR /srv/app
COPY requirements.txt .
RUN mkdir -p lib && cp requirements.txt lib/
COPY src ./src
RUN cat src/* > all
RUN rm src/file1 && mkdir -p /var/lib/app
LABEL version=1
EXPOSE 8080
USER 1000
CMD ["sh"]
"""


def context(directory: Path) -> Path:
    """Make the build context."""
    (directory / "src").mkdir(parents=True)
    for number in range(FILES):
        (directory / "src" / f"file{number}").write_text(f"line {number}\n" * 300)
    (directory / "requirements.txt").write_text("1\n")
    (directory / "Containerfile").write_text(CONTAINERFILE)
    return directory


def _options(program: Program) -> tuple[str, ...]:
    # podman's quickest way; its usual one needs a runtime that works with every machine's control groups.
    return ("--isolation", "chroot") if program.name == "podman" else ()


def cold(bench: Bench) -> Times:
    """Every step is done; no layer of a step is in the store, as the first file is another one each time."""
    directory = context(bench.work / "cold")
    numbers = itertools.count(2)

    def build(program: Program) -> None:
        (directory / "requirements.txt").write_text(f"{next(numbers)}\n")
        program.run("build", "--quiet", "--no-cache", *_options(program), "--tag", "built", str(directory))

    return measure.in_turn(lambda: build(bench.peer), lambda: build(bench.own), max(5, bench.rounds // 4))


def cached(bench: Bench) -> Times:
    """Nothing has changed since the build before."""
    directory = context(bench.work / "cached")

    def build(program: Program) -> None:
        program.run("build", "--quiet", *_options(program), "--tag", "built", str(directory))

    for program in (bench.peer, bench.own):
        build(program)
    return measure.in_turn(lambda: build(bench.peer), lambda: build(bench.own), max(5, bench.rounds // 2))
