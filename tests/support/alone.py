"""A user without a range of subordinate ids, at the command line and in shell scripts."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

from tests.support import hosts
from tests.support.cli import Cli


class Alone(Cli):
    """The program on a host whose /etc/subuid and /etc/subgid are empty; every command with the storage ``driver``.

    Each command sees the host through a user namespace of its own, so that those which belong together, as a container
    and its `exec`, are one :meth:`script`. On the directories of ``ramfs`` files have no extended attributes.
    """

    def __init__(self, home: Path, driver: str = "", ramfs: tuple[Path, ...] = ()) -> None:
        super().__init__(home)
        self.driver = ["--storage-driver", driver] if driver else []
        files = {"/etc/subuid": "", "/etc/subgid": ""}
        self.prefix = hosts.prefix(home / "host", files=files, ramfs=[str(path) for path in ramfs])

    def command(self, *arguments: str) -> list[str]:
        """See :class:`Cli`."""
        return [*self.prefix, *super().command(*self.driver, *arguments)]

    def script(self, text: str, timeout: float = 60) -> str:
        """What a shell prints that runs ``text``, in which `rootless` is the program; it must not fail."""
        program = shlex.join(Cli.command(self, *self.driver))
        whole = f'set -e\nrootless() {{ {program} "$@"; }}\n{text}'
        done = subprocess.run(
            [*self.prefix, "sh", "-c", whole], capture_output=True, text=True, timeout=timeout, env=self.environment,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout
