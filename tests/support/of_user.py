"""The program of the unprivileged test user, called by root, who sees more and may change the host before."""

from __future__ import annotations

import pwd
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support import images
from tests.support.as_user import provisioned_user
from tests.support.cli import Cli, new_cli

IMAGE = "localhost/busybox:latest"


class OfUser(Cli):
    """The program as the user runs it. ``before``: the words of root before his, which show him another host."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.user = pwd.getpwnam(provisioned_user())
        self.owner = f"{self.user.pw_uid}:{self.user.pw_gid}"
        self.before: Sequence[str] = ()

    def command(self, *arguments: str) -> list[str]:
        ids = [f"--reuid={self.user.pw_uid}", f"--regid={self.user.pw_gid}", "--init-groups"]
        return [*self.before, "env", "--chdir=/", "setpriv", *ids, *super().command(*arguments)]


@contextmanager
def of_user() -> Iterator[OfUser]:
    """The program with ``localhost/busybox``; called by root."""
    with new_cli() as made, tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        layout = images.busybox_layout(Path(scratch) / "layout")
        cli = OfUser(made.home)
        subprocess.run(["chown", "-R", cli.owner, str(made.home), scratch], check=True)
        cli.ok("tag", cli.ok("pull", "--quiet", f"oci:{layout}:latest").strip(), IMAGE)
        yield cli
        cli.ok("rm", "-af", "-t", "0")
