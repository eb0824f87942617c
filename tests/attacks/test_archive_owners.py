"""Set-user-ID files of an image are files of the user outside: nobody else comes near them (row 15)."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import layers, matrix
from tests.support.images import busybox_path, busybox_tar, directory, file, tar_of
from tests.support.matrix import USERS, User
from tests.support.saved import saved

pytestmark = [pytest.mark.needs("userns", "subuid", "newuidmap", "busybox", "libseccomp"), pytest.mark.timeout(300)]
SECOND = 4321
"""A subordinate id of the user: on the host somebody else, with none of his rights."""


class WithMask(User):
    """A user whose file creation mask is ``mask``."""

    mask = 0o022

    def command(self, *arguments: str) -> list[str]:
        """See :class:`User`."""
        return ["sh", "-c", f'umask {self.mask:04o}; exec "$@"', "sh", *super().command(*arguments)]


@pytest.fixture(params=["user", "user-alone"])
def user(request: pytest.FixtureRequest) -> Iterator[WithMask]:
    """Each id map; everything above the user's own directories is open to all."""
    with matrix.new_user(USERS[request.param]) as made:
        yield WithMask(made.home, USERS[request.param])


def look(tops: list[str], control: str) -> Any:
    """What the second user may do: with ``control``, and with each path below ``tops``."""

    def work() -> Any:
        paths = [os.path.join(parent, name) for top in tops for parent, directories, files in os.walk(top)
                 for name in [*directories, *files]]  # fmt: skip
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.setgroups([])
            os.setresgid(SECOND, SECOND, SECOND)
            os.setresuid(SECOND, SECOND, SECOND)
            reached = [path for path in paths if _reached(path)]
            answer = {"control": _reached(control), "paths": len(paths), "reached": reached[:20]}
            os.write(writer, json.dumps(answer).encode())
            os._exit(0)
        os.close(writer)
        os.waitpid(child, 0)
        return json.loads(os.read(reader, 1 << 16))

    return layers.evaluate(work)


def _reached(path: str) -> bool:
    """Whether anything but EACCES comes of asking for a path."""
    for try_it in (os.lstat, os.listdir, lambda path: os.open(path, os.O_RDONLY | os.O_NONBLOCK),
                   lambda path: os.open(path, os.O_PATH)):  # fmt: skip
        try:
            try_it(path)
        except OSError as error:
            if error.errno != errno.EACCES:
                return True
        else:
            return True
    return False


@pytest.mark.parametrize("mask", [0o000, 0o027, 0o777], ids=oct)
def test_a_second_user_row_15(user: WithMask, tmp_path: Path, mask: int) -> None:
    busybox = Path(busybox_path() or "").read_bytes()
    data = saved({"localhost/raised": [
        busybox_tar(), tar_of([directory("raised", 0o777), file("raised/su", busybox, 0o4755),
                               file("raised/both", busybox, 0o6755)]),
    ]})  # fmt: skip
    (tmp_path / "saved").write_bytes(data)
    user.mask = mask
    user.ok("load", "-q", "-i", str(tmp_path / "saved"))
    user.ok("volume", "create", "v")
    script = "cp /raised/su /v/su; chmod 4755 /v/su; cp /v/su /own; chmod 6777 /own"
    user.ok("run", "--network=none", "--name", "c", "-v", "v:/v", "localhost/raised", "sh", "-ec", script)
    user.ok("run", "-d", "--network=none", "--name", "d", "localhost/raised", "sleep", "1000")
    user.ok("commit", "-q", "c", "localhost/again")
    for path in (user.home, user.home / "data", user.home / "run"):
        path.chmod(0o755)
    control = user.home / "control"
    control.write_text("open to all")
    control.chmod(0o644)
    run = user.home / "run" / "rootless"
    found = look([str(user.data), str(run)], str(control))
    assert found["control"] and found["paths"] > 50
    assert found["reached"] == []
    raised = [path for path in user.data.rglob("su") if path.lstat().st_mode & stat.S_ISUID]
    assert len(raised) >= 2, "the image's and the volume's"
    for place in (user.data, run):
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in place.iterdir() if path.is_dir()} == {0}
    (user.home / "run").chmod(0o700)
    user.ok("rm", "-f", "-t0", "c", "d")


def test_a_store_that_was_opened_is_closed_again_row_15(user: WithMask) -> None:
    """A directory that others may enter is refused, or closed, before an image comes into it."""
    user.ok("images")
    user.data.chmod(0o755)
    done = subprocess.run(user.command("images"), capture_output=True, env=user.environment, check=False, text=True)
    closed = stat.S_IMODE(user.data.stat().st_mode) == 0o700
    assert closed or (done.returncode == 125 and "hint: " in done.stderr), done.stderr
