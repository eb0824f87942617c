"""The program with all it needs loaded, which forks for each command: for opening thousands of stores.

``python -m tests.support.opener`` reads a line of JSON for each command, ``[home, [word, …]]``, and answers with a line
``[exit code, output, errors]``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rootless.cli import containers, images, resources, volumes  # noqa: F401  loaded before the forks
from rootless.cli.main import main
from tests.support.cli import CHECKOUT

Answer = tuple[int, str, str]


class Opener:
    """The process, run with the words ``before`` it (which make it another user's)."""

    def __init__(self, before: Sequence[str]) -> None:
        command = [*before, "env", f"PYTHONPATH={CHECKOUT}", sys.executable, "-m", "tests.support.opener"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, home: Path, *words: str) -> Answer:
        """Run one command in the home directory ``home``."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(home), words]) + "\n")
        self._process.stdin.flush()
        code, output, errors = json.loads(self._process.stdout.readline())
        return code, output, errors

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def _serve(home: str, words: list[str]) -> Answer:
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.dup2(output.fileno(), 1)
                os.dup2(errors.fileno(), 2)
                os.environ.update(
                    HOME=home, XDG_DATA_HOME=f"{home}/data", XDG_RUNTIME_DIR=f"{home}/run",
                    XDG_CONFIG_HOME=f"{home}/config", XDG_CACHE_HOME=f"{home}/cache", ROOTLESS_PROGRAM="rootless",
                )  # fmt: skip
                code = main(words)
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        output.seek(0)
        errors.seek(0)
        return code, output.read(), errors.read()


if __name__ == "__main__":
    sys.argv[0] = "rootless"
    for line in sys.stdin:
        print(json.dumps(_serve(*json.loads(line))), flush=True)
