"""The program on hosts that lack something: what the tests of poor hosts share."""

from __future__ import annotations

import errno
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import programs
from tests.support.cli import Cli, new_cli

IMAGE = "localhost/busybox"
RUN = ("run", "--rm", "--network", "none")
PROBE = (*RUN, IMAGE, "cat", "/srv/second-layer")
"""A container that prints ``second``."""


class PoorCli(Cli):
    """The program on a host that lacks something: ``prefix`` are the words that take it away."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.prefix: list[str] = []

    def command(self, *arguments: str) -> list[str]:
        """See :class:`Cli`."""
        return [*self.prefix, *super().command(*arguments)]

    def pull(self, layout: Path) -> None:
        """Have the image of a layout as :data:`IMAGE`."""
        self.ok("tag", self.ok("pull", "--quiet", f"oci:{layout}:latest").strip(), IMAGE)

    def expected(self) -> dict[str, Any]:
        """What ``info`` says that a container would get."""
        found: dict[str, Any] = json.loads(self.ok("info", "--format", "json"))["Isolation"]
        return found

    def got(self, *flags: str) -> dict[str, Any]:
        """What ``inspect`` says that a container has got."""
        self.ok("create", "--name", "looked-at", *flags, IMAGE, "true")
        self.ok("start", "-a", "looked-at")
        found: dict[str, Any] = json.loads(self.ok("inspect", "looked-at"))[0]["Isolation"]
        self.ok("rm", "looked-at")
        return found

    def doctor(self, code: int = 0) -> dict[str, dict[str, str]]:
        """{name of a check: it} of ``doctor --json``, which must exit with ``code``."""
        done = self.run("doctor", "--json")
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
        return {check["Name"]: check for check in json.loads(done.stdout)}


@contextmanager
def poor_cli(layout: Path | None = None) -> Iterator[PoorCli]:
    """The program with an empty store, or one with the image of ``layout``."""
    with new_cli() as made:
        cli = PoorCli(made.home)
        if layout is not None:
            cli.pull(layout)
        yield cli


def forbidding(directory: Path, **calls: int) -> list[str]:
    """Words before a command for which the system calls fail with these error numbers."""
    program = programs.build("forbid", directory)
    return [str(program), *(f"{name}={number}" for name, number in calls.items()), "--"]


_DISK = """
real=$1; shown=$2; shift 2
{server} "$real" "$shown" </dev/null >/dev/null 2>&1 &
server=$!
trap 'kill "$server"; wait "$server"' EXIT
until mountpoint -q "$shown"; do
    kill -0 "$server" || exit 71
    sleep 0.05
done
{become}"$@"
"""


def disk(real: Path, shown: Path, options: Sequence[str], *, ordinary: bool) -> list[str]:
    """Words before a command in whose mount namespace bindfs shows ``real`` at ``shown``, and ends with the command.

    ``ordinary``: called by an ordinary user, who gets a user namespace of his own.
    """
    server = shlex.join(["bindfs", "-f", *(["--no-allow-other"] if ordinary else []), *options])
    become = "setpriv --ambient-caps=-all --inh-caps=-all " if ordinary else ""
    script = _DISK.format(server=server, become=become)
    space = ["--user", "--map-current-user", "--keep-caps"] if ordinary else ["--propagation", "private"]
    return ["unshare", *space, "--mount", "sh", "-c", script, "sh", str(real), str(shown)]


def on_network_disk(cli: PoorCli, directory: Path, *options: str, without: Mapping[str, int] | None = None) -> None:
    """Move the store to a file system that bindfs shows with ``options``, as an ordinary user in a namespace of his.

    ``without``: system calls that fail besides, and their error numbers.
    """
    real, shown = cli.home / "real", cli.home / "shown"
    for path in (real, shown):
        path.mkdir()
    cli.prefix = disk(real, shown, options, ordinary=True) + (forbidding(directory, **without) if without else [])
    cli.environment["XDG_DATA_HOME"] = str(shown)
    cli.data = real / "rootless"


NFS = ("--xattr-none", "--chown-deny")
"""What bindfs is told, to be as poor as NFS: no attributes, no change of owner."""

LESS_THAN_NFS = {
    "linkat": errno.EOPNOTSUPP, "link": errno.EOPNOTSUPP, "renameat2": errno.EINVAL, "fallocate": errno.EOPNOTSUPP,
}  # fmt: skip
"""Neither hard links nor renames with flags nor reserved space."""
