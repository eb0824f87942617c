"""Running the program as a user would, with a home of its own."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.images import remove_tree

CHECKOUT = Path(__file__).parents[2]


@functools.cache
def entry_point(script: str = "rootless") -> tuple[str, ...]:
    """The command that starts the program: the script of the environment that runs the tests, else this checkout."""
    installed = Path(sys.executable).parent / script
    if installed.exists():
        return (str(installed),)
    return ("env", f"ROOTLESS_PROGRAM={script}", f"PYTHONPATH={CHECKOUT}", sys.executable, "-m", "rootless")


class Cli:
    """One user's view of the program: a home directory, a store and a runtime directory of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.data = home / "data" / "rootless"
        self.environment = {
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "PYTHONPATH": str(CHECKOUT),
            "TERM": "dumb",
            "XDG_CACHE_HOME": str(home / "cache"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_DATA_HOME": str(home / "data"),
            "XDG_RUNTIME_DIR": str(home / "run"),
        }
        for name in ("cache", "config", "data", "run"):
            (home / name).mkdir(mode=0o700, parents=True, exist_ok=True)

    def command(self, *arguments: str) -> list[str]:
        """The whole command line of ``rootless ARGUMENTS``."""
        return [*entry_point(), *arguments]

    def run(
        self, *arguments: str, stdin: str = "", timeout: float = 60, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; never raises for an exit code."""
        return subprocess.run(
            self.command(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=timeout,
            env={**self.environment, **(env or {})},
            check=False,
        )

    def ok(self, *arguments: str, stdin: str = "", timeout: float = 60) -> str:
        """Run a command that must succeed; its standard output."""
        done = self.run(*arguments, stdin=stdin, timeout=timeout)
        assert done.returncode == 0, f"rootless {' '.join(arguments)} exits {done.returncode}: {done.stderr}"
        return done.stdout

    def fails(self, code: int, *arguments: str, stdin: str = "", timeout: float = 60) -> str:
        """Run a command that must fail with ``code`` in words and without a traceback; its standard error."""
        done = self.run(*arguments, stdin=stdin, timeout=timeout)
        told = f"rootless {' '.join(arguments)} exits {done.returncode}: {done.stderr}{done.stdout}"
        assert done.returncode == code, told
        assert "Traceback" not in done.stderr, told
        return done.stderr

    def popen(self, *arguments: str, **options: object) -> subprocess.Popen[bytes]:
        """Start in the background with pipes (or what ``options`` say); the caller waits for it."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(self.command(*arguments), env=self.environment, **{**pipes, **options})  # type: ignore[call-overload, no-any-return]

    def parts_of_images(self) -> list[str]:
        """Blobs, layers and half-done work in the store."""
        places = ("images/blobs/sha256", "layers", "l", "tmp", "trash")
        return [f"{place}/{name}" for place in places for name in os.listdir(self.data / place)]


@contextmanager
def new_cli() -> Iterator[Cli]:
    """A :class:`Cli` in a new directory on a disk (short enough for the path of a socket), deleted afterwards."""
    home = Path(tempfile.mkdtemp(prefix="rl-", dir="/var/tmp"))
    try:
        yield Cli(home)
    finally:
        remove_tree(home)
