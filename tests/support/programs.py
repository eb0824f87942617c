"""Small C programs that attack or measure, compiled when a test needs them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

DIRECTORY = Path(__file__).parent
FREESTANDING = ("-m32", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fno-pie", "-no-pie")
"""For a program of 32-bit x86 that needs no C library."""


def build(name: str, directory: Path, options: Sequence[str] = ()) -> Path:
    """The program of ``tests/support/NAME.c``, linked statically into ``directory``; skips where it cannot be made."""
    program = directory / name
    command = ["gcc", "-static", "-O1", *options, "-o", str(program), str(DIRECTORY / f"{name}.c")]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"needs gcc: {' '.join(options)} {made.stderr.strip().splitlines()[-1:]}")
    return program


def answers(output: str) -> dict[str, int]:
    """{door: errno} of what ``doors.c`` prints."""
    pairs = (line.split() for line in output.split("\n") if line.strip())
    return {name: int(error) for name, error in pairs}
