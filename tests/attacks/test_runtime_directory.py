"""The directory for runtime files in /tmp, whose name anybody can take first."""

from __future__ import annotations

import os
import pwd
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import hosts
from tests.support.as_user import provisioned_user
from tests.support.cli import Cli
from tests.support.of_user import OfUser, of_user

WITHOUT_SESSION = {"XDG_RUNTIME_DIR": ""}
SQUATS = {
    "link": "ln -s {bait} {name}",
    "open": "mkdir {name}; chmod 0777 {name}",
    "open-for-passing": "mkdir {name}; chmod 0711 {name}",
    "file": "touch {name}",
    "socket-like": "mkfifo {name}",
}
OF_ANOTHER = {
    "directory": "mkdir -m 0777 {name}; chown 4242 {name}",
    "closed": "mkdir -m 0700 {name}; chown 4242 {name}",
    "of-root": "mkdir -m 0700 {name}",
    "link": "ln -s {bait} {name}",
    "link-to-ours": "mkdir -m 0700 /tmp/ours; chown {uid} /tmp/ours; ln -s /tmp/ours {name}; chown -h 4242 {name}",
}


def before(scratch: Path, uid: int, squat: str) -> list[str]:
    """Words before a command that give it a /tmp in which somebody was faster."""
    bait = scratch / "bait"
    bait.mkdir()
    bait.chmod(0o777)
    places = [path for path in ("/tmp", "/run/user") if os.path.isdir(path)]  # noqa: S108
    made = squat.format(name=f"/tmp/rootless-{uid}", bait=shlex.quote(str(bait)), uid=uid)
    script = f"chmod 1777 /tmp; {made}; exec \"$@\""
    return [*hosts.prefix(scratch / "host", tmpfs=places), "sh", "-ec", script, "sh"]


@pytest.fixture
def scratch(cli: Cli) -> Path:
    """A directory that is not below /tmp."""
    made = cli.home / "scratch"
    made.mkdir()
    return made


class Squatted(Cli):
    """The program where somebody took the name of the directory."""

    words: list[str]

    def command(self, *arguments: str) -> list[str]:
        return [*self.words, *super().command(*arguments)]


@pytest.mark.needs("userns")
@pytest.mark.parametrize("squat", SQUATS)
def test_name_that_is_taken_row_90(cli: Cli, scratch: Path, squat: str) -> None:
    squatted = Squatted(cli.home)
    squatted.words = before(scratch, os.getuid(), SQUATS[squat])
    for command in ("ps", "images"):
        done = squatted.run(command, env=WITHOUT_SESSION)
        assert done.returncode == 125, done.stderr
        assert done.stderr.startswith(f"Error: cannot use /tmp/rootless-{os.getuid()} for runtime files: ")
        assert "hint: set XDG_RUNTIME_DIR" in done.stderr
    assert os.listdir(scratch / "bait") == []


@pytest.mark.needs("userns")
def test_name_that_is_free_row_90(cli: Cli, scratch: Path) -> None:
    squatted = Squatted(cli.home)
    squatted.words = before(scratch, os.getuid(), "true")
    done = squatted.run("ps", env=WITHOUT_SESSION)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def user() -> Iterator[OfUser]:
    with of_user() as made:
        yield made


@pytest.mark.as_root
@pytest.mark.needs("busybox")
def test_name_of_another_user_row_90(user: OfUser) -> None:
    uid = pwd.getpwnam(provisioned_user()).pw_uid
    for number, (kind, squat) in enumerate(OF_ANOTHER.items()):
        scratch = user.home / f"scratch{number}"
        scratch.mkdir()
        user.before = before(scratch, uid, squat)
        done = user.run("ps", env=WITHOUT_SESSION)
        assert done.returncode == 125, (kind, done.stderr)
        assert done.stderr.startswith(f"Error: cannot use /tmp/rootless-{uid} for runtime files: "), (kind, done.stderr)
        assert os.listdir(scratch / "bait") == []
    user.before = ()
