"""What every refusal has in common: one line that says what, at most one that says what helps, and nothing left."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.cli import Cli

TALK = ("Trying to pull ", "Copying ", "Writing ", "WARNING: ", "Port mappings ")
"""How the lines begin that a pull tells on the way."""


def snapshot(cli: Cli) -> set[tuple[str, int]]:
    """Every path of the store and of its run directory with its size; the trees of layers by their roots only."""
    found = set()
    for top in (cli.data, cli.home / "run" / "rootless"):
        for directory, names, files in os.walk(top):
            if Path(directory).parent.name == "layers":
                names[:] = []
            for name in (*names, *files):
                path = f"{directory}/{name}"
                size = 0 if name in names else os.lstat(path).st_size
                found.add((path, size))
    return {
        entry for entry in found
        if not entry[0].endswith((".json.lock", "driver.json", ".part", "events.log")) and "/locks" not in entry[0]
    }  # fmt: skip


def processes(cli: Cli) -> list[str]:
    """The command lines of the processes, zombies aside, that were started with this home."""
    found = []
    mark = f"HOME={cli.home}".encode()
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and mark in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                found.append(Path(f"/proc/{entry}/cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return [line for line in found if line]


def check(done: subprocess.CompletedProcess[str], code: int, *, stdout: str = "") -> str:
    """Whether a finished command refused as it should; its error line and hint."""
    told = f"{' '.join(map(str, done.args))[-300:]} exits {done.returncode}, says {done.stderr[-1500:]!r}"
    assert done.returncode == code, told
    assert done.stdout == stdout, told
    lines = [
        line for line in done.stderr.splitlines()
        if not line.startswith(TALK) and not line.endswith(("fetching it again", " s"))
    ]  # fmt: skip
    assert lines and lines[0].startswith("Error: ") and len(lines) <= 2, told
    assert len(lines) == 1 or lines[1].startswith("hint: "), told
    for sign in ("Traceback", "internal error", "Errno", "openat2", "defect"):
        assert sign not in done.stderr, told
    return "\n".join(lines)


def refused(cli: Cli, code: int, *arguments: str, stdin: str = "", stdout: str = "") -> str:
    """Run a command that must be refused and leave the store as it was; its error line and hint."""
    before = snapshot(cli)
    error = check(cli.run(*arguments, stdin=stdin, timeout=30), code, stdout=stdout)
    left = snapshot(cli) ^ before
    assert not left, f"rootless {' '.join(arguments)[:300]} leaves {sorted(left)[:5]}"
    return error
